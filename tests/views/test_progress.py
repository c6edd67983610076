"""Numbers of the curves, and that the figures draw just those."""

from __future__ import annotations

import pytest

from msip_core.events import EpochRecord
from msip_core.views import progress, style
from tests.views import samples


def test_map_info_lists_both_values_and_the_level_below_which_the_run_stops():
    info = progress.map_info(samples.baseline_record(), samples.iteration_records(2), 0.03)

    assert info.iterations == (1, 2)
    assert info.after == pytest.approx((0.904 - 0.005, 0.904 - 0.02))
    assert info.before == pytest.approx((0.899 - 0.035, 0.884 - 0.06))
    assert info.baseline == 0.904
    assert info.guard == pytest.approx(0.874)


def test_map_info_of_a_run_that_has_just_begun_is_empty_and_can_be_drawn():
    info = progress.map_info(None, [])

    assert info == progress.MapInfo((), (), (), (), (), None, None, None)
    figure = progress.map_figure(info)
    assert [len(trace.x) for trace in figure.data] == [0, 0, 0]
    assert figure.layout.annotations[0].text == "Appears once the baseline has been measured"


def test_the_chosen_step_has_a_band_in_every_chart_over_the_steps():
    records = samples.iteration_records(4)
    figures = [
        progress.map_figure(progress.map_info(None, records), chosen=3),
        progress.macs_figure(progress.macs_info(None, records), chosen=3),
        progress.weights_figure(progress.weights_info(records), chosen=3),
    ]

    for figure in figures:
        band = figure.layout.shapes[0]
        assert (band.x0, band.x1, band.yref) == (2.8, 3.2, "paper")
    assert not progress.map_figure(progress.map_info(None, records)).layout.shapes


def test_the_baseline_is_a_point_that_can_be_clicked():
    figure = progress.map_figure(progress.map_info(samples.baseline_record(), []))

    point = next(trace for trace in figure.data if trace.name == "baseline")
    assert (point.x, point.y) == ((0,), (0.904,))


def test_map_figure_draws_the_infos_numbers_and_keeps_its_zoom():
    info = progress.map_info(samples.baseline_record(), samples.iteration_records(3), 0.03)
    figure = progress.map_figure(info, revision="run-1")

    traces = {trace.name: trace for trace in figure.data}
    assert tuple(traces["before fine-tuning"].y) == info.before
    assert tuple(traces["after fine-tuning"].y) == info.after
    assert traces["before fine-tuning"].line.dash != traces["after fine-tuning"].line.dash
    assert [a.text for a in figure.layout.annotations] == ["baseline 0.904", "stop below 0.874"]
    assert figure.layout.uirevision == "run-1"


def test_macs_begin_at_the_baseline_and_the_target_is_its_share():
    info = progress.macs_info(samples.baseline_record(), samples.iteration_records(5), 0.335)

    assert info.iterations == (0, 1, 2, 3, 4, 5)
    assert info.gmacs[0] == pytest.approx(4.06)
    assert info.gmacs[-1] == pytest.approx(4.06 * 0.333)
    assert info.target == pytest.approx(4.06 * 0.335)
    assert tuple(progress.macs_figure(info).data[0].y) == info.gmacs


def test_epochs_of_all_phases_stand_in_one_line_with_their_starts():
    pretrain = EpochRecord(
        iteration=0, phase="pretrain", epoch=1, epochs=1, losses={"box": 2.0}, seconds=1.0
    )
    info = progress.epochs_info([pretrain, *samples.epoch_records(iterations=2, each=3)])

    assert info.position == tuple(range(1, 8))
    assert info.starts == ((1, "pre-training"), (2, "iteration 1"), (5, "iteration 2"))
    assert info.losses["cls"][0] is None  # pre-training reported no class loss
    assert info.losses["box"][0] == 2.0
    assert info.map50[0] is None


