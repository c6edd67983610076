"""What a table says, in words: who is better, where that is not clear, what was not reproduced.

A model is called better only where the paired 95 % interval over seeds and test images excludes
zero and still does after Holm's correction over the rows; with fewer than three seeds in common no
verdict is given.
"""

from __future__ import annotations

from collections.abc import Sequence

from msip_core.messages import Message, mark, msg
from msip_core.studies.plan import BASELINE, HONEST
from msip_core.studies.published import PUBLISHED, SOURCES
from msip_core.studies.statistics import LEAST_SEEDS, Interval
from msip_core.studies.table import Line, StudyTable
from msip_core.views.sentences import LEARNED

_PROGRAMS_AGREE = 0.02
_EQUAL_WORK = 0.011  # of the multiply-adds: steps of channels end within 1 % of a goal
_FEW_GROUPS = 5  # of test images: what they have in common cannot be told from chance
_LOST = ("failed", "interrupted", "cancelled")


def verdicts(table: StudyTable) -> list[str]:
    """Sentences in the order in which a reader must know them."""
    if table.plan.size == "smoke":  # accuracies that mean nothing are not compared
        return _standing(table) + _programs(table)
    if unlearned := _unlearned(table):
        return [*_standing(table), unlearned, *_programs(table)]
    found = [*_standing(table), *_published(table)]
    if table.main is not None and table.line(table.main).map50 is not None:
        found += _unknown(table) + _honest(table) + _methods(table) + _tight(table)
    return found + _programs(table)


def _unlearned(table: StudyTable) -> str | None:
    """Nothing is compared with a baseline that has not learned its task."""
    first = next((line.map50 for line in table.lines if line.key == BASELINE), None)
    if first is None or first.value >= LEARNED:
        return None
    return msg(
        "The baseline has not learned its task yet: its mAP50 is {value:.3f}, below "
        "{learned:.2f}. What is better or worse than it says nothing: train the baseline longer "
        "or on more images first.",
        value=first.value,
        learned=LEARNED,
    )


def change_words(change: Interval) -> str:
    """ "+0.012 (0.003 to 0.020)"."""
    return msg(
        "{value:+.3f} ({low:+.3f} to {high:+.3f})",
        value=change.value,
        low=change.low,
        high=change.high,
    )


def _standing(table: StudyTable) -> list[str]:
    missing = [line for line in table.lines if line.seeds < line.asked]
    found = [
        _incomplete(line.label, line.reason) for line in missing if line.reason.startswith(_LOST)
    ]
    rest, every = len(missing) - len(found), len(table.lines)
    if rest and table.standing.reason:
        found.append(msg("{rest} of {every} rows were not started.", rest=rest, every=every))
    elif rest:
        found.append(msg("{rest} of {every} rows are still to come.", rest=rest, every=every))
    if table.plan.size == "smoke":
        found.append(
            msg(
                "This is a trial: it shows that every row works. The models are trained for "
                "minutes, so their accuracies and their order mean nothing."
            )
        )
        return found
    if len(table.plan.seeds) < LEAST_SEEDS:
        found.append(
            msg(
                "{least} seeds are needed for a verdict, this study has "
                "{n}: which model is better is not said.",
                least=LEAST_SEEDS,
                n=len(table.plan.seeds),
            )
        )
    if table.test_groups is not None and table.test_groups < _FEW_GROUPS:
        found.append(
            msg(
                "The test images come from only {test_groups} group(s) (well, field, series): "
                "how the models compare on other groups can hardly be told.",
                test_groups=table.test_groups,
            )
        )
    return found


def _incomplete(label: str, reason: str) -> str:
    if reason.endswith("."):
        return msg("The row “{label}” is not complete: {reason}", label=label, reason=reason)
    return msg("The row “{label}” is not complete: {reason}.", label=label, reason=reason)


def _unknown(table: StudyTable) -> list[str]:
    """Rows that have too few seeds done where the plan has enough."""
    if len(table.plan.seeds) < LEAST_SEEDS:
        return []
    return [
        msg(
            "{least} seeds are needed for a verdict, the row “{label}” has "
            "{seeds} in common with {line_label}.",
            least=LEAST_SEEDS,
            label=line.label,
            seeds=line.against_main.seeds,
            line_label=table.line(table.main or "").label,
        )
        for line in table.lines
        if line.against_main is not None and not line.against_main.is_known
    ]


