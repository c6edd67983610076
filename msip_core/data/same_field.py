"""Which names are of one field, though a word of theirs differs.

Fields are told apart by numbers, or by a word for their place in the well (edge, left). A word for
what people and programs make of a picture (crop, copy, MAX, stitched) is no field beside that
picture, nor is another magnification; before and after are time points; any other word, by which
alone names of most wells differ, is that of a channel.
"""

from __future__ import annotations

import re
from bisect import bisect_left
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from functools import reduce

from msip_core.data.image_name import ImageName
from msip_core.data.plane_marks import EARLIER, STAGE

_START, _END = r"(?<![^\W_])", r"(?![^\W_])"
# Copies, what was cut out or changed, and what a z-stack was projected to.
_MADE = re.compile(
    rf"{_START}(?:(?:copy|kopie|copie|copia|副本)(?:[-_ ](?:of|von|de))?(?:[-_ ]\d+)?"
    r"|crop(?:ped|s)?|8[-_ ]?bit|16[-_ ]?bit|gr[ae]y(?:scale)?"
    r"|edited|bearbeitet|processed|enhanced|adjusted|normali[sz]ed|corrected|bg[-_ ]?(?:corr|sub)"
    r"|flat[-_ ]?field|denoised|deconv(?:olved)?|filtered|sharpened|smoothed|inverted|clahe"
    r"|registered|aligned|resized|rescaled|downsampled|low[-_ ]?res|backups?|bak|old"
    r"|mip|max|min|avg|std|sum|med(?:ian)?|edf"
    r"|(?:(?:max(?:imum)?|mean)[-_ ]?)?(?:intensity[-_ ]?)?(?:z[-_ ]?)?proj(?:ections?)?"
    r"|(?:full|best|all[-_ ]in)[-_ ]?focus|focus[-_ ]?stack(?:ed)?"
    rf"){_END}|\([^()]*(?:conflicted copy|in konflikt)[^()]*\)|(?<=IMG_)E(?=\d{{4}}$)",
    re.I,
)
_CROPS = re.compile(rf"{_START}crop(?:ped|s)?[-_ ]?\d+{_END}", re.I)
# The picture of a whole well or region, beside the tiles that it was made of.
_MOSAIC = re.compile(
    rf"{_START}(?:stitch(?:ed|ing)?|mosaic|montage|merging|merged?|fused|overview|panorama"
    rf"|whole[-_ ]?well){_END}",
    re.I,
)
_MAGNIFIED = re.compile(
    rf"{_START}(1|1[.,]25|1[.,][56]|2|2[.,]5|4|5|6[.,]3|10|12[.,]5|1[56]|20|25|3[02]|40|50|6[03]|100)x"
    rf"{_END}",
    re.I,
)
_STAGE = re.compile(rf"{_START}{STAGE}{_END}", re.I)
_EARLIER = re.compile(EARLIER, re.I)
_PLACE = re.compile(
    r"(?:edge|rim|mid|middle|cent(?:er|re|ral)|left|right|top|bottom|upper|lower|inner|outer"
    r"|north|south|east|west|[ns][ew]|first|second|third|last|one|two|three|four|i{1,3}|iv|vi{0,3}"
    r"|rand|mitte|links|rechts|oben|unten|bord|milieu|gauche|droite|haut|bas"
    r"|[左右上下中边]|中心|中间|边缘|field|feld|champ|pos|site|fov|tile|scan|image|img|well)+",
    re.I,
)
_WORD = re.compile(r"[A-Za-z]{2}[^_ ]*|[A-Za-z]\d+[A-Za-z][^_ ]*|[^\x00-\x7f\d\W_]+")
_NUMBERED = re.compile(r"\d+$|(?<=[a-z])[A-Z]$")
_GAP = re.compile(r"[-_ .]{2,}")
_MOST = 0.8  # of the fields
_LEAST = 3  # letters of a name without a well, that tiles and their mosaic share


def alike(names: Sequence[ImageName]) -> list[ImageName]:
    """The names, with channels, stages and versions that only the others tell."""
    return _with_other_channels(_with_stages(_with_magnifications(_with_versions(names))))


def _place_of(name: ImageName) -> tuple[str | None, str, str, str]:
    return name.well, name.folders, name.lead, name.rest


def _without(text: str, match: re.Match[str]) -> str:
    gap = "" if match.group() == "E" else "_"  # a phone's IMG_E0001 is its IMG_0001, edited
    return _GAP.sub("_", text[: match.start()] + gap + text[match.end() :]).strip("-_ .")


def _cuts(name: ImageName, pattern: re.Pattern[str]) -> Iterator[tuple[re.Match[str], ImageName]]:
    """Each word of this kind in a name, and the name without it."""
    for match in pattern.finditer(name.rest):
        yield match, replace(name, rest=_without(name.rest, match))
    for match in pattern.finditer(name.lead):
        yield match, replace(name, lead=_without(name.lead, match))
    folders = name.folders.split("/")
    for at, part in enumerate(folders):
        if whole := pattern.fullmatch(part):
            yield whole, replace(name, folders="/".join(folders[:at] + folders[at + 1 :]))