def test_epochs_without_a_measured_map_leave_a_gap_instead_of_a_zero():
    records = samples.epoch_records(iterations=1, each=3)
    records[1] = records[1].model_copy(update={"map50": None})

    drawn = progress.epochs_figure(progress.epochs_info(records)).data[0]

    assert tuple(drawn.x) == (1, 3)


def test_the_curves_of_one_epoch_are_points_with_room_around_them():
    figure = progress.epochs_figure(progress.epochs_info(samples.epoch_records(1, 1)))

    assert {trace.mode for trace in figure.data} == {"lines+markers"}
    assert all(len(trace.x) == 1 for trace in figure.data)
    assert list(figure.layout.xaxis.autorangeoptions.include) == [0.5, 1.5]
    assert figure.layout.xaxis2.dtick == 1  # no tick at 0.9 or 1.1
    limits = figure.layout.yaxis.autorangeoptions
    low, high = limits.include
    assert low < figure.data[0].y[0] < high
    # Exactly these: around a lone accuracy of 0 Plotly would draw -1 to 1.
    assert (limits.minallowed, limits.maxallowed) == (low, high)
    assert figure.layout.xaxis2.automargin  # else "Epoch" is written upon the number 1
    assert figure.layout.yaxis2.rangemode == "tozero"  # else a lone loss of 2 lies on -1 to 5


def test_the_charts_of_one_step_show_it_with_room_on_both_sides():
    baseline, records = samples.baseline_record(), samples.iteration_records(1)
    info = progress.weights_info(records)
    for figure, places in (
        (progress.weights_figure(info), [0.5, 1.5]),
        (progress.map_figure(progress.map_info(baseline, records)), [-0.5, 1.5]),
        (progress.macs_figure(progress.macs_info(baseline, records)), [-0.5, 1.5]),
    ):
        assert list(figure.layout.xaxis.autorangeoptions.include) == places
        assert figure.layout.xaxis.dtick == 1
    assert progress.weights_figure(info).layout.yaxis2.rangemode == "tozero"


def test_weights_sum_to_one_in_each_iteration_and_alpha_has_its_own_panel():
    info = progress.weights_info(samples.iteration_records(4))
    figure = progress.weights_figure(info)

    assert [sum(step) for step in zip(*info.weights.values())] == pytest.approx([1.0] * 4)
    assert info.alpha == pytest.approx((0.56, 0.62, 0.68, 0.74))
    assert figure.data[-1].name == "alpha"
    assert figure.data[-1].yaxis == "y2"


def test_a_method_without_weights_has_an_empty_weights_info():
    plain = [r.model_copy(update={"weights": None}) for r in samples.iteration_records(2)]

    info = progress.weights_info(plain)

    assert info.iterations == ()
    assert len(progress.weights_figure(info).data) == 4


def _figures() -> dict[str, object]:
    baseline, records = samples.baseline_record(), samples.iteration_records()
    return {
        "map": progress.map_figure(progress.map_info(baseline, records)),
        "macs": progress.macs_figure(progress.macs_info(baseline, records, 0.335)),
        "epochs": progress.epochs_figure(progress.epochs_info(samples.epoch_records())),
        "weights": progress.weights_figure(progress.weights_info(records)),
    }


@pytest.mark.parametrize("name", ["map", "macs", "epochs", "weights"])
def test_figures_leave_ground_and_font_colour_to_the_theme(name):
    layout = _figures()[name].layout  # type: ignore[attr-defined]

    assert layout.paper_bgcolor == layout.plot_bgcolor == style.CLEAR
    assert layout.font.color is None
    assert layout.uirevision == name


def test_of_a_hundred_thousand_epochs_some_are_drawn_and_this_is_said():
    record = samples.epoch_records(1, 1)[0]
    info = progress.epochs_info([record] * 100_000)
    assert (len(info.position), info.every) == (2001, 50)
    assert (info.position[:2], info.position[-1]) == ((1, 51), 100_000)
    assert {len(values) for values in (info.map50, *info.losses.values())} == {2001}
    title = progress.epochs_figure(info).layout.xaxis2.title.text
    assert title == "Epoch (one of 50 is drawn)"
