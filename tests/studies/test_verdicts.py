"""What a table says follows from the intervals, and from nothing else."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from msip_core.studies.engine import Standing
from msip_core.studies.outputs import all_numbers, markdown, printed_rows
from msip_core.studies.pareto import pareto_of
from msip_core.studies.published import PUBLISHED
from msip_core.studies.statistics import Interval
from msip_core.studies.table import Line, StudyTable
from msip_core.studies.verdicts import verdicts
from msip_core.views.paper_studies import pareto_paper, widths_info, widths_paper
from msip_core.views.pareto import Point, pareto_figure, pareto_info, spread
from tests.studies.conftest import make_plan


def line(key: str, label: str, value: float | None = 0.8, **more) -> Line:
    found = Interval(value, value - 0.02, value + 0.02) if value is not None else None
    done = 0 if value is None else 3
    facts = (
        {"macs": 1e9, "macs_ratio": 0.5, "params": 1e6, "size_mb": 2.0, "ms": 4.0, "speedup": 2.0}
        if done
        else {}
    )
    facts["reason"] = "" if done else "failed: no disk"
    return Line(
        key, label, "", done, 3, map50=found,
        map50_95=found, spread=(0.7, 0.9) if done else None, **{**facts, **more},
    )  # fmt: skip


def table(*lines: Line, **plan) -> StudyTable:
    made = make_plan(**{"seeds": [0, 1, 2], "published": "table-3-1", **plan})
    baseline = line("baseline", "unpruned baseline", 0.85, macs_ratio=1.0, speedup=1.0)
    whole = (baseline, line("msip", "MSIP", change=Interval(-0.05, -0.06, -0.04),
                            published=PUBLISHED["table-3-1"]["msip"]), *lines)  # fmt: skip
    return StudyTable(made, whole, Standing((), 1.0, None, False), "msip", 200, 0.003)


def said(*lines: Line, **plan) -> str:
    return "\n".join(verdicts(table(*lines, **plan)))


def test_an_honest_row_that_wins_is_named_first() -> None:
    gap = Interval(-0.03, -0.05, -0.01)
    words = said(
        line("more-epochs", "more epochs", against_main=Interval(0.01, 0.005, 0.02)),
        line("smaller-model", "next smaller model", against_main=gap),
    )
    assert "“next smaller model” beats MSIP: mAP50 of MSIP is -0.030 (-0.050 to -0.010)" in words
    assert words.index("beats MSIP") < words.index("MSIP keeps more mAP50 than the row “more ep")


def test_rows_that_keep_other_work_are_not_said_to_be_compared_at_equal_work() -> None:
    ahead = Interval(0.1, 0.05, 0.15)
    words = said(
        line("l2", "L2 norm", against_main=ahead, against_main_95=ahead, macs_ratio=0.62),
        line("lamp", "LAMP", against_main=ahead, macs_ratio=0.5049),
        line("smaller-model", "next smaller model", against_main=ahead, macs_ratio=0.45),
    )
    work = "L2 norm (with 62.0 % of the multiply-adds, not 50.0 %) +0.100".replace(" %", "%")
    assert words.count(work) == 2
    assert "LAMP +0.100" in words
    assert "“next smaller model (with 45.0% of the multiply-adds, not 50.0%)”" in words


def test_a_difference_whose_interval_holds_zero_is_not_called_better() -> None:
    words = said(line("random", "random channels", against_main=Interval(0.02, -0.01, 0.05)))
    assert "Between MSIP and “random channels” there is no clear difference" in words
    assert "ahead" not in words


def test_with_fewer_than_three_seeds_no_row_is_better() -> None:
    gap = Interval(0.1, 0.05, 0.15, p=0.001, seeds=2)
    rows = [
        line("l2", "L2 norm", against_main=gap, against_main_95=gap),
        line("random", "random channels", against_main=gap),
    ]
    words = said(*rows, seeds=[0, 1])
    assert "3 seeds are needed for a verdict, this study has 2: which model is better" in words
    late = said(*rows)
    assert "needed for a verdict, the row “L2 norm” has 2 in common with MSIP." in late
    for text in (words, late):
        assert not any(word in text for word in ("ahead", "keeps more", "not clearly", "behind"))
    numbers = all_numbers(table(*rows))[2]
    assert (numbers["main_minus_this"], numbers["main_minus_this_clear"]) == (0.1, None)


def test_a_difference_that_the_correction_takes_away_is_not_called_better() -> None:
    alone = Interval(0.02, 0.001, 0.04, p=0.04, seeds=3)
    corrected = Interval(0.02, 0.001, 0.04, p=0.04, seeds=3, adjusted=0.12)
    assert "MSIP is ahead of: L2 norm" in said(line("l2", "L2 norm", against_main=alone))
    assert "MSIP is not clearly different from: L2 norm" in said(
        line("l2", "L2 norm", against_main=corrected)
    )


def test_test_images_of_few_groups_are_said() -> None:
    made = replace(table(), test_groups=2)
    assert "come from only 2 group(s)" in "\n".join(verdicts(made))
    assert "their 2 groups and images" in markdown(made)
    assert "group(s)" not in "\n".join(verdicts(replace(made, test_groups=12)))


def test_speed_ups_are_printed_with_their_interval() -> None:
    fast = line("l2", "L2 norm", speedup_interval=Interval(2.0, 1.8, 2.2, seeds=3))
    rows = {row["model"]: row for row in printed_rows(table(fast))}
    assert rows["L2 norm"]["speed-up"] == "2.00 [1.80, 2.20]"
    assert rows["MSIP"]["speed-up"] == "2.00"
    assert all_numbers(table(fast))[2]["speedup_low"] == 1.8


def test_other_criteria_are_sorted_into_ahead_behind_and_not_clear() -> None:
    words = said(
        line("l2", "L2 norm", against_main=Interval(0.1, 0.05, 0.15)),
        line("lamp", "LAMP", against_main=Interval(-0.1, -0.15, -0.05)),
        line("fpgm", "FPGM", against_main=Interval(0.01, -0.05, 0.06)),
    )
    assert "MSIP is ahead of: L2 norm" in words
    assert "MSIP is behind: LAMP" in words
    assert "MSIP is not clearly different from: FPGM" in words


def test_boxes_that_must_fit_closely_are_compared_with_every_row() -> None:
    words = said(
        line("l2", "L2 norm", against_main_95=Interval(0.1, 0.05, 0.15)),
        line("smaller-image", "smaller images", against_main_95=Interval(0.02, 0.01, 0.03)),
        line("more-epochs", "more epochs", against_main_95=Interval(-0.02, -0.03, -0.01)),
    )
    assert (
        "Measured by mAP50-95, MSIP is ahead of: L2 norm +0.100 (+0.050 to +0.150), "
        "smaller images +0.020 (+0.010 to +0.030)." in words
    )
    assert "Measured by mAP50-95, MSIP is behind: more epochs -0.020 (-0.030 to -0.010)." in words


def test_the_published_change_is_reproduced_only_inside_our_interval() -> None:
    assert "reports +0.03 mAP50" in said()
    assert "-0.050 (-0.060 to -0.040): not reproduced." in said()
    near = line(
        "l2",
        "L2 norm",
        change=Interval(-0.03, -0.05, -0.01),
        published=PUBLISHED["table-3-1"]["l2"],
    )
    assert (
        "L2 norm: the paper (Table 3-1) reports -0.03 mAP50 against its unpruned model, here "
        "it is -0.030 (-0.050 to -0.010): reproduced." in said(near)
    )
    far = line(
        "l2", "L2 norm", change=Interval(-0.2, -0.3, -0.1), published=PUBLISHED["table-3-1"]["l2"]
    )
    assert "(-0.300 to -0.100): same direction." in said(far)


def test_a_wide_interval_that_holds_the_papers_change_and_none_at_all_reproduces_nothing() -> None:
    printed = PUBLISHED["table-3-1"]["l2"]  # -.03
    wide = line("l2", "L2 norm", change=Interval(-0.01, -0.06, 0.04), published=printed)
    assert "(-0.060 to +0.040): neither shown nor ruled out." in said(wide)
    one_well = Interval(-0.03, -0.05, -0.01, groups=1)
    assert "neither shown nor ruled out." in said(line("l2", "L2", change=one_well,
                                                       published=printed))  # fmt: skip
    # The difference of .80 and .83 is -.03, not a hair below it.
    edge = line("l2", "L2 norm", change=Interval(-0.02, -0.03, -0.01), published=printed)
    assert "(-0.030 to -0.010): reproduced." in said(edge)


def test_missing_rows_and_small_sizes_are_said() -> None:
    words = said(line("l2", "L2 norm", None), seeds=[0])
    assert "The row “L2 norm” is not complete: failed: no disk." in words
    later = line("l1", "L1 norm", None, reason="queued")
    assert "1 of 3 rows are still to come." in said(later)
    assert "3 seeds are needed for a verdict, this study has 1" in words
    smoke = said(size="smoke", seeds=[0])
    assert "mean nothing" in smoke
    assert "reproduced" not in smoke


def test_two_programs_that_disagree_are_said() -> None:
    assert "differs from these mAP50 by 0.003 at most." in said()


def test_the_printed_table_keeps_failures_and_published_numbers() -> None:
    made = table(line("l2", "L2 norm", None))
    rows = {row["model"]: row for row in printed_rows(made)}
    assert rows["L2 norm"]["mAP50 [95 %]"] == "failed: no disk"
    assert rows["MSIP"]["mAP50 [95 %]"] == "0.800 [0.780, 0.820]"
    assert rows["MSIP"]["paper: mAP50"] == "0.86"
    assert rows["MSIP"]["difference"] == "-0.060"
    assert len({tuple(row) for row in printed_rows(made)}) == 1  # the same columns in each
    assert all_numbers(made)[1]["paper_gmacs"] == 4.78
    assert "200 test images" in markdown(made)


def test_the_front_holds_what_no_other_beats_in_both() -> None:
    points = [
        Point(str(n), "method", cost, y, y, y)
        for n, (cost, y) in enumerate([(1, 0.5), (2, 0.7), (2, 0.6), (3, 0.65), (4, 0.9)])
    ]
    assert pareto_info(points, "GMACs").front == (0, 1, 4)


def test_measured_time_is_the_baselines_over_the_speed_up() -> None:
    info = pareto_of(table(line("l2", "L2 norm", ms=99.0, speedup=4.0)), "ms")
    assert [point.cost for point in info.points] == [4.0, 2.0, 1.0]
    assert [point.kind for point in info.points] == ["baseline", "main", "method"]


def test_names_in_the_chart_do_not_lie_on_each_other() -> None:
    assert spread([5.0, 1.0], [1.0, 1.0], (0, 10)) == [5.0, 1.0]  # far apart: as wanted
    assert spread([5.0, 5.2], [1.0, 2.0], (0, 10)) == [5.0, 6.5]  # the upper one moves up
    assert spread([9.5, 9.5], [2.0, 2.0], (0, 10)) == [7.0, 9.0]  # pushed down from the edge


def test_charts_are_drawn_for_full_and_empty_tables() -> None:
    info = pareto_of(table(line("int8", "int8")), "macs")
    figure = pareto_figure(info)
    assert len(figure.data) == 1 + len(info.points)
    legend = [trace.name for trace in figure.data if trace.showlegend]
    assert legend == ["best at its cost", "unpruned", "MSIP", "simple rivals"]
    assert pareto_paper(info).axes
    empty = pareto_info([], "GMACs")
    assert "No row" in pareto_figure(empty).layout.annotations[0].text


def test_layers_that_a_model_has_not_are_left_empty() -> None:
    from msip_core.events import LayerChannels

    one = [LayerChannels(name="a", before=8, after=4, original=16)]
    two = [*one, LayerChannels(name="b", before=8, after=8, original=8)]
    info = widths_info({"one": one, "two": two})
    assert info.kept[0, 0] == 0.25
    assert np.isnan(info.kept[0, 1])
    assert info.kept[1, 1] == 1
    assert widths_paper(info).axes


def test_nothing_is_compared_with_a_baseline_that_has_not_learned() -> None:
    usual = table(line("l2", "L2 norm", against_main=Interval(0.1, 0.08, 0.12)))
    poor = line("baseline", "unpruned baseline", 0.105)
    text = "\n".join(verdicts(replace(usual, lines=(poor, *usual.lines[1:]))))

    assert "has not learned its task yet: its mAP50 is 0.105, below 0.30" in text
    assert "ahead of" not in text
    assert "not reproduced" not in text
