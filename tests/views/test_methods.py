"""The methods paragraph and its citations: only what was used, every number from the run."""

from __future__ import annotations

import dataclasses
import re

from msip_core.catalog import ALLOCATIONS, CRITERIA, GRANULARITIES, RECOVERIES
from msip_core.config import RECIPES, TrainConfig, TrainingRecipe
from msip_core.views.citations import bibliography, references_of
from msip_core.views.history import RunHistory
from msip_core.views.methods import methods_text
from tests.views import samples


def test_numbers_come_from_settings_and_records(history: RunHistory) -> None:
    text = methods_text(history)

    for part in (
        "120 images (86 for training, 10 for validation and 24 for testing)",
        "300 crypt and 210 no_crypt boxes", "one pixel is 1.3 µm wide",
        "3.01 M parameters and 4.06 G multiply-adds", "640 × 640 px",
        "keep 33.5 % of the MACs in 5 iterations", "weights 0.4 / 0.3 / 0.2 / 0.1",
        "fell more than 0.03 below the baseline", "up to 128 training images",
        "After 5 iterations, 33.3 % of the MACs were left (1.35 G",
        "30 epochs", "0.001 falling to 1e-05", "batches of 16 images, seed 0",
        "40 validation images and 80 test images", "PyTorch 2.15.0 on a computer with Some CPU",
    ):  # fmt: skip
        assert part in text, part


def test_only_what_was_used_is_described_and_cited(history: RunHistory) -> None:
    plain = methods_text(history)
    full = methods_text(
        history, explained={"gradcam", "shap"}, latency=samples.compare_result().latency
    )

    assert "Grad-CAM" not in plain
    assert "Latency" not in plain
    assert "Grad-CAM [4]" in full
    assert "SHAP values [5]" in full
    assert "on the processor with PyTorch and ONNX Runtime in fp32 at batch size 1" in full


def test_every_reference_is_pointed_at_and_every_pointer_has_one(history: RunHistory) -> None:
    choices = [
        *({"method": name} for name in CRITERIA),
        *({"allocation": name} for name in ALLOCATIONS),
        *({"granularity": name} for name in GRANULARITIES),
        *({"recovery": name} for name in RECOVERIES),
    ]
    for chosen in choices:
        changed = dataclasses.replace(history, config=samples.prune_config(**chosen))
        text, _, listed = methods_text(changed, explained=["gradcam"]).partition("References")

        pointed = set(re.findall(r"\d+", " ".join(re.findall(r"\[([\d, ]+)\]", text))))
        assert pointed == set(re.findall(r"^\[(\d+)\]", listed, flags=re.MULTILINE)), chosen


def test_a_method_without_weights_names_none(history: RunHistory) -> None:
    text = methods_text(dataclasses.replace(history, config=samples.prune_config(method="l2")))

    assert "Li Hao, Kadav Asim" in text
    assert "weights 0.4" not in text
    assert "Fang Yuebing" not in text


def test_a_run_that_is_not_done_and_a_dataset_that_is_gone_leave_their_numbers_out(
    history: RunHistory,
) -> None:
    text = methods_text(dataclasses.replace(history, final=None, dataset={}, provenance={}))

    assert "were left" not in text
    assert "Images." not in text
    assert "None" not in text


def test_a_training_run_has_methods_too(history: RunHistory) -> None:
    config = TrainConfig(dataset="plate7", weights="yolov8n.yaml")
    text = methods_text(dataclasses.replace(history, config=config, baseline=None, iterations=()))

    assert "The detector was trained for 12 epochs" in text
    assert "Torch-Pruning" not in text


