"""Sentences say what was measured, and no more."""

from __future__ import annotations

import pytest

from msip_core.events import Cost
from msip_core.views import sentences
from msip_core.ways import Latency
from tests.views import samples


def measured(name: str, median: float, low: float, high: float) -> Latency:
    return Latency(name, "pytorch", 1, median, low, high, 50, 1)


def test_the_result_names_work_accuracy_and_speed():
    latency = [measured("baseline", 61, 60, 62), measured("pruned", 33, 32, 34)]

    text = sentences.result_sentence(samples.baseline_record(), samples.final_record(), latency)

    assert text == (
        "67 % less work per image (4.06 G → 1.35 G MACs); accuracy (mAP50) on 80 test images "
        "0.889 → 0.871 (−0.018), mAP50-95 0.676 → 0.662 (−0.014). On this computer: PyTorch, "
        "processor, fp32, batch 1: 1.85 × faster (61.0 ms → 33.0 ms)."
    )


def test_without_a_test_of_both_models_the_validation_numbers_are_used_and_named():
    final = samples.final_record().model_copy(update={"baseline_test": None})

    text = sentences.result_sentence(samples.baseline_record(), final)

    assert "40 validation images 0.904 → 0.884" in text
    assert "faster" not in text


@pytest.mark.parametrize(
    ("pruned", "word"),
    [
        (measured("pruned", 33, 32, 34), "faster"),
        (measured("pruned", 59, 58, 60.5), "no difference"),  # touches 60..62
        (measured("pruned", 59, 58, 60.0), "no difference"),  # the ends meet
        (measured("pruned", 70, 69, 71), "slower"),
    ],
)
def test_faster_is_said_only_where_the_intervals_do_not_overlap(pruned, word):
    baseline = measured("baseline", 61, 60, 62)

    assert sentences.verdict(baseline, pruned) == word
    assert word in sentences.latency_sentence([baseline, pruned]).replace(
        "no measurable difference", "no difference"
    )


def test_speed_of_one_model_alone_is_no_comparison():
    text = sentences.latency_sentence([measured("pruned", 33, 32, 34)])

    assert text == "Speed was not measured on this computer."


def test_a_missed_goal_is_said_with_its_reason():
    final = samples.final_record().model_copy(
        update={"macs_ratio": 0.41, "stopped_by": "Accuracy fell by 0.04: the guard rail stopped."}
    )

    text = sentences.goal_sentence(samples.prune_config(), final)

    assert text.startswith("The goal was missed: 41.0 % of the MACs are left, 33.5 % were asked")
    assert text.endswith("the guard rail stopped.")


def test_the_papers_own_tolerance_still_counts_as_met():
    final = samples.final_record().model_copy(update={"macs_ratio": 4.82 / 14.27})

    assert sentences.goal_sentence(samples.prune_config(), final).startswith("The goal was met")


def test_a_small_goal_is_not_met_by_a_tenth_more_than_it():
    """The tolerance is a share of the goal: 5.4 % for 5 % is no rounding."""
    over = samples.final_record().model_copy(update={"macs_ratio": 0.054, "goal_ratio": 0.054})

    macs = sentences.goal_sentence(samples.prune_config(keep_macs=0.05), over)
    params = sentences.goal_sentence(samples.prune_config(keep_params=0.05), over)

    assert macs.startswith("The goal was missed: 5.4 % of the MACs are left, 5.0 % were asked")
    assert params.startswith("The goal was missed: 5.4 % of the parameters are left")


def test_agreement_counts_what_the_baseline_found():
    text = sentences.agreement_sentence({"both": 38, "class changed": 1, "lost": 2, "new": 2})

    assert text == (
        "Of 41 objects that the baseline found, the pruned model finds 38 with the same class "
        "(93 %); 1 changed class, 2 lost, 2 new."
    )


def test_agreement_without_any_object_does_not_divide_by_zero():
    assert sentences.agreement_sentence({"new": 3}).endswith("the pruned model found 3.")


def test_attention_names_the_border_that_was_used():
    text = sentences.attention_sentence(
        samples.border_scores(ber=0.42), samples.border_scores(ber=0.52, contour="mask")
    )

    assert text == (
        "52 % of the pruned model's heat lies on the outline of this object, 42 % of the "
        "baseline's."
    )
    assert "zero" in sentences.attention_sentence(
        samples.border_scores(ber=None), samples.border_scores(ber=0.5)
    )


def test_few_images_get_a_warning():
    assert "only 40 images" in (sentences.sample_sentence(samples.metrics(0.9)) or "")
    assert sentences.sample_sentence(samples.metrics(0.9, images=100)) is None


def test_a_model_that_grew_is_not_called_lighter():
    more = Cost(macs=5, params=1, size_mb=1, imgsz=64)

    assert sentences.work_clause(more.model_copy(update={"macs": 4}), more).startswith("more work")


@pytest.mark.parametrize(
    ("goal", "reached", "said"),
    [
        ({"keep_params": 0.5}, 0.4995, "The goal was met: 50.0 % of the parameters are left"),
        ({"keep_params": 0.5}, 0.52, "The goal was missed: 52.0 % of the parameters are left"),
        ({"keep_latency": 0.5}, 0.52, "The goal was met: 52.0 % of the milliseconds are left"),
        ({"keep_latency": 0.5}, 0.53, "The goal was missed: 53.0 % of the milliseconds are left"),
    ],
)
def test_a_goal_is_judged_by_what_it_counts(goal, reached, said):
    final = samples.final_record().model_copy(update={"goal_ratio": reached, "stopped_by": None})

    text = sentences.goal_sentence(samples.prune_config(**goal), final)

    way = " (ONNX Runtime, processor, fp32, batch 1)" if "keep_latency" in goal else ""
    assert text == f"{said}, 50.0 % were asked for{way}."
