"""Which plane of a TIFF is read: one index on every axis that is not an image axis."""

from __future__ import annotations

from typing import Any, NamedTuple
from xml.etree import ElementTree

import numpy as np
from tifffile import EXTRASAMPLE, PHOTOMETRIC, TiffFile

from msip_core.data.ome import OwnPlanes, own_planes
from msip_core.data.tiff_channels import (
    Choice,
    channel_names,
    check_only_channel,
    choose_channel,
    choose_colour,
    says_colour,
)
from msip_core.errors import DatasetError
from msip_core.messages import msg


class Asked(NamedTuple):
    """A file's name for messages, and the channel, z plane and time point (from 1) to take."""

    file: str
    channel: str | None
    z: int | None
    time: int | None = None


class Picked(NamedTuple):
    """One index on every axis, or the whole of it.

    Attributes:
        samples: the axis that holds the colours of the picture; None for grey.
        sample: the one of them, or of several channels of a grey page, that is taken.
    """

    slices: list[slice]
    samples: int | None
    sample: int | None
    notes: list[str]
    doubt: str | None

    @property
    def is_only(self) -> bool:
        """Whether a page is one grey picture."""
        return self.samples is None and self.sample is None


def grey_channels(series: Any) -> int:
    """How many channels a grey page holds as samples of its pixels, alpha not counted; 0 where the
    samples are colours, or where there are none."""
    page = series.keyframe
    grey = page.photometric in (PHOTOMETRIC.MINISBLACK, PHOTOMETRIC.MINISWHITE)
    alpha = sum(
        extra in (EXTRASAMPLE.ASSOCALPHA, EXTRASAMPLE.UNASSALPHA) for extra in page.extrasamples
    )
    count = int(page.samplesperpixel) - alpha
    colours = count == 3 and series.dtype == np.uint8  # as of a composite, below
    return max(1, count) if grey and "S" in series.axes and not colours else 0


def pick(tiff: TiffFile, series: Any, ome: ElementTree.Element | None, asked: Asked) -> Picked:
    """Which plane to take: one index on every axis that is not an image axis.

    Args:
        ome: the <Pixels> of OME-XML that the series stands in.

    Raises:
        DatasetError: there is no such plane or channel.
    """
    own, names = own_planes(tiff, ome), channel_names(tiff, ome)
    picked = _picked(series, names, own, asked)
    channels = dict(zip(series.axes, series.shape)).get("C", 1)
    if own is None and ome is not None and picked.is_only and channels == 1:
        check_only_channel((names or [""])[0], asked.channel, asked.file)
    return picked


def _picked(series: Any, names: list[str], own: OwnPlanes | None, asked: Asked) -> Picked:
    axes, shape = series.axes, series.shape
    file, channel, z, time = asked
    sizes = dict(zip(axes, shape))
    composite = sizes.get("C") == 3 and series.dtype == np.uint8 and "S" not in axes
    composite = composite and channel is None and says_colour(names)
    channels = grey_channels(series)
    notes: list[str] = []
    doubt = sample = None
    slices = []
    for axis, length in zip(axes, shape):
        if axis == "S" and channels > 1:
            sample, note, doubt = choose_channel(names, channels, channel, file)
            notes.append(note)
            slices.append(slice(sample, sample + 1))
            continue
        if axis in "YXS" or (axis == "C" and composite):
            slices.append(slice(None))
            continue
        number, choice = 0, None
        if axis not in "CZT" and own is not None and length == len(own.places):
            number, choice = own.choose(channel, z, file)
        elif length > 1 and axis == "C":
            choice = choose_channel(names, length, channel, file)
        elif length > 1 and axis == "Z":
            choice = _z_plane(length, z, file)
        elif length > 1 and axis == "T":
            number = min(time or 1, length) - 1
            choice = Choice(
                number,
                msg("number {number} of {length} time points", number=number + 1, length=length),
            )
        elif length > 1:
            choice = _page(length, channel if sizes.get("C", 1) == 1 else None, file)
        if choice is not None:
            number, doubt = choice.at, choice.doubt or doubt
            notes.append(choice.note)
        slices.append(slice(number, number + 1))
    if own is not None and len(own.places) == 1:  # the only page has no axis of its own
        notes.append(own.choose(channel, z, file)[1].note)
    samples = axes.index("S") if "S" in axes else axes.index("C") if composite else None
    samples = None if channels > 1 else samples
    if channel is not None and samples is not None and sizes.get("C", 1) == 1:
        sample = choose_colour(channel) if sizes["S"] >= 3 else None
        if sample is not None:
            notes.append(msg("colour {colour}, as asked", colour=("red", "green", "blue")[sample]))
    return Picked(slices, samples, sample, notes, doubt)


def _page(length: int, channel: str | None, file: str) -> Choice:
    """One of several pages without a meaning: the channel of that number, or the first."""
    if channel is not None:
        chosen = choose_channel([], length, channel, file).at
        return Choice(
            chosen, msg("number {chosen} of {length} pages", chosen=chosen + 1, length=length)
        )
    return Choice(
        0,
        msg("number 1 of {length} pages", length=length),
        msg(
            "has {length} pages and does not say what they are: the first was taken; choose a "
            "channel by number if the organoids are in another",
            length=length,
        ),
    )


def _z_plane(length: int, z: int | None, file: str) -> Choice:
    number = length // 2 + 1 if z is None else z
    if not 1 <= number <= length:
        raise DatasetError(
            "{file} has {length} z planes, so there is no plane {z}.", file=file, length=length, z=z
        )
    said = msg("number {number} of {length} z planes", number=number, length=length)
    return Choice(number - 1, said)