def test_bibtex_and_ris_hold_the_same_works(history: RunHistory) -> None:
    works = references_of(history.config, ("gradcam", "shap"))

    bib, ris = (bibliography(works, form) for form in ("bib", "ris"))

    assert re.findall(r"@\w+\{(\w+),", bib) == [work.key for work in works]
    assert bib.count("{") == bib.count("}")
    assert re.findall(r"^TI  - (.+?)\r$", ris, flags=re.MULTILINE) == [w.title for w in works]
    assert ris.count("ER  - ") == len(works) == 5
    assert "pages = {16091--16101}" in bib
    assert "SP  - 16091\r\nEP  - 16101" in ris
    assert "Grad-CAM: Visual Explanations" in bib


def test_fields_that_were_cut_into_tiles_are_described(history: RunHistory) -> None:
    words = (
        "9 of 120 images are cut into 180 tiles of 640 px, since objects would be 9 px for the "
        "network. Accuracy is judged on whole images, tiles joined."
    )
    assert words not in methods_text(history)
    cut = dataclasses.replace(history, notes=((words, False), *history.notes))
    assert words in methods_text(cut)


def test_only_repairs_that_a_run_tried_are_described(history: RunHistory) -> None:
    """A run from before there was absorption chose among the others."""

    def text(*tried: str) -> str:
        records = tuple(
            one.model_copy(update={"repair_map50": dict.fromkeys(tried, 0.5)})
            for one in history.iterations
        )
        return methods_text(dataclasses.replace(history, iterations=records))

    assert "act(beta)" in text("as cut", "betas absorbed", "refitted, ridge 0.1")
    assert "act(beta)" not in text("as cut", "refitted, ridge 0.1")
    absorbing = dataclasses.replace(history, config=samples.prune_config(repair="absorb"))
    assert "absorbed into the means of the batch norms" in methods_text(absorbing)


def test_l1_at_the_transfer_is_described_where_it_acted(history: RunHistory) -> None:
    moved = dataclasses.replace(history, config=samples.prune_config(prox=1e-4))

    assert "soft-thresholded by 0.0001" in methods_text(moved)
    assert "soft-thresholded" not in methods_text(history)


def described(history: RunHistory, **settings: object) -> str:
    return methods_text(dataclasses.replace(history, config=samples.prune_config(**settings)))


def test_whole_blocks_are_not_said_to_be_scored_channels(history: RunHistory) -> None:
    for granularity in ("blocks", "layerdrop"):
        text = described(history, granularity=granularity, method="lamp")

        assert "bottleneck" in text
        assert ("by the mAP50 that validation loses" in text) == (granularity == "blocks")
        for word in ("LAMP", "Importance", "Channels", "dependency graph", "widths", "Scores came"):
            assert word not in text, word
    assert "LAMP" in described(history, granularity="mixed", method="lamp", allocation="global")


def test_training_before_the_cuts_is_told_whoever_asked_for_it(history: RunHistory) -> None:
    """Sparse training brings its own schedule, and what makes it sparse is part of it."""
    text = described(history, recovery="sparse")

    assert "Before the first cut it was trained for 50 epochs" in text
    assert "an L1 term of 0.01 that falls to a tenth on batch-norm factors" in text
    asked = described(history, pretrain=RECIPES["paper-pretrain"])
    assert "BCE and IoU loss weighed 0.7 : 0.3 by what they contribute at first" in asked
    assert "an L1 term of 0.0001 on what opening C2f made" in asked
    trained = TrainConfig(dataset="d", weights="yolov8n.yaml", pretrain=RECIPES["paper-pretrain"])
    text = methods_text(dataclasses.replace(history, config=trained))
    assert "At first it was trained for 50 epochs" in text
    assert "trained for 12 epochs" in text


def test_weights_and_training_that_could_not_act_are_not_told(history: RunHistory) -> None:
    assert "which stayed fixed" in described(history, iterations=1)
    published = described(history, method="msip-published", iterations=4)
    assert "validation accuracy then adjusted (that of gradient alone)" in published
    untuned = described(history, finetune=TrainingRecipe(epochs=0))
    assert "No training followed a cut." in untuned
    assert "0 epochs" not in untuned
