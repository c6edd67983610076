"""OME-XML of a TIFF: the <Pixels> of an image, and what one file of a set of files holds."""

from __future__ import annotations

from typing import Any, NamedTuple
from xml.etree import ElementTree

import tifffile

from msip_core.data.tiff_channels import Choice, choose_channel
from msip_core.errors import DatasetError
from msip_core.messages import Message, mark, msg


class Place(NamedTuple):
    """Where one page stands in the whole image; all count from 0."""

    page: int
    z: int
    channel: int
    time: int


class OwnPlanes(NamedTuple):
    """The planes that one file of an OME-TIFF of many files holds itself.

    Attributes:
        places: of its pages; empty if the XML does not tell which are its own.
        names: of all channels of the whole image.
        sizes: z planes, channels and time points of the whole image.
    """

    places: tuple[Place, ...]
    names: list[str]
    sizes: tuple[int, int, int]

    def choose(self, channel: str | None, z: int | None, file: str) -> tuple[int, Choice]:
        """The page to take.

        Raises:
            DatasetError: this file holds no plane of that channel, or no such z plane.
        """
        held = sorted({place.channel for place in self.places})
        names = [self.names[c] if c < len(self.names) else "" for c in held]
        doubt = None
        if channel is not None and channel.strip().isdecimal():
            wanted = int(channel) - 1
            if wanted not in held:
                there = ", ".join(str(c + 1) for c in held)
                raise DatasetError(
                    "{file} was left out: it holds channel {there}, not {channel}.",
                    file=file,
                    there=there,
                    channel=channel,
                )
        elif len(held) > 1 or (channel is not None and any(names)):
            choice = choose_channel(names, len(held), channel, file)
            wanted, doubt = held[choice.at], choice.doubt
        else:
            wanted = held[0]
        planes = sorted({p.z for p in self.places if p.channel == wanted})
        if z is not None and len(planes) > 1 and z - 1 not in planes:
            raise DatasetError("{file} holds no z plane {z}.", file=file, z=z)
        level = z - 1 if z is not None and z - 1 in planes else planes[len(planes) // 2]
        chosen = min(p for p in self.places if p.channel == wanted and p.z == level)
        return chosen.page, Choice(chosen.page, self._note(chosen), doubt)

    def _note(self, place: Place) -> str:
        words = (
            mark("z plane {number} of {count}"),
            mark("channel {number} of {count}"),
            mark("time point {number} of {count}"),
        )
        where = [
            Message(word, {"number": at + 1, "count": of})
            for word, at, of in zip(words, (place.z, place.channel, place.time), self.sizes)
            if of > 1
        ]
        return msg("one file of an image in several files: {where}", where=where)


def ome_root(tiff: tifffile.TiffFile) -> ElementTree.Element | None:
    """The OME-XML, also where the planes are read without it; None if there is none."""
    text = tiff.ome_metadata or tiff.pages[0].description
    # ElementTree expands entities; OME-XML never declares any.
    if not text or not ("<OME" in text[:4000] or ":OME" in text[:4000]):
        return None
    if "<!ENTITY" in text:
        return None
    try:
        return ElementTree.fromstring(text)
    except ElementTree.ParseError:
        return None


def ome_pixels(tiff: tifffile.TiffFile, series: Any) -> ElementTree.Element | None:
    """The <Pixels> of the image that `series` is; of one plane's size where there are several."""
    root = ome_root(tiff)
    if root is None:
        return None
    found = root.findall(".//{*}Pixels")
    sizes = dict(zip(series.axes, series.shape))
    size = (str(sizes.get("X")), str(sizes.get("Y")))
    fitting = [pixels for pixels in found if (pixels.get("SizeX"), pixels.get("SizeY")) == size]
    if len(found) > 1 and len(tiff.series) == len(found):
        numbered = [s for s in tiff.series if s is series or series in s.levels]
        index = tiff.series.index(numbered[0]) if numbered else 0
        return found[index]
    return next(iter(fitting or found), None)


def own_planes(tiff: tifffile.TiffFile, pixels: ElementTree.Element | None) -> OwnPlanes | None:
    """What this file holds of an image that is spread over files; None if it holds all of it, or
    if the XML does not tell which planes are its own."""
    root = ome_root(tiff)
    if pixels is None or root is None:
        return None
    blocks = pixels.findall("{*}TiffData")
    uuids = {(u.text or "").strip() for block in blocks for u in block.findall("{*}UUID")}
    mine = (root.get("UUID") or "").strip()
    if mine not in uuids or len(uuids) < 2:
        return None
    own = [b for b in blocks if any((u.text or "").strip() == mine for u in b.findall("{*}UUID"))]
    order = [axis for axis in pixels.get("DimensionOrder", "XYZCT") if axis in "ZCT"]
    sizes = {axis: max(1, _number(pixels.get(f"Size{axis}"), 1)) for axis in "ZCT"}
    sizes["C"] = max(1, sizes["C"] // _samples(pixels))
    places = []
    for block in own:
        first = {axis: _number(block.get(f"First{axis}"), 0) for axis in "ZCT"}
        start = _number(block.get("IFD"), 0)
        usual = 1 if "IFD" in block.attrib else len(tiff.pages)
        count = min(_number(block.get("PlaneCount"), usual), len(tiff.pages) - start)
        for step in range(count):
            places.append(Place(start + step, *_after(first, step, order, sizes)))
    if not places or max(place.page for place in places) >= len(tiff.pages):
        return None
    names = [(c.get("Name") or "").strip() for c in pixels.findall("{*}Channel")]
    return OwnPlanes(tuple(places), names, (sizes["Z"], sizes["C"], sizes["T"]))


def _after(
    first: dict[str, int], step: int, order: list[str], sizes: dict[str, int]
) -> tuple[int, int, int]:
    """(z, channel, time), `step` planes after the first; the axes run in their order."""
    at = dict(first)
    for axis in order:
        step += at[axis]
        at[axis] = step % sizes[axis]
        step //= sizes[axis]
    return at["Z"], at["C"], at["T"]


def _number(text: str | None, usual: int) -> int:
    return int(text) if text and text.isdecimal() and len(text) < 9 else usual


def _samples(pixels: ElementTree.Element) -> int:
    channel = pixels.find("{*}Channel")
    return max(1, _number(channel.get("SamplesPerPixel"), 1)) if channel is not None else 1
