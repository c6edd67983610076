"""Which images belong together: plate, well, donor ... read from file and folder names."""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import re2

from msip_core.data.names import read_names
from msip_core.data.plane_marks import AGE
from msip_core.data.plate_words import DATE
from msip_core.data.wells import Well, place_wells, wells_taken
from msip_core.errors import ConfigError
from msip_core.messages import Message, mark, msg

# A level is used as it is when it makes at least this many groups: enough for three parts.
ENOUGH = 10
# A level must show in most names, or it is a coincidence.
COVERAGE = 0.8


@dataclass(frozen=True, slots=True)
class Grouping:
    """The group of every image, and one sentence that says how it was found."""

    groups: tuple[str, ...]
    sentence: str
    notes: tuple[str, ...] = ()


# Short and other words for a donor; a letter behind them alone says nothing.
_SHORT = {"donor": "|pt|pat|pdo|spender|souris|患者|病人|供体|小鼠"}


def _word(*words: str) -> re.Pattern[str]:
    """`donor3`, `donor-3b`, `Donor_A`, `donorA`, as a token of its own; never `donors`."""
    joined, more = "|".join(words), _SHORT.get(words[0], "")
    return re.compile(
        rf"(?<![A-Za-z0-9])(?:(?i:{joined}{more})(?:[-_ ]?([A-Za-z]?\d+)[a-c]?|[-_ ]([A-Za-z]))"
        rf"|(?:[A-Z]?(?:{'|'.join(w[1:] for w in words)})|{joined})([A-Z]))(?![A-Za-z0-9])"
    )


# What programs add to the name of a picture for a copy that they changed, or a part that they cut
# out: a flip, a tile, x0_y512, the four corners of a slice; and what says how much later the same
# was looked at again. A copy of the file itself is told by the file without "(2)" or "Copy".
_COPY = re.compile(
    r"(?:[-_ .]+(?:aug(?:mented)?|[hv]?flip(?:ped)?|rot(?:at(?:ed|ion))?|mirror(?:ed)?|tile|patch)"
    r"(?:[-_ ]?[hvxy\d]+){0,2}|[-_ ]x=?\d+[-_ ]?y=?\d+|(?:_\d+){4}|[-_ ]\d+of\d+"
    r"|[-_ ]*[\[(](?:[a-z]=)?\d+(?: ?, ?(?:[a-z]=)?\d+)+[\])]"
    rf"|[-_ .]+(?:{AGE}|{DATE.pattern}))+$",
    re.IGNORECASE,
)
_DOUBLE = re.compile(r"(?:[-_ ]+copy(?:[-_ ]?\d+)?| ?\(\d+\))+$", re.IGNORECASE)
# The last number of a name, with the word before it: frame_003, z12, 7.
_COUNTER = re.compile(r"(?:[-_ .]+[A-Za-z]*[-_ ]?|(?<=\d)[A-Za-z]+)\d+$")
# Words whose images are of one place, however few of them there are.
_PLACE = re.compile(
    r"(?<![a-z])(?:vid(?:eo)?|mov(?:ie)?|film|clip|time[-_ ]?lapse|pos(?:ition)?|slide|scan|stack"
    r"|org(?:anoid)?)[-_ ]?\d+$",
    re.IGNORECASE,
)
# One word of a name between gaps; what is left has to name something with a number.
_PARTS = re.compile(r"([-_ .]+)")
_WORDS = re.compile(rf"[^\W\d_]{{2,}}|{AGE}", re.IGNORECASE)
_NAMED = re.compile(r"[^\W\d_].*\d")
_DONOR = _word("donor", "patient", "subject", "mouse", "animal", "line")
_SERIES = _word("subset", "batch", "experiment", "exp", "series")


def _told(
    pattern: re.Pattern[str], label: str, sources: Sequence[str], wells: Sequence[Well | None]
) -> list[str | None]:
    """What a pattern tells of each name. `exp_A01` is a well behind a word, and no experiment."""
    found: list[str | None] = []
    for source, well in zip(sources, wells, strict=True):
        match = pattern.search(source)
        text = next(filter(None, match.groups())).upper() if match else ""
        is_well = (
            well is not None
            and re.fullmatch("[A-Z]0*[1-9][0-9]?", text) is not None
            and f"{text[0]}{int(text[1:]):02d}" == well.name
        )
        text = re.sub(r"(?<!\d)0+(?=\d)", "", text)  # donor 01 is donor 1
        found.append(f"{label} {text}" if text and not is_well else None)
    return found