def _honest(table: StudyTable) -> list[str]:
    """Where something simpler wins, the table says so first."""
    name = table.line(table.main or "").label
    found = []
    for key in HONEST:
        line = next((one for one in table.lines if one.key == key), None)
        if line is None or line.against_main is None or not line.against_main.is_known:
            continue
        found.append(_comparison(name, _at_its_work(table, line), line.against_main))
    return sorted(found, key=lambda text: " beats " not in text)


def _at_its_work(table: StudyTable, line: Line) -> str:
    """The row, with the multiply-adds that it keeps where the main row keeps others: a difference
    of mAP is then also one of size."""
    own, other = line.macs_ratio, table.line(table.main or "").macs_ratio
    if own is None or other is None or abs(own / other - 1) <= _EQUAL_WORK:
        return line.label
    return msg(
        "{label} (with {own:.1%} of the multiply-adds, not {other:.1%})",
        label=line.label,
        own=own,
        other=other,
    )


def _comparison(name: str, label: str, gap: Interval) -> str:
    facts = {"label": label, "name": name, "words": change_words(gap)}
    if gap.is_clear and gap.value < 0:
        return msg("“{label}” beats {name}: mAP50 of {name} is {words} beside it.", **facts)
    if gap.is_clear:
        return msg("{name} keeps more mAP50 than the row “{label}”: {words}.", **facts)
    return msg(
        "Between {name} and “{label}” there is no clear difference of mAP50: {words}.", **facts
    )


def _methods(table: StudyTable) -> list[str]:
    """MSIP against the other criteria of the table, in one sentence each way."""
    others = [
        (_at_its_work(table, line), line.against_main)
        for line in table.lines
        if not line.is_honest and line.key not in (BASELINE, table.main)
    ]
    return _sorted_out(table, "mAP50", others)


def _tight(table: StudyTable) -> list[str]:
    """The same for boxes that must fit closely, against every row: mAP50 forgives loose boxes."""
    return _sorted_out(
        table,
        "mAP50-95",
        [(_at_its_work(table, line), line.against_main_95) for line in table.lines],
    )


def _sorted_out(
    table: StudyTable, measure: str, rows: Sequence[tuple[str, Interval | None]]
) -> list[str]:
    name = table.line(table.main or "").label
    ahead: list[str] = []
    behind: list[str] = []
    unclear: list[str] = []
    for label, gap in rows:
        if gap is None or not gap.is_known:
            continue
        group = unclear
        if gap.is_clear:
            group = ahead if gap.value > 0 else behind
        group.append(msg("{label} {change}", label=label, change=change_words(gap)))
    said = (
        (ahead, mark("Measured by {measure}, {name} is ahead of: {rows}.")),
        (behind, mark("Measured by {measure}, {name} is behind: {rows}.")),
        (unclear, mark("Measured by {measure}, {name} is not clearly different from: {rows}.")),
    )
    facts = {"measure": measure, "name": name}
    return [Message(text, {**facts, "rows": group}) for group, text in said if group]


def _published(table: StudyTable) -> list[str]:
    """The paper's change of mAP50 beside ours, row by row."""
    printed = PUBLISHED.get(table.plan.published, {})
    if BASELINE not in printed:
        return []
    source = SOURCES[table.plan.published]
    found = []
    for line in table.lines:
        if line.published is None or line.change is None or line.key == BASELINE:
            continue
        if not line.change.is_known:
            continue
        theirs = round(line.published.map50 - printed[BASELINE].map50, 4)
        found.append(
            msg(
                "{label}: the paper ({source}) reports {theirs:+.2f} mAP50 against its unpruned "
                "model, here it is {change_words}: {word}.",
                label=line.label,
                source=source,
                theirs=theirs,
                change_words=change_words(line.change),
                word=_reproduced(line.change, theirs),
            )
        )
    return found


def _reproduced(change: Interval, theirs: float) -> str:
    """An interval that holds the paper's change says little where it also holds none at all."""
    if change.low <= theirs <= change.high:
        return msg("reproduced") if change.is_clear else msg("neither shown nor ruled out")
    if change.is_clear and (change.value > 0) == (theirs > 0):
        return msg("same direction")
    return msg("not reproduced")


def _programs(table: StudyTable) -> list[str]:
    gap = table.coco_gap
    if gap is None:
        return []
    said = mark(
        "COCO's own arithmetic (faster-coco-eval) differs from these mAP50 by {gap:.3f} at most."
    )
    if gap > _PROGRAMS_AGREE:
        said = mark(
            "COCO's own arithmetic (faster-coco-eval) differs from these mAP50 by up to "
            "{gap:.3f}: more than it should, look into it."
        )
    return [Message(said, {"gap": gap})]
