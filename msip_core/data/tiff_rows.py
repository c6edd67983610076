"""Rows of one plane of a TIFF, of which only the strips or tiles that hold them are decoded."""

from __future__ import annotations

import math
from collections import OrderedDict
from typing import Any, NamedTuple

import numpy as np
import tifffile

from msip_core.data.enhance import Raw
from msip_core.data.ome import ome_pixels
from msip_core.data.tiff import pixel_size
from msip_core.data.tiff_planes import Asked, pick
from msip_core.errors import DatasetError
from msip_core.messages import joined

_KEPT_BYTES = 64 * 1024**2  # of decoded strips, for rows that are asked for twice


class PickedPage(NamedTuple):
    """The page that holds the plane, and what was chosen on the way; None where there is none."""

    page: Any
    sample: int | None
    pixel_size_um: float | None
    note: str | None
    doubt: str | None


def picked_page(tiff: tifffile.TiffFile, series: Any, asked: Asked) -> PickedPage:
    """The plane that `read_tiff` would take."""
    axes, shape = series.axes, series.shape
    ome = ome_pixels(tiff, series)
    picked = pick(tiff, series, ome, asked)
    size, warning = pixel_size(tiff, ome)
    lead = min(axes.index(axis) for axis in "YXS" if axis in axes)
    leading, index = shape[:lead], picked.slices[:lead]
    page = None
    if all(part.stop is not None for part in index) and len(series.pages) == math.prod(leading):
        place = [part.start for part in index]
        page = series.pages[int(np.ravel_multi_index(place, leading)) if lead else 0]
    notes = [*picked.notes, *([warning] if warning else [])]
    return PickedPage(page, picked.sample, size, joined(", ", notes) or None, picked.doubt)


def is_plain(page: Any, width: int, height: int) -> bool:
    """Whether strips of this page are pixels of the image as it is seen."""
    key = page.keyframe
    return (
        (key.shape[:2] == (height, width) or key.shape[-2:] == (height, width))
        and key.imagedepth == 1
        and key.dtype is not None
        and key.dtype.kind in "uif"
        and (
            key.photometric
            in (
                tifffile.PHOTOMETRIC.MINISBLACK,
                tifffile.PHOTOMETRIC.RGB,
                tifffile.PHOTOMETRIC.YCBCR,
            )
        )
        and key.bitspersample in (8, 16, 32)
    )


class TiffRows:
    """Rows of one page: (rows, width) or (rows, width, 3)."""

    def __init__(self, tiff: tifffile.TiffFile, page: Any, sample: int | None) -> None:
        self._tiff, self._page, self._key = tiff, page, page.keyframe
        self._name = tiff.filename
        self._sample = sample
        self._kept: OrderedDict[int, tuple[Any, tuple[int, ...]]] = OrderedDict()
        self._bytes = 0

    def __call__(self, top: int, bottom: int) -> Raw:
        key = self._key
        long = key.tilelength if key.is_tiled else key.rowsperstrip
        wide = key.tilewidth if key.is_tiled else key.imagewidth
        down, across = -(-key.imagelength // long), -(-key.imagewidth // wide)
        separate = key.samplesperpixel if key.planarconfig == 2 else 1
        image = np.zeros((bottom - top, key.imagewidth, key.samplesperpixel), key.dtype)
        for plane in range(separate):
            for row in range(top // long, min(down, -(-bottom // long))):
                for column in range(across):
                    self._put(image, (plane * down + row) * across + column, top, bottom)
        return self._coloured(image)

    def _put(self, image: Raw, number: int, top: int, bottom: int) -> None:
        segment, (plane, _, y, x, _) = self._segment(number)
        if segment is None:  # a hole, which TIFF allows; 0 as tifffile has it
            return
        pixels = segment[0]
        first, last = max(top, y), min(bottom, y + pixels.shape[0])
        width = min(pixels.shape[1], image.shape[1] - x)
        if first >= last:
            return
        samples = slice(plane, plane + 1) if self._key.planarconfig == 2 else slice(None)
        image[first - top : last - top, x : x + width, samples] = pixels[
            first - y : last - y, :width
        ]

    def _segment(self, number: int) -> tuple[Any, tuple[int, ...]]:
        if number in self._kept:
            self._kept.move_to_end(number)
            return self._kept[number]
        page, key = self._page, self._key
        if number >= len(page.dataoffsets):
            raise DatasetError(
                "{name} lacks strips that it promises: export it again.", name=self._name
            )
        handle = self._tiff.filehandle
        more: dict[str, object] = {"_fullsize": key.is_tiled}
        if key.compression in (6, 7, 34892, 33007):  # JPEG, whose tables may stand in the header
            more |= {"jpegtables": page.jpegtables, "jpegheader": key.jpegheader}
        data = None
        if size := page.databytecounts[number]:
            handle.seek(page.dataoffsets[number])
            data = handle.read(size)
            if len(data) < size:
                raise DatasetError(
                    "{name} ends before its last strip: copy it again.", name=self._name
                )
        segment, place, _ = key.decode(data, number, **more)
        self._keep(number, segment, place)
        return segment, place

    def _keep(self, number: int, segment: Any, place: tuple[int, ...]) -> None:
        self._kept[number] = (segment, place)
        self._bytes += 0 if segment is None else segment.nbytes
        while self._bytes > _KEPT_BYTES and len(self._kept) > 1:
            _, (old, _) = self._kept.popitem(last=False)
            self._bytes -= 0 if old is None else old.nbytes

    def _coloured(self, image: Raw) -> Raw:
        if self._sample is not None:
            return image[..., self._sample]
        return image[..., 0] if image.shape[-1] < 3 else image[..., :3]  # alpha says nothing here
