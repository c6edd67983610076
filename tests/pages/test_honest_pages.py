"""What is not shown to be good is not shown in green."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from pydantic import BaseModel

from msip_core.events import FinalRecord
from msip_core.questions.base import Question
from msip_core.questions.detecting import Predictions
from msip_core.questions.looking import GradCam, RandomisedCheck
from msip_core.runs.state import RunState
from msip_core.workspace import Workspace
from tests.pages import lab_samples
from tests.pages.conftest import Open, no_crash, words
from tests.pages.fake_compute import Answers, FakeCompute
from tests.pages.lab_samples import changed
from tests.views import samples

UNLEARNED = "The baseline has not learned its task yet"


@pytest.fixture
def poor(workspace: Workspace, monkeypatch: pytest.MonkeyPatch) -> str:
    """A lab whose baseline reaches mAP50 .105 and whose pruned model .148."""
    first = samples.baseline_record().model_copy(update={"metrics": samples.metrics(0.105)})
    monkeypatch.setattr(samples, "baseline_record", lambda: first)
    usual = samples.final_record()
    final: FinalRecord = usual.model_copy(
        update={
            "metrics": samples.metrics(0.146),
            "test": samples.metrics(0.148, "test"),
            "baseline_test": samples.metrics(0.101, "test"),
        }
    )
    monkeypatch.setattr(samples, "final_record", lambda: final)
    return lab_samples.fill_anew(workspace)


@pytest.mark.parametrize("page", ["runs", "compare", "share"])
def test_a_comparison_with_an_unlearned_baseline_says_that_it_says_nothing(
    poor: str, open_page: Open, page: str
) -> None:
    test = open_page(page, run=poor)

    no_crash(test)
    assert any(UNLEARNED in item.value for item in test.warning)
    assert "0.101, below 0.30" in words(test)


def test_an_improvement_over_an_unlearned_baseline_is_not_green(poor: str, open_page: Open) -> None:
    test = open_page("runs", run=poor)

    (shown,) = [item for item in test.metric if item.delta]
    assert shown.proto.color == shown.proto.MetricColor.GRAY


def test_a_learned_baseline_is_not_warned_of_and_its_change_has_a_colour(
    full: str, open_page: Open
) -> None:
    test = open_page("runs", run=full)

    assert UNLEARNED not in words(test)
    (shown,) = [item for item in test.metric if item.delta]
    assert shown.proto.color != shown.proto.MetricColor.GRAY


def test_the_validation_of_the_kept_model_is_one_number(poor: str, open_page: Open) -> None:
    test = open_page("runs", run=poor)

    accuracies = {item.label: item.value for item in test.metric if "mAP50 val" in item.label}
    (kept,) = [value for label, value in accuracies.items() if "step" in label]
    assert kept == "0.146"  # of the saved model, as in the table of runs
    table = test.dataframe[0].value
    assert "mAP50 val" in table.columns
    assert set(table["mAP50 val"]) == {"0.146"}


@pytest.mark.parametrize(("enrichment", "ticks"), [(1.07, 0), (3.2, 2)])
def test_a_map_that_is_hardly_on_the_border_has_no_tick(
    full: str, open_page: Open, compute: FakeCompute, enrichment: float, ticks: int
) -> None:
    check = RandomisedCheck(
        correlation=0.1, low=0.0, high=0.2, draws=5, passed=True, cascade={}, verdict=""
    )
    scores = samples.border_scores(enrichment=enrichment)
    compute.answers = changed(GradCam, scores=scores, randomised=check)

    text = words(open_page("look", run=full))

    assert text.count(":material/check_circle:") == ticks
    said = text.count("times the heat of an even map on the border, below 1.5")
    assert said == 2 - ticks


def test_a_set_that_cannot_teach_is_not_called_ready(workspace: Workspace, open_page: Open) -> None:
    dataset = lab_samples.draw_dataset(workspace)

    test = open_page("data")

    text = words(test)
    assert "Too few boxes to learn from:" in text
    assert "Too few boxes for the final test:" in text
    badges = [item.value for item in test.markdown if "badge" in item.value]
    assert any(":orange-badge[" in badge and "Too few to rely on" in badge for badge in badges)
    assert not any(":green-badge[" in badge for badge in badges)
    table = next(f.value for f in test.dataframe if "Class" in f.value.columns)
    counts = dataset.objects()
    assert list(table["Class"]) == list(counts)
    assert table.iloc[0, 1] == f"{counts['crypt']['train']} (too few, at least 100)"


def test_the_forms_of_runs_name_what_is_too_few(full: str, open_page: Open) -> None:
    for page, ids in (("new", {}), ("models", {"view": "train"})):
        assert "Too few boxes to learn from:" in words(open_page(page, **ids))


def _predicted_with(**facts: str) -> Answers:
    """The usual answers, with something said of what was found."""

    def answers(workspace: Workspace, question: Question[Any], out: Path) -> BaseModel:
        usual = lab_samples.answer(workspace, question, out)
        if not isinstance(usual, Predictions):
            return usual
        images = tuple(image.model_copy(update=facts) for image in usual.images)
        return usual.model_copy(update={"images": images})

    return answers


def test_objects_of_another_size_are_warned_of_before_they_are_compared(
    full: str, open_page: Open, compute: FakeCompute
) -> None:
    sentence = "Objects here are 20 px, in training they were 60 px."

    compute.answers = _predicted_with(size_warning=sentence)

    test = open_page("compare", run=full)

    assert [item.value for item in test.warning].count(sentence) == 1


def test_how_a_large_field_was_cut_is_said_once_beside_what_was_found(
    full: str, open_page: Open, compute: FakeCompute
) -> None:
    sentence = "Cut into 12 tiles of 640 px that overlap by 128 px or more, since that was needed."

    compute.answers = _predicted_with(tiles=sentence)

    test = open_page("compare", run=full)

    assert [item.value for item in test.caption].count(sentence) == 1


def test_a_failed_run_is_no_success(workspace: Workspace, open_page: Open, poor: str) -> None:
    run = lab_samples.prune_run(workspace, RunState.FAILED, steps=1)

    assert "less work per image" not in words(open_page("runs", run=run))
