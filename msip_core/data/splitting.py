"""Train, validation and test parts: grouped, stratified by class, seeded, explained.

8:2 train/test, then a tenth of train for validation. Images of one group (well, plate, donor)
stay on one side, or the score would tell how well the detector knows a well it has seen.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from msip_core.config import SplitConfig
from msip_core.data.grouping import Grouping, find_groups, original
from msip_core.data.manifest import SPLITS, ImageRecord, SplitName
from msip_core.messages import msg

# See `stratify`.
SHORT = 2.0


@dataclass(frozen=True, slots=True)
class SplitItem:
    """What the split needs to know of one image.

    Attributes:
        source: path inside the folder or zip; plate, well and donor are read from it.
        counts: boxes per class.
        existing: the part it lies in already, if the source has parts.
    """

    source: str
    counts: dict[str, int]
    existing: SplitName | None = None


@dataclass(frozen=True, slots=True)
class SplitPlan:
    """The part and group of each image, and the sentences that explain them."""

    splits: tuple[SplitName | None, ...]
    groups: tuple[str, ...]
    grouping: str
    notes: tuple[str, ...]


def plan_split(items: Sequence[SplitItem], config: SplitConfig) -> SplitPlan:
    """Decide the part of every image.

    Args:
        items: the images, in a fixed order (the result depends on it and on `config.seed` only).

    Returns:
        One part and one group per image. Whole groups are moved together whenever there are at
        least three; below that, images are, and a note says that scores will look too good.
    """
    grouping = find_groups([item.source for item in items], config.group_pattern)
    if config.keep_existing and any(item.existing for item in items):
        return _keep_existing(items, grouping, config)
    notes = list(grouping.notes)
    if config.keep_existing:
        notes.append(msg("The source has no train, val and test parts to keep: it was split anew."))
    elif any(item.existing for item in items):
        notes.append(
            msg("The source's own train, val and test parts were not kept: it was split anew.")
        )
    features = _features(items)
    units = _units(items, grouping, notes)
    splits = _assign(features, units, config)
    notes += _deviations(splits, config)
    return SplitPlan(splits, grouping.groups, grouping.sentence, tuple(notes))


def without_parts(items: Sequence[SplitItem], config: SplitConfig) -> SplitPlan:
    """New images, which nothing is learned from: grouped by well, in no part."""
    grouping = find_groups([item.source for item in items], config.group_pattern)
    return SplitPlan(
        (None,) * len(items), grouping.groups, grouping.sentence, tuple(grouping.notes)
    )


def in_parts(images: Sequence[ImageRecord], boxes: Mapping[str, int]) -> tuple[ImageRecord, ...]:
    """New images get a part with their first labels, whole groups together as at an import; images
    that are in a part stay there.

    Nobody labels a whole plate before the first training: the first group with boxes is learned
    from, the second checks progress, and each after them goes where most of a share is missing.

    Args:
        boxes: number of boxes of each image that is labelled, by its id.
    """
    if all(image.split or image.id not in boxes for image in images):
        return tuple(images)
    items = [SplitItem(image.source, {}) for image in images]
    groups = Grouping(tuple(image.group for image in images), "", ())
    units = _units(items, groups, [])
    parts: dict[int, SplitName] = {
        int(unit): image.split for unit, image in zip(units, images, strict=True) if image.split
    }
    members: dict[int, list[str]] = {}
    for unit, image in zip(units, images, strict=True):
        if image.id in boxes:
            members.setdefault(int(unit), []).append(image.id)
    for unit in sorted(members.keys() - parts.keys()):
        parts[unit] = _missing_most(parts, members, boxes, unit)
    return tuple(
        image
        if image.split or image.id not in boxes
        else image.model_copy(update={"split": parts[int(unit)]})
        for unit, image in zip(units, images, strict=True)
    )


def _missing_most(
    parts: Mapping[int, SplitName],
    members: Mapping[int, Sequence[str]],
    boxes: Mapping[str, int],
    unit: int,
) -> SplitName:
    """The part that a unit of newly labelled images belongs to."""
    labelled, objects = Counter[SplitName](), Counter[SplitName]()
    for other, part in parts.items():
        labelled[part] += len(members.get(other, ()))
        objects[part] += sum(boxes[image] for image in members.get(other, ()))
    if any(boxes[image] for image in members[unit]):
        for part in ("train", "val"):
            if not objects[part]:
                return part
    total = labelled.total() + len(members[unit])
    shares = _shares(SplitConfig())
    return max(SPLITS, key=lambda part: shares[SPLITS.index(part)] * total - labelled[part])


def _units(items: Sequence[SplitItem], grouping: Grouping, notes: list[str]) -> NDArray[np.int64]:
    """Index of the unit that each image moves with: its group, or (too few groups) its field."""
    units = _numbered(grouping.groups)
    groups = len(set(grouping.groups))
    if len(items) >= 3 and groups < 3:
        notes.append(
            msg(
                "There are only {groups} groups, too few for three parts: images were split one by "
                "one, so one group lies on several sides and scores will look better than on new "
                "plates.",
                groups=groups,
            )
        )
        units = _numbered([original(item.source) for item in items])
        if units.max() + 1 < 3:
            return np.arange(len(items), dtype=np.int64)
    return units


def _numbered(groups: Sequence[str]) -> NDArray[np.int64]:
    """Number the groups in alphabetical order."""
    numbers = {group: i for i, group in enumerate(sorted(set(groups)))}
    return np.array([numbers[group] for group in groups], dtype=np.int64)


def _features(items: Sequence[SplitItem]) -> NDArray[np.float64]:
    """(images, 1 + classes): one for the image, then its boxes per class."""
    classes = sorted({name for item in items for name in item.counts})
    rows = [[1.0, *(float(item.counts.get(name, 0)) for name in classes)] for item in items]
    return np.array(rows, dtype=np.float64).reshape(len(items), 1 + len(classes))


def _assign(
    features: NDArray[np.float64], units: NDArray[np.int64], config: SplitConfig
) -> tuple[SplitName, ...]:
    """Give whole units to parts so that each part gets its share of images and of every class."""
    if len(features) == 0:
        return ()
    return tuple(
        SPLITS[int(part)] for part in _shared_out(features, units, _shares(config), config)
    )


def _shared_out(
    features: NDArray[np.float64],
    units: NDArray[np.int64],
    shares: NDArray[np.float64],
    config: SplitConfig,
) -> NDArray[np.int64]:
    """Index of each image's part."""
    totals = np.zeros((int(units.max()) + 1, features.shape[1]))
    np.add.at(totals, units, features)
    return stratify(totals, shares, config.seed)[units]


