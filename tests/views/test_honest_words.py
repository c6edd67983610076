"""Green words only where something was shown: unlearned baselines, maps off the border, names."""

from __future__ import annotations

import io

import matplotlib.pyplot as plt
import pytest

from msip_core.views import channels, evidence, paper, progress, sentences, several_runs
from msip_core.views.card_text import CardFacts, card_text, warnings
from msip_core.views.history import RunHistory, settled
from msip_core.views.screen import as_label
from tests.views import samples
from tests.views.test_card_text import _card


@pytest.mark.parametrize(("map50", "learned"), [(0.105, False), (0.299, False), (0.3, True)])
def test_a_baseline_below_the_level_has_not_learned(map50: float, learned: bool) -> None:
    said = sentences.unlearned_sentence(samples.metrics(map50, "test"))

    assert sentences.has_learned(samples.metrics(map50)) is learned
    assert (said is None) is learned
    if said:
        assert f"mAP50 is {map50:.3f} on the test images, below 0.30" in said


def test_the_card_of_a_model_that_has_not_learned_says_so_first() -> None:
    poor = _card(val=samples.metrics(0.12), test=None)

    assert any("has not learned its task" in text for text in warnings(CardFacts(poor)))
    assert "**Careful.** It has not learned its task: its mAP50 is 0.120" in card_text(
        CardFacts(poor)
    )


@pytest.mark.parametrize(("enrichment", "warned"), [(1.07, True), (1.49, True), (1.5, False)])
def test_a_map_hardly_on_the_border_is_no_finding(enrichment: float, warned: bool) -> None:
    scores = samples.border_scores(enrichment=enrichment)
    said = evidence.border_sentence(scores)

    assert (said is not None) is warned
    assert (said in evidence.notes(samples.heat_map(scores=scores))) is warned
    assert evidence.border_sentence(samples.border_scores(enrichment=None)) is None


def test_the_kept_step_has_the_number_of_its_saved_model() -> None:
    final = samples.final_record()
    final = final.model_copy(update={"metrics": samples.metrics(0.146), "iteration": 2})

    steps = settled(samples.iteration_records(3), final)

    assert steps[1].map50_after == 0.146
    assert steps[1].map50_95_after == final.metrics.map50_95
    assert steps[0] == samples.iteration_records(3)[0]
    assert settled(samples.iteration_records(3), None) == tuple(samples.iteration_records(3))


def test_names_in_plotly_figures_are_no_html() -> None:
    name = "<a href='http://elsewhere.example'>x</a> %{y} & <b>"
    run = RunHistory(
        "run-1",
        name,
        "running",
        samples.prune_config(),
        samples.baseline_record(),
        samples.iteration_records(2),
    )
    losses = [r.model_copy(update={"losses": {name: 1.0}}) for r in samples.epoch_records(1, 2)]
    layer = (
        samples.iteration_records(1)[0].layers[0].model_copy(update={"name": "model.3.<a href=x>"})
    )

    figures = [
        several_runs.lines_figure(several_runs.lines_info([run])),
        progress.epochs_figure(progress.epochs_info(losses)),
        channels.network_figure(channels.channels_info([layer])),
    ]

    for figure in figures:
        assert "<a " not in figure.to_json().replace("\\u003c", "<")
    assert as_label(name).startswith("&lt;a href='http")


def test_a_formula_as_a_name_is_drawn_as_it_was_typed() -> None:
    with paper.drawing():
        figure = paper.new_figure(85, 40)
        figure.text(0.1, 0.5, r"class $\frac{ and $x$")
        out = io.StringIO()
        figure.savefig(out, format="svg")
        plt.close(figure)

    assert r"class $\frac{ and $x$" in out.getvalue()
