"""Which images belong together: plate, well, donor ... read from file and folder names."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import re2

from msip_core.data.names import read_names
from msip_core.data.wells import place_wells, wells_taken
from msip_core.errors import ConfigError

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


def _word(*words: str) -> re.Pattern[str]:
    """`donor3`, `donor-3`, `Donor_A`, `donorA`, as a token of its own; never `donors`."""
    joined = "|".join(words)
    return re.compile(
        rf"(?<![A-Za-z0-9])(?:(?i:{joined})(?:[-_ ]?([A-Za-z]?\d+)|[-_ ]([A-Za-z]))"
        rf"|(?:[A-Z]?(?:{'|'.join(w[1:] for w in words)})|{joined})([A-Z]))(?![A-Za-z0-9])"
    )


_DONOR = _word("donor", "patient", "subject", "mouse", "animal", "line")
_SERIES = _word("subset", "batch", "experiment", "exp", "series")


def _found(pattern: re.Pattern[str], label: str) -> Callable[[str], str | None]:
    def find(text: str) -> str | None:
        match = pattern.search(text)
        return f"{label} {next(filter(None, match.groups())).upper()}" if match else None

    return find


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
        return Grouping(groups, "Grouping was turned off: every image was split on its own.")
    if pattern is not None:
        return _by_pattern(sources, pattern)
    return _by_names(sources)


def _by_pattern(sources: Sequence[str], pattern: str) -> Grouping:
    compiled = _compile(pattern)
    if compiled.groups < 1:
        raise ConfigError(
            f"The group pattern '{pattern}' needs one pair of brackets around the part that names "
            "the group, such as (donor[0-9]+)."
        )
    matches = [compiled.search(source) for source in sources]
    groups = tuple(
        m.group(1) if m and m.group(1) else original(s) for m, s in zip(matches, sources)
    )
    lone = sum(not (m and m.group(1)) for m in matches)
    sentence = f"Images were grouped by the pattern '{pattern}': {_count(groups)}."
    note = f"The group pattern matches {len(sources) - lone} of {len(sources)} names; "
    notes = (note + "the others are groups of their own.",) if lone else ()
    return Grouping(groups, sentence, notes)


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
            what = f"is not a regular expression ({text})"
        else:
            what = (
                f"uses what group patterns do not have ({text}): write it without looking ahead or "
                "behind ('(?=', '(?!', '(?<') and without '\\1'"
            )
        raise ConfigError(f"The group pattern '{pattern[:100]}' {what}.") from error


def _by_names(sources: Sequence[str]) -> Grouping:
    """Coarse to fine: donor, subset, plate, well. A group of a finer level carries its coarser
    names along, so that well A01 of two plates is two groups."""
    names = read_names(sources)
    originals = tuple(name.field for name in names)
    wells = place_wells(names, sure=True)
    levels = (
        ("donor", [_found(_DONOR, "donor")(source) for source in sources]),
        ("series", [_found(_SERIES, "subset")(source) for source in sources]),
        ("plate", [f"plate {name.plate}" if name.plate else None for name in names]),
        ("well", [well.label if well else None for well in wells]),
    )
    keys: list[list[str]] = [[] for _ in sources]
    candidates: list[tuple[str, tuple[str, ...]]] = []
    for level, found in levels:
        if sum(name is not None for name in found) < COVERAGE * len(sources) or not sources:
            continue
        for key, name in zip(keys, found):
            key.append(name or "")
        if level == "well":  # it says its plate itself
            keys = [[part for part in key if not part.startswith("plate ") or part == key[-1]]
                    for key in keys]  # fmt: skip
        groups = tuple(
            " ".join(filter(None, key)) if name else other
            for key, name, other in zip(keys, found, originals)
        )
        if len(set(groups)) > 1:
            candidates.append((level, groups))
    grouping = _choose(candidates, originals)
    said = wells_taken(names)
    used = grouping.sentence.startswith("Images of one well")
    return replace(grouping, notes=(*grouping.notes, said)) if said and used else grouping


def _choose(candidates: list[tuple[str, tuple[str, ...]]], originals: tuple[str, ...]) -> Grouping:
    enough = [c for c in candidates if len(set(c[1])) >= ENOUGH]
    few = [c for c in candidates if 3 <= len(set(c[1])) < ENOUGH]
    if enough or few:
        level, groups = enough[0] if enough else few[-1]
        notes = tuple(
            f"Names show {len(set(g))} {name} groups, too few to split by: {level}s were used, so "
            f"one {name} can lie on both sides."
            for name, g in candidates
            if name != level and candidates.index((name, g)) < candidates.index((level, groups))
        )
        return Grouping(
            groups, f"Images of one {level} were kept together: {_count(groups)}.", notes
        )
    copies = len(originals) - len(set(originals))
    if copies:
        return Grouping(
            originals,
            "Planes, time points and augmented copies of one field were kept together: "
            f"{_count(originals)}.",
        )
    return Grouping(
        originals,
        "File names show no plate, well or donor: every image was split on its own. If images "
        "overlap or share a well, give a group pattern.",
    )


def _count(groups: Sequence[str]) -> str:
    sizes = Counter(groups)
    return f"{len(sizes)} groups of {min(sizes.values())} to {max(sizes.values())} images"