def original(source: str) -> str:
    """The name that all copies of one field share: z planes, time points, augmented copies."""
    return read_names([source])[0].field


def find_groups(sources: Sequence[str], pattern: str | None = None) -> Grouping:
    """The group of each image.

    Args:
        sources: paths inside the folder or zip.
        pattern: a regular expression whose first group names the group; "" makes every image
            its own; None looks for donor, subset, plate and well names and takes the coarsest
            that makes at least `ENOUGH` groups, else the finest that makes at least three.

    Raises:
        ConfigError: the pattern is not a regular expression with a group.
    """
    if pattern == "":
        groups = tuple(sources)
        return Grouping(groups, msg("Grouping was turned off: every image was split on its own."))
    if pattern is not None:
        return _by_pattern(sources, pattern)
    return _by_names(sources)


def _by_pattern(sources: Sequence[str], pattern: str) -> Grouping:
    compiled = _compile(pattern)
    if compiled.groups < 1:
        raise ConfigError(
            "The group pattern '{pattern}' needs one pair of brackets around the part that names "
            "the group, such as (donor[0-9]+).",
            pattern=pattern,
        )
    matches = [compiled.search(source) for source in sources]
    groups = tuple(
        m.group(1) if m and m.group(1) else original(s) for m, s in zip(matches, sources)
    )
    lone = sum(not (m and m.group(1)) for m in matches)
    sentence = msg(
        "Images were grouped by the pattern '{pattern}': {count}.",
        pattern=pattern,
        count=_count(groups),
    )
    note = msg(
        "The group pattern matches {n} of {names} names; the others are groups of their own.",
        n=len(sources) - lone,
        names=len(sources),
    )
    return Grouping(groups, sentence, (note,) if lone else ())


def _compile(pattern: str) -> Any:
    """The pattern for RE2, whose time grows with the length of a name and not exponentially."""
    options = re2.Options()
    options.log_errors = False
    try:
        return re2.compile(pattern, options=options)
    except re2.error as error:
        reason = error.args[0] if error.args else ""
        text = reason.decode("utf-8", "replace") if isinstance(reason, bytes) else str(reason)
        try:
            re.compile(pattern)
        except (re.error, RecursionError, OverflowError):
            what = msg("is not a regular expression ({text})", text=text)
        else:
            what = msg(
                "uses what group patterns do not have ({text}): write it without looking ahead or "
                "behind ('(?=', '(?!', '(?<') and without '\\1'",
                text=text,
            )
        raise ConfigError(
            "The group pattern '{pattern}' {what}.", pattern=pattern[:100], what=what
        ) from error


def _by_names(sources: Sequence[str]) -> Grouping:
    """Coarse to fine: donor, subset, plate, well. A group of a finer level carries its coarser
    names along, so that well A01 of two plates is two groups."""
    names = read_names(sources)
    originals = _originals([name.field for name in names])
    wells = place_wells(names, sure=True)
    levels = (
        (mark("donor"), _told(_DONOR, "donor", sources, wells)),
        (mark("series"), _told(_SERIES, "subset", sources, wells)),
        (mark("plate"), [f"plate {name.plate}" if name.plate else None for name in names]),
        (mark("well"), [well.label if well else None for well in wells]),
    )
    keys: list[list[str]] = [[] for _ in sources]
    candidates: list[tuple[str, tuple[str, ...]]] = []
    for level, found in levels:
        if sum(name is not None for name in found) < COVERAGE * len(sources) or not sources:
            continue
        for key, name in zip(keys, found):
            key.append(name or "")
        if level == "well":  # it says its plate itself
            keys = [
                [part for part in key if not part.startswith("plate ") or part == key[-1]]
                for key in keys
            ]
        groups = tuple(
            " ".join(filter(None, key)) if name else other
            for key, name, other in zip(keys, found, originals)
        )
        if len(set(groups)) > 1:
            candidates.append((level, groups))
    counted = tuple(_COUNTER.sub("", text) or text for text in originals)
    least = 3 if all(map(_PLACE.search, counted)) else ENOUGH
    if not candidates and least <= len(set(counted)) < len(set(originals)):
        return Grouping(
            counted,
            msg(
                "File names show no plate, well or donor: images whose names differ in their last "
                "number only were kept together: {count}. If these do not belong together, give a "
                "group pattern.",
                count=_count(counted),
            ),
        )
    grouping = _choose(candidates, originals)
    said = wells_taken(names)
    # Wells that were taken and not used are no matter; words that may be wells are.
    used = grouping.sentence.startswith("Images of one well") or not any(n.well for n in names)
    return replace(grouping, notes=(*grouping.notes, said)) if said and used else grouping


