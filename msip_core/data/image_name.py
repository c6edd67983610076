"""What the name of an image tells of its well, field and plane."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class ImageName:
    """One file name, taken apart. Nothing is known of what is None.

    Attributes:
        well: such as "A01"; "position 3" or "well 12" where the microscope only counts.
        plate: name or barcode of the plate, from the name or a folder.
        folders: the folders that may tell two plates apart, without those that only sort files.
        lead: what stands before the well; may be a plate, a day, or a running number.
        rest: the name from the well on, without z plane, time point and channel.
        z, time, channel: as written, without leading zeros.
        day: the folders that are days or hours; one of them tells no plates apart.
        scheme: whose way of naming this is; "" for words read from several names together.
        version: what was made of another picture of the field (crop, MAX, stitched), or a larger
            magnification of it (10x); "" for the picture itself.
    """

    well: str | None
    plate: str | None
    folders: str
    lead: str
    rest: str
    z: str | None = None
    time: str | None = None
    channel: str | None = None
    scheme: str = ""
    day: str = ""
    version: str = ""

    @property
    def field(self) -> str:
        """What all images of one field share: z planes, time points, channels, copies of it."""
        return "/".join(
            filter(None, (self.folders, "_".join(filter(None, (self.lead, self.rest)))))
        )
