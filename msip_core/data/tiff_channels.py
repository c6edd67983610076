"""Channels of a TIFF: their names as the file states them, and which of them is looked at."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import NamedTuple
from xml.etree import ElementTree

import tifffile

from msip_core.errors import DatasetError
from msip_core.messages import Message, mark, msg

# Transmitted light, as microscopes call it: organoids are labelled there, not in a reporter.
_TRANSMITTED = re.compile(
    r"bright[-_ ]?field|(?<![a-z])(?:bf|tl|dl|dic|trans(?:mitted|mission)?|t[-_ ]?pmt|dia|oblique"
    r"|phase(?:[-_ ]?contrast)?|ph\d?|pc|hoffman|hmc)(?![a-z])"
    r"|hellfeld|phasenkontrast|champ[-_ ]clair|contraste[-_ ]de[-_ ]phase|明场|亮场|相差",
    re.I,
)
_COLOURS = ("red", "green", "blue")


class Choice(NamedTuple):
    """One channel of several.

    Attributes:
        at: counts from 0.
        note: what was taken and why, for the report.
        doubt: why nobody knows that this is the right one; None if it is known.
    """

    at: int
    note: str
    doubt: str | None = None


def is_transmitted(name: str) -> bool:
    """Whether a channel's name says brightfield, phase contrast, DIC or other transmitted light."""
    return bool(_TRANSMITTED.search(name))


def choose_channel(names: Sequence[str], count: int, wanted: str | None, file: str) -> Choice:
    """The channel that was asked for; else the one whose name says transmitted light; else the
    first, with a doubt.

    Args:
        names: as the file states them, or empty.
        wanted: number from 1, or (part of) a name.

    Raises:
        DatasetError: the file has no such channel.
    """
    known = list(names) if len(names) == count and any(names) else []
    if wanted is not None and wanted.strip():
        index = _asked(known, count, wanted.strip(), file)
        how = mark("channel {index} of {count}, as asked{called}")
    else:
        index = next((at for at, name in enumerate(known) if is_transmitted(name)), -1)
        how = mark("channel {index} of {count}, for its name{called}")
    if index >= 0:
        facts = {"index": index + 1, "count": count, "called": _called(known, index)}
        return Choice(index, Message(how, facts))
    doubt = msg(
        "has {count} channels and nobody said which: the first was taken; choose a channel by "
        "number or name if the organoids are in another",
        count=count,
    )
    if known:
        doubt = msg(
            "has {count} channels ({known}) and nobody said which: the first was taken; choose a "
            "channel by number or name if the organoids are in another",
            count=count,
            known=", ".join(known),
        )
    taken = msg("number 1 of {count} channels{called}", count=count, called=_called(known, 0))
    return Choice(0, taken, doubt)


def check_only_channel(name: str, wanted: str | None, file: str) -> None:
    """Refuse a file that holds one channel, and says that it is another than the one wanted.

    Raises:
        DatasetError: it does. A file that does not name its only channel is taken for it.
    """
    word = (wanted or "").strip()
    if word.isdecimal() and int(word) > 1:
        raise DatasetError(
            "{file} was left out: it has one channel, so there is no channel {word}.",
            file=file,
            word=word,
        )
    if word and not word.isdecimal() and name and word.lower() not in name.lower():
        raise DatasetError(
            "{file} was left out: it holds the channel '{name}', not '{word}'.",
            file=file,
            name=name,
            word=word,
        )


def choose_colour(wanted: str) -> int | None:
    """Red, green or blue of a colour image, by name or number; None for any other name."""
    word = wanted.strip().lower()
    if word.isdecimal() and 1 <= int(word) <= 3:
        return int(word) - 1
    return _COLOURS.index(word) if word in _COLOURS else None


def says_colour(names: Sequence[str]) -> bool:
    """Whether three channels may be the colours of one picture: unnamed, or named so."""
    return not any(names) or all(
        re.match(r"(?:r|g|b|c?\d|ch\d)$", n.strip(), re.I) or n.strip().lower() in _COLOURS
        for n in names
    )


def _asked(names: list[str], count: int, wanted: str, file: str) -> int:
    lowered = [name.strip().lower() for name in names]
    word = wanted.lower()
    if word in lowered:
        return lowered.index(word)
    if wanted.isdecimal() and 1 <= int(wanted) <= count:
        return int(wanted) - 1
    parts = [index for index, name in enumerate(lowered) if word in name]
    if len(parts) == 1:
        return parts[0]
    there = ", ".join(names) if names else msg("{count} without names", count=count)
    several = msg("fits several of its channels") if parts else msg("is none of its channels")
    raise DatasetError(
        "{file} was left out: '{wanted}' {several} ({there}).",
        file=file,
        wanted=wanted,
        several=several,
        there=there,
    )


def _called(names: list[str], index: int) -> str:
    return f" ('{names[index]}')" if names else ""


def channel_names(tiff: tifffile.TiffFile, pixels: ElementTree.Element | None) -> list[str]:
    """Names of the channels in their order, "" where one has none; empty if the file has none.

    Args:
        pixels: the <Pixels> of OME-XML that the image stands in.
    """
    if pixels is not None:
        return [_ome_name(channel) for channel in pixels.iterfind("{*}Channel")]
    if tiff.is_imagej:
        return _imagej_names(tiff.imagej_metadata or {})
    if tiff.is_micromanager:
        summary = (tiff.micromanager_metadata or {}).get("Summary")
        names = summary.get("ChNames") if isinstance(summary, dict) else None
        return [str(name) for name in names] if isinstance(names, list) else []
    return []


def _ome_name(channel: ElementTree.Element) -> str:
    """A channel's name; one that is called by its number only is told by how it was lit."""
    name = (channel.get("Name") or "").strip()
    lit = channel.get("ContrastMethod") or channel.get("IlluminationType") or ""
    lit = "" if lit.lower() in ("other", "epifluorescence", "fluorescence") else lit
    if is_transmitted(lit) and not is_transmitted(name):
        return f"{name} {lit}".strip()
    return name or (channel.get("Fluor") or lit).strip()


def _imagej_names(metadata: Mapping[str, object]) -> list[str]:
    """ImageJ labels every plane; channels run fastest, so the first planes name them."""
    labels = metadata.get("Labels")
    count = metadata.get("channels", 1)
    if not isinstance(labels, list) or not isinstance(count, int) or len(labels) < count:
        return []
    names = [_without_place(str(label)) for label in labels[:count]]
    return names if len(set(names)) == len(names) else []  # the file's name, again and again


def _without_place(label: str) -> str:
    """`c:2/3 z:1/5 - Brightfield` -> `Brightfield`."""
    return re.sub(r"^(?:[cztp]:\d+/\d+\s*)+(?:-\s*)?", "", label.splitlines()[0] if label else "")