def _originals(fields: Sequence[str]) -> tuple[str, ...]:
    """The name of the picture that each field is a copy or a part of; its own for most."""
    there = set(fields)
    found = []
    for text in fields:
        single = _DOUBLE.sub("", text)
        single = single if single in there else text
        found.append(_COPY.sub("", single) or text)
    if len(set(found)) == 1:  # organoids_day1, organoids_day2: no specimen is named
        found = list(fields)
    return _without_words(found)


def _without_words(names: Sequence[str]) -> tuple[str, ...]:
    """Names of which most are there twice and more but for one word (s5_before, 24h_s5, s5_blur
    beside s5): that word is none that tells specimens apart."""
    places: dict[str, set[str]] = defaultdict(set)
    told: list[list[str]] = []
    for name in names:
        parts = _PARTS.split(name)  # every second one is a gap
        words = [at for at in range(0, len(parts), 2) if _WORDS.fullmatch(parts[at])]
        kept = ["".join(parts[:at] + parts[at + 2 :]).strip("-_ .") for at in words]
        kept = [name, *(text for text in kept if _NAMED.search(text))]
        told.append(kept)
        for text in kept:
            places[text].add(name)
    several = [next((text for text in kept if len(places[text]) > 1), "") for kept in told]
    if sum(map(bool, several)) < COVERAGE * len(names):
        return tuple(names)
    return tuple(text or name for text, name in zip(several, names, strict=True))


def _choose(candidates: list[tuple[str, tuple[str, ...]]], originals: tuple[str, ...]) -> Grouping:
    enough = [c for c in candidates if len(set(c[1])) >= ENOUGH]
    few = [c for c in candidates if 3 <= len(set(c[1])) < ENOUGH]
    if enough or few:
        return _by_level(candidates, candidates.index(enough[0] if enough else few[-1]))
    torn = tuple(
        msg(
            "Names show {n} {name} groups, too few to split by, so one {name} can lie on "
            "both sides: accuracy on the test images then says little about other wells or donors.",
            n=len(set(g)),
            name=Message(name),
        )
        for name, g in candidates
    )
    if len(set(originals)) < len(originals):
        return Grouping(
            originals,
            msg(
                "Planes, time points and augmented copies of one field were kept together: "
                "{count}.",
                count=_count(originals),
            ),
            torn,
        )
    if torn:
        return Grouping(originals, msg("Every image was split on its own."), torn)
    return Grouping(
        originals,
        msg(
            "File names show no plate, well or donor: every image was split on its own. If images "
            "overlap or share a well, give a group pattern."
        ),
    )


def _by_level(candidates: list[tuple[str, tuple[str, ...]]], chosen: int) -> Grouping:
    """Kept together by one level of the names; larger groups than that are torn."""
    level, groups = candidates[chosen]
    notes = tuple(
        msg(
            "Names show {n} {name} groups, too few to split by: {level}s were used, so "
            "one {name} can lie on both sides.",
            n=len(set(g)),
            name=Message(name),
            level=Message(level),
        )
        for name, g in candidates[:chosen]
        if name != level
    )
    sentence = msg(
        "Images of one {level} were kept together: {count}.",
        level=Message(level),
        count=_count(groups),
    )
    return Grouping(groups, sentence, notes)


def _count(groups: Sequence[str]) -> str:
    sizes = Counter(groups)
    least, most = min(sizes.values()), max(sizes.values())
    if least == most > 1:
        return msg("{n} groups of {most} images", n=len(sizes), most=most)
    return msg("{n} groups of {least} to {most} images", n=len(sizes), least=least, most=most)
