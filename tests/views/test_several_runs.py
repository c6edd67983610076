"""Several runs in one chart and one table."""

from __future__ import annotations

import pytest

from msip_core.views.history import RunHistory
from msip_core.views.several_runs import LOOKS, lines_figure, lines_info, run_rows
from tests.views import samples


def told(name: str, steps: int, *, finished: bool = False) -> RunHistory:
    return RunHistory(
        "run-1",
        name,
        "running",
        samples.prune_config(iterations=5),
        samples.baseline_record(),
        samples.iteration_records(5)[:steps],
        final=samples.final_record() if finished else None,
    )


def test_a_line_begins_at_the_baseline_and_follows_the_work_that_is_left():
    (line,) = lines_info([told("one", 2)])

    assert line.steps == (0, 1, 2)
    assert line.kept == pytest.approx((1.0, 1 - 0.667 / 5, 1 - 2 * 0.667 / 5))
    assert line.map50[0] == 0.904


def test_a_run_that_has_measured_nothing_has_no_line_and_its_row_has_no_numbers():
    empty = RunHistory("run-1", "new", "queued", samples.prune_config())

    assert lines_info([empty]) == ()
    assert lines_figure([]).layout.annotations[0].text.startswith("None of these runs")
    (row,) = run_rows([empty])
    assert (row["Steps done"], row["MACs kept"], row["Change"]) == ("0 / 16", "—", "—")


def test_each_line_has_its_own_dash_and_symbol():
    runs = [told(str(number), 3) for number in range(len(LOOKS))]

    figure = lines_figure(lines_info(runs))

    assert len({trace.line.dash for trace in figure.data}) == len(LOOKS)
    assert len({trace.marker.symbol for trace in figure.data}) == len(LOOKS)


def test_the_table_tells_validation_and_test_apart():
    running, done = run_rows([told("running", 2), told("done", 5, finished=True)])

    assert running["mAP50 now (validation)"] == "0.901"
    assert running["mAP50, final test"] == "—"
    assert done["mAP50, final test"] == "0.871"
    assert done["Change"] == "−0.020"