def _shares(config: SplitConfig) -> NDArray[np.float64]:
    """Of train, val and test."""
    test = config.test_fraction
    val = (1 - test) * config.val_fraction
    return np.array([1 - test - val, val, test])


def stratify(
    totals: NDArray[np.float64], shares: NDArray[np.float64], seed: int
) -> NDArray[np.int64]:
    """Distribute units over parts so that every column is shared out as asked.

    Greedy by descending size, then pairwise improvement: minimise
    E = sum over parts p and columns c of w_c (a_pc / T_c - s_p)^2 / s_p, the chi-square distance
    between achieved and asked shares, where a column weighs w_c = 1 (images weigh as much as
    all classes together). A part that falls below half of its share pays SHORT times its missing
    half besides: with few large groups, too much validation is better than one image of it.
    No part is left without a unit while there are enough.

    Args:
        totals: (units, columns), non-negative.
        shares: asked share of each part; they sum to 1.

    Returns:
        (units,) index of each unit's part.
    """
    sums = totals.sum(axis=0)
    used = totals[:, sums > 0] / sums[sums > 0]
    weights = np.ones(used.shape[1])
    weights[0] = max(1, used.shape[1] - 1)
    order = np.random.default_rng(seed).permutation(len(totals))
    size = (used * weights).sum(axis=1)
    order = order[np.argsort(-size[order], kind="stable")]
    part = _greedy(used, weights, shares, order)
    _fill_empty(part, size, len(shares))
    _improve(part, used, weights, shares, order)
    return part


def _greedy(
    used: NDArray[np.float64],
    weights: NDArray[np.float64],
    shares: NDArray[np.float64],
    order: NDArray[np.int64],
) -> NDArray[np.int64]:
    part = np.zeros(len(used), dtype=np.int64)
    filled = np.zeros((len(shares), used.shape[1]))
    for unit in order:
        # Cost of giving the unit to p: the change of E is linear in what p still lacks.
        lack = (shares[:, None] - filled) / shares[:, None]
        gain = (weights * used[unit] * (2 * lack - used[unit] / shares[:, None])).sum(axis=1)
        best = int(np.argmax(gain))
        part[unit] = best
        filled[best] += used[unit]
    return part


def _fill_empty(part: NDArray[np.int64], size: NDArray[np.float64], parts: int) -> None:
    """Move the smallest unit of the part with most units into each empty part."""
    for empty in range(parts):
        counts = np.bincount(part, minlength=parts)
        donor = int(np.argmax(counts))
        if counts[empty] == 0 and counts[donor] > 1:
            members = np.flatnonzero(part == donor)
            part[members[np.argmin(size[members])]] = empty


