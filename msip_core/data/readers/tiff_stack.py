"""TIFF with several z planes or time points, and one file of an OME-TIFF of many files."""

from __future__ import annotations

import io
from pathlib import Path

import tifffile

from msip_core.data.enhance import Raw
from msip_core.data.ome import OwnPlanes, ome_pixels, ome_root, own_planes
from msip_core.data.readers.base import MAX_PIXELS, Scene, image_of
from msip_core.data.tiff import largest, open_tiff, page_pixels, pixel_size, read_plane
from msip_core.data.tiff_channels import channel_names, says_colour
from msip_core.data.tiff_planes import Asked, grey_channels
from msip_core.errors import DatasetError


class TiffStack:
    """See `base.Reader`. The largest image of the file is its only scene.

    Attributes:
        own: which planes of an image in many files this one holds, else None.
        set_id: the same for all files of such an image, else "".
    """

    def __init__(self, source: Path | bytes) -> None:
        data = source if isinstance(source, bytes) else source.read_bytes()
        self._tiff = open_tiff(data)
        self.left_out: list[str] = []
        if not self._tiff.series:
            raise DatasetError("is a TIFF without an image: export it again.")
        series = largest(self._tiff)
        sizes = dict(zip(series.axes, series.shape))
        if sizes.get("X", 0) * sizes.get("Y", 0) > MAX_PIXELS:
            raise DatasetError("is too large: cut it into tiles")
        pixels = ome_pixels(self._tiff, series)
        self.own: OwnPlanes | None = own_planes(self._tiff, pixels)
        names = channel_names(self._tiff, pixels)
        count = sizes["C"] if sizes.get("C", 1) > 1 else max(1, grey_channels(series))
        composite = count == 3 and series.dtype == "uint8" and "S" not in sizes
        if composite and says_colour(names):
            count = 1  # the colours of one picture
        deep, times = sizes.get("Z", 1), sizes.get("T", 1)
        if self.own is not None:
            deep, count, times = self.own.sizes
        self.set_id = _set_id(self._tiff) if self.own is not None else ""
        self.scenes = [
            Scene(
                width=sizes.get("X", 0),
                height=sizes.get("Y", 0),
                z=deep,
                times=times,
                channels=tuple(names) if len(names) == count else ("",) * count,
                pixel_size_um=pixel_size(self._tiff, pixels)[0],
            )
        ]

    def plane(self, scene: int, channel: int, z: int, time: int) -> Raw:
        if self.own is not None:
            at = [p.page for p in self.own.places if (p.channel, p.z, p.time) == (channel, z, time)]
            if not at:
                raise DatasetError("does not hold z plane {z}", z=z + 1)
            return image_of(page_pixels(self._tiff.pages[at[0]]))
        wanted = str(channel + 1) if len(self.scenes[0].channels) > 1 else None
        return read_plane(self._tiff, MAX_PIXELS, Asked("it", wanted, z + 1, time + 1)).pixels

    def close(self) -> None:
        self._tiff.close()


def has_stack(source: Path | bytes) -> bool:
    """Whether a TIFF's header tells of z planes, time points, or other files. Raises nothing."""
    try:
        file = io.BytesIO(source) if isinstance(source, bytes) else source
        with tifffile.TiffFile(file, _multifile=False) as tiff:
            if len(tiff.pages) > 1:
                return True
            root = ome_root(tiff)
            return root is not None and len(root.findall(".//{*}TiffData/{*}UUID")) > 1
    except Exception:  # noqa: BLE001 - damage of any kind is named by who reads the file
        return False


def _set_id(tiff: tifffile.TiffFile) -> str:
    root = ome_root(tiff)
    found = root.findall(".//{*}TiffData/{*}UUID") if root is not None else []
    return ",".join(sorted({(uuid.text or "").strip() for uuid in found}))
