"""What programs write around the name of an image to name one of its planes.

These marks say something only beside those of the other planes: C1-x.tif alone may be of well C1.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Sequence
from pathlib import PurePosixPath

from msip_core.data.plate_words import DATE, with_number_of_month

# ImageJ: C1-x.tif, C2-x.tif of one image that was split into its channels (C1-s1 is a site of a
# well), and c:1/3 z:2/9 - x, where a file cannot be called so with other signs for : and /.
_SPLIT = re.compile(
    r"(?P<row>[A-P])(?P<number>\d{1,2})-"
    r"(?P<rest>(?!(?:[sfptz]|site|field|fov|pos(?:ition)?)?[-_ ]?\d+$).+)",
    re.I,
)
_SLICE = re.compile(r"(?P<planes>(?:[czt][:_-]?\d+[-_]\d+[ _]+)+)-[ _]*(?P<rest>.+)")
_OF_SLICE = re.compile(r"([czt])[:_-]?(\d+)[-_]\d+")
# ZEN: x_c1_ORG.tif, or x_c1.tif, x_c2.tif beside the picture of both, x_c1-2.tif.
_ZEN = re.compile(r"(?P<rest>.+_)c(?P<number>\d(?:[-+]\d)*)(?P<end>_ORG)?")
_CHANNELS = {f"C{number}" for number in range(1, 10)}
# How long after the start: 24h, 1d12h, 02d12h30m, 90 min, 3 days, 1d (2D and 3D are cultures), 2wk,
# 48hpi (after infection), 3天; day 3, d3, DIV5 (in vitro), Tag 3, wk2, 第3天.
_UNIT = (
    r"(?:hrs?|hours?|std|stunden?|heures?|min(?:s|utes?|uten)?|(?-i:d)|days?|tage?|jours?|wks?|weeks?"
    r"|wochen?|semaines?|mo|months?|monate?|mois|[hdw]p[a-z]|div|天|日|小时|分钟|周|个?月)"
)
_BEFORE = (
    r"(?:d(?!00)|days?|div|tage?|jours?|hrs?|hours?|stunde|weeks?|wk|woche|semaine|months?|monat"
    r"|mois|第)"
)
AGE = (
    r"(?:(?:t[-_ =]?)?(?:(?P<days>\d+)d[-_ ]?)?(?P<hours>\d+)h(?:(?P<minutes>\d+)m(?:in)?)?"
    rf"|(?:t[-_ =]?)?(?P<alone>\d+)[-_ ]?{_UNIT}|{_BEFORE}[-_ ]?(?P<nth>\d+)[天日周月]?)"
)
# Behind a well: A01_24h, A01_D3F1; there h24 is no well.
_LATER = re.compile(
    rf"(?<![A-Za-z0-9])(?:{AGE}|(?:h|frame[-_ ]?)(?P<hour>\d+))(?:(?![A-Za-z0-9])|(?=f\d))", re.I
)
# Folders: the same, and rounds of one plate.
WHEN = rf"(?:{AGE}|(?:round|session|visit|time[-_ ]?point)[-_ ]?\d+)"
# When in a treatment a picture was taken: A01_pre, A01_post, org3_after treatment.
_OF_WHAT = (
    r"(?:[-_ ]?(?:treat(?:ment|ed)?|tx|drug|dos(?:e|ing)|wash(?:out)?|stim(?:ulation)?|swelling|fsk"
    r"|forskolin|behandlung|traitement))?"
)
EARLIER = (
    rf"(?:(?:pre|before|baseline|initial|start|vorher|avant){_OF_WHAT}|(?:处理|用药|给药|治疗)?前)"
)
STAGE = (
    rf"(?:{EARLIER}|(?:post|during|after|final|end(?:point)?|nachher|danach|apr[eè]s){_OF_WHAT}"
    r"|(?:处理|用药|给药|治疗)?后)"
)
_NUMBER_BEHIND = re.compile(r"[T_ -]+00\d\d(?:\d\d)?$")
_KINDS = {"c": "channel", "z": "z", "t": "time"}


def without_marks(sources: Sequence[str]) -> list[tuple[str, dict[str, str]]]:
    """Each path without what ImageJ writes before the name of a plane, or ZEN behind it, and what
    that tells."""
    paths = [PurePosixPath(source) for source in sources]
    split = [_SPLIT.fullmatch(path.stem) for path in paths]
    numbers: defaultdict[tuple[PurePosixPath, str], set[str]] = defaultdict(set)
    for path, match in zip(paths, split):
        if match:
            numbers[path.parent, match["rest"]].add(f"{match['row']}{match['number']}")
    channels = {key for key, found in numbers.items() if {"C1", "C2"} <= found <= _CHANNELS}
    zen = [_ZEN.fullmatch(path.stem) for path in paths]
    sure = {
        (p.parent, m["rest"])
        for p, m in zip(paths, zen)
        if m and (m["end"] or not m["number"].isdigit())
    }
    bare: list[tuple[str, dict[str, str]]] = []
    for source, path, match, scene in zip(sources, paths, split, zen):
        if scene and (path.parent, scene["rest"]) in sure:
            name = f"{scene['rest'].rstrip('_')}{scene['end'] or ''}{path.suffix}"
            bare.append((str(path.with_name(name)), {"channel": scene["number"]}))
            continue
        if match and (path.parent, match["rest"]) in channels:
            told = {"channel": match["number"]}
        elif match := _SLICE.fullmatch(path.stem):
            found = _OF_SLICE.findall(match["planes"])
            told = {_KINDS[word]: str(int(number)) for word, number in found}
        else:
            bare.append((source, {}))
            continue
        bare.append((str(path.with_name(match["rest"] + path.suffix)), told))
    return bare


def later_in(text: str, start: int) -> tuple[str, tuple[int, int]] | None:
    """The hour, day or date that stands behind a well, as a number, and where; 02d12h30m is 60.5.

    A date is told without its signs, the year first: 03.05.2024 10:30 is 202405031030.
    """
    if found := _LATER.search(text, start):
        if alone := found["alone"] or found["nth"] or found["hour"]:
            return str(int(alone)), found.span()
        days, hours, minutes = (int(found[part] or 0) for part in ("days", "hours", "minutes"))
        return f"{24 * days + hours + minutes / 60:g}", found.span()
    if date := DATE.search(text, start):
        said, end = date.group(), date.end()
        if number := _NUMBER_BEHIND.search(said):  # 20240503_0001 is a first image, not midnight
            said, end = said[: number.start()], date.start() + number.start()
        said = with_number_of_month(said)
        turned = re.sub(r"^(\d\d?)([-_.])(\d\d?)\2(\d{4}|(?<=\.)\d\d$)", _year_first, said)
        return "".join(filter(str.isdigit, turned)), (date.start(), end)
    return None


def _year_first(date: re.Match[str]) -> str:
    return f"{date[4]}{int(date[3]):02d}{int(date[1]):02d}"