def _improve(
    part: NDArray[np.int64],
    used: NDArray[np.float64],
    weights: NDArray[np.float64],
    shares: NDArray[np.float64],
    order: NDArray[np.int64],
) -> None:
    """Move single units, and swap pairs while there are few, as long as E falls."""
    filled = np.stack([used[part == p].sum(axis=0) for p in range(len(shares))])
    asked = shares[:, None]

    def cost(value: NDArray[np.float64]) -> float:
        chi = (value - asked) ** 2 / asked
        short = np.clip(0.5 - value / asked, 0, None)
        return float((weights * (chi + SHORT * short)).sum())

    def try_move(moves: tuple[tuple[int, int], ...], now: float) -> float:
        trial = filled.copy()
        for unit, target in moves:
            trial[part[unit]] -= used[unit]
            trial[target] += used[unit]
        after = cost(trial)
        counts = np.bincount(part, minlength=len(shares))
        for unit, target in moves:
            counts[part[unit]] -= 1
            counts[target] += 1
        if after < now - 1e-12 and counts.min() > 0:
            filled[:] = trial
            for unit, target in moves:
                part[unit] = target
            return after
        return now

    now = cost(filled)
    few = len(used) <= 60
    for _ in range(10 if few else 1):
        before = now
        for unit in order[:2000]:
            for target in range(len(shares)):
                if target != part[unit]:
                    now = try_move(((int(unit), target),), now)
        if few:
            for i in range(len(used)):
                for j in range(i):
                    if part[i] != part[j]:
                        now = try_move(((i, int(part[j])), (j, int(part[i]))), now)
        if now > before - 1e-12:
            break


def _deviations(splits: tuple[SplitName, ...], config: SplitConfig) -> list[str]:
    """Say where whole groups kept a part from its asked share (by a third or more)."""
    n = len(splits)
    if n == 0:
        return []
    counts: Counter[str] = Counter(splits)
    val = (1 - config.test_fraction) * config.val_fraction
    notes = []
    for name, asked in (("val", val), ("test", config.test_fraction)):
        share = counts[name] / n
        if abs(share - asked) > max(asked / 3, 1 / n):
            notes.append(
                msg(
                    "The {name} part holds {share:.0%} of the images (asked: {asked:.0%}), since "
                    "whole groups are kept together.",
                    name=name,
                    share=share,
                    asked=asked,
                )
            )
    return notes


def _keep_existing(
    items: Sequence[SplitItem], grouping: Grouping, config: SplitConfig
) -> SplitPlan:
    """Take the parts that the source has; carve out validation only if it has none."""
    notes = list(grouping.notes)
    splits: list[SplitName] = [item.existing or "train" for item in items]
    homeless = sum(item.existing is None for item in items)
    if homeless:
        notes.append(
            msg(
                "Images in no train, val or test folder, taken as train: {homeless}.",
                homeless=homeless,
            )
        )
    if "val" not in splits and splits.count("train") > 1:
        index = [i for i, split in enumerate(splits) if split == "train"]
        units = _numbered([grouping.groups[i] for i in index])
        features = _features([items[i] for i in index])
        shares = np.array([1 - config.val_fraction, config.val_fraction])
        for i, part in zip(index, _shared_out(features, units, shares, config)):
            if part == 1:
                splits[i] = "val"
        notes.append(
            msg(
                "The source has no validation part: {count} training images became it.",
                count=splits.count("val"),
            )
        )
    if "test" not in splits:
        notes.append(msg("The source has no test part: results are those of the validation part."))
    notes += _leaks(splits, grouping)
    sentence = msg(
        "The parts of the source were kept as they came, and checked against the "
        "{n} groups that file names show.",
        n=len(set(grouping.groups)),
    )
    return SplitPlan(tuple(splits), grouping.groups, sentence, tuple(notes))


def _leaks(splits: Sequence[SplitName], grouping: Grouping) -> list[str]:
    """Name groups that lie on several sides of a split that was kept as it came."""
    sides: dict[str, set[str]] = {}
    for split, group in zip(splits, grouping.groups):
        sides.setdefault(group, set()).add(split)
    leaking = sorted(group for group, parts in sides.items() if len(parts) > 1)
    if not leaking:
        return []
    shown = ", ".join(leaking[:5]) + (" ..." if len(leaking) > 5 else "")
    return [
        msg(
            "Groups on several sides of the kept split: {n} ({shown}). Scores will look "
            "better than on new plates.",
            n=len(leaking),
            shown=shown,
        )
    ]