def _with_versions(names: Sequence[ImageName]) -> list[ImageName]:
    """Copies, crops, projections beside the picture, and mosaics beside their tiles."""
    places = {_place_of(name) for name in names}
    tiles: dict[tuple[str | None, str, str], list[str]] = defaultdict(list)
    for well, folders, lead, rest in sorted(places, key=lambda place: place[3]):
        if not _MOSAIC.search(rest):
            tiles[well, folders, lead].append(rest)

    def beside(cut: ImageName) -> bool:
        return _place_of(cut) in places

    def of_tiles(cut: ImageName) -> bool:
        if not cut.rest or (cut.well is None and len(cut.rest) < _LEAST):
            return False
        there = tiles[cut.well, cut.folders, cut.lead]
        at = bisect_left(there, cut.rest)  # the first that can begin like this
        return at < len(there) and there[at].startswith(cut.rest)

    kinds = ((_MADE, beside), (_CROPS, beside), (_MOSAIC, of_tiles))
    return [reduce(lambda name, kind: _version(name, *kind), kinds, name) for name in names]


def _version(
    name: ImageName, pattern: re.Pattern[str], is_there: Callable[[ImageName], bool]
) -> ImageName:
    found = next(((m, cut) for m, cut in _cuts(name, pattern) if is_there(cut)), None)
    return name if found is None else replace(found[1], version=found[0].group())


def _with_magnifications(names: Sequence[ImageName]) -> list[ImageName]:
    """Of a well that was looked at in several magnifications the smallest sees most."""
    cuts = [next(_cuts(name, _MAGNIFIED), None) for name in names]
    if not any(cuts):
        return list(names)
    bare = [cut[1] if cut else name for name, cut in zip(names, cuts, strict=True)]
    factors = [float(cut[0][1].replace(",", ".")) if cut else 0.0 for cut in cuts]
    units = [_place_of(b) if b.well is None else (b.well, b.folders, b.lead, b.plate) for b in bare]
    seen: dict[tuple[str | None, ...], set[float]] = defaultdict(set)
    for unit, factor in zip(units, factors, strict=True):
        seen[unit].add(factor)
    return [
        name
        if len(seen[unit]) < 2
        else replace(b, version=b.version or (f"{factor:g}x" if factor > min(seen[unit]) else ""))
        for name, b, unit, factor in zip(names, bare, units, factors, strict=True)
    ]


def _with_stages(names: Sequence[ImageName]) -> list[ImageName]:
    """Before and after a treatment: time points of one field, where a name is there for both."""
    found = [_STAGE.search(name.rest) for name in names]
    bare = [
        replace(name, rest=_without(name.rest, match)) if match else name
        for name, match in zip(names, found, strict=True)
    ]
    seen: dict[tuple[str | None, ...], set[tuple[str, str | None]]] = defaultdict(set)
    for name, match in zip(bare, found, strict=True):
        seen[_place_of(name)].add((match.group().lower() if match else "", name.time))
    staged: list[ImageName] = []
    for name, cut, match in zip(names, bare, found, strict=True):
        if not match or len(seen[_place_of(cut)]) < 2 or not (cut.rest or cut.well):
            staged.append(name)
        elif cut.time and not _EARLIER.fullmatch(match.group()):  # post_24h
            staged.append(cut)
        else:
            time = " ".join(filter(None, (match.group(), cut.time)))
            staged.append(replace(cut, time=time))
    return staged


def _with_other_channels(names: list[ImageName]) -> list[ImageName]:
    """Words that nobody knows, by which alone images of most wells differ: A1_Cal-AM beside A1_BF,
    A1_明场 beside A1_荧光. Without wells a word counts beside a known channel only."""
    fields: dict[tuple[str | None, ...], dict[str, list[tuple[int, str]]]] = defaultdict(dict)
    for at, name in enumerate(names):
        own = fields[(*_place_of(name), name.version)]
        own.setdefault(name.channel or "", []).append((at, name.rest))
        for word, rest in _words(name) if name.channel is None else ():
            place = (name.well, name.folders, name.lead, rest, name.version)
            fields[place].setdefault(word, []).append((at, rest))
    known = {name.channel for name in names if name.channel}
    several = [
        _told_apart(kinds, known)
        for (well, *_), kinds in fields.items()
        if len(kinds) > 1 and (well is not None or not known.isdisjoint(kinds))
    ]
    most = max(2, _MOST * len(several))
    counted = Counter(word for kinds in several for word in kinds)
    told: dict[int, tuple[str, str]] = {}
    for kinds in several:
        for word, there in kinds.items():
            if word and word not in known and counted[word] >= most:
                told |= {at: (word, rest) for at, rest in there if at not in told}
    return [
        replace(name, channel=told[at][0], rest=told[at][1]) if at in told else name
        for at, name in enumerate(names)
    ]


def _told_apart(
    kinds: dict[str, list[tuple[int, str]]], known: set[str]
) -> dict[str, list[tuple[int, str]]]:
    """Without words that are numbered (rep1, siteA): these are fields. EthD1 is one beside BF."""
    stems = Counter(_NUMBERED.sub("", word) for word in kinds)
    sure = not known.isdisjoint(kinds)
    return {
        word: there
        for word, there in kinds.items()
        if stems[_NUMBERED.sub("", word)] == 1 and (sure or not word[-1:].isdigit())
    }


def _words(name: ImageName) -> Iterator[tuple[str, str]]:
    """The words of a name that may be those of channels, and the name without each."""
    parts = name.rest.split("_")
    for at in range(0 if name.well is None else 1, len(parts)):
        if _WORD.fullmatch(parts[at]) and not _PLACE.fullmatch(parts[at]):
            yield parts[at], "_".join(parts[:at] + parts[at + 1 :])
