"""The model card as a file: what is known is said, what is not is called unknown."""

from __future__ import annotations

from typing import Any

from msip_core.config import ImageRecipe
from msip_core.models import ModelCard, write_card
from msip_core.views.card_text import CardFacts, card_text, read_card_facts, warnings
from msip_core.workspace import Workspace, write_json
from tests.views import samples

DATA = {
    "name": "plate7",
    "images": 120,
    "splits": {"train": 86, "val": 10, "test": 24},
    "boxes": {"crypt": 300, "no_crypt": 210},
    "pixel_size_um": 0.5,
    "content_hash": "cd34",
}
REPORT = {"depths": {"16": 120}, "box_size": {"low": 20.0, "median": 50.0, "high": 90.0}}


def _card(**changes: Any) -> ModelCard:
    fields: dict[str, Any] = {
        "id": "pruned-1", "name": "Plate 7, a third", "kind": "pruned", "architecture": "yolov8n",
        "classes": samples.CLASSES, "imgsz": 640, "dataset": "plate7", "dataset_hash": "cd34",
        "val": samples.metrics(0.884), "test": samples.metrics(0.871, "test", images=24),
        "cost": samples.final_record().cost, "macs_ratio": 0.333, "baseline_id": "baseline-1",
    }  # fmt: skip
    return ModelCard(**{**fields, **changes})


def test_data_accuracy_and_cost_are_said_with_their_numbers() -> None:
    text = card_text(CardFacts(_card(), DATA, REPORT), file="pruned-1.pt")

    for part in (
        "- crypt\n- no_crypt", "| Images | 120 (86 for training, 10 for validation, 24 for test",
        "| Pixel size | 0.5 µm |", "| Bit depth of the originals | 16 bit (120 images) |",
        "20 to 90 px, median 50 px (10 to 45 µm, median 25 µm)",
        "| 24 test | 0.871 | 0.662 |", "crypt 0.891, no_crypt 0.851", "1.35 G MACs at 640 px",
        'YOLO("pruned-1.pt")', "AGPL-3.0", "not measured; MACs are not speed",
        "33.3 % of the baseline's work",
    ):  # fmt: skip
        assert part in text, part


def test_few_images_are_warned_of() -> None:
    assert warnings(CardFacts(_card())) == [
        "Accuracy was measured on only 24 images: small differences may be chance."
    ]
    many = _card(test=samples.metrics(0.9, "test", images=100))
    assert warnings(CardFacts(many)) == []
    assert "**Careful.** Its accuracy was not measured here." in card_text(
        CardFacts(_card(val=None, test=None))
    )


def test_measured_speed_of_this_model_is_in_its_card() -> None:
    text = card_text(CardFacts(_card()), latency=samples.compare_result().latency)

    assert "PyTorch, processor, fp32, batch 1 | 33.0 ms (95 % interval 31.7 ms to 34.6 ms)" in text
    assert "61.0 ms" not in text  # the baseline's


def test_what_is_not_known_is_called_unknown() -> None:
    text = card_text(CardFacts(_card(dataset=None, recipe=None)))

    assert "| Images | not known |" in text
    assert "must be scaled" not in text


def test_scaling_of_deep_images_is_said() -> None:
    recipe = ImageRecipe(low_value=120.0, high_value=3000.0)

    text = card_text(CardFacts(_card(recipe=recipe)))

    assert "deeper than 8 bit must be scaled before: the grey values 120 and 3000 become" in text


def test_other_data_under_the_same_name_are_not_taken_for_the_models(workspace: Workspace) -> None:
    write_card(workspace, _card())
    write_card(workspace, _card(id="baseline-1", kind="baseline", baseline_id=None))
    folder = workspace.dataset_dir("plate7")
    write_json(folder / "summary.json", DATA)
    write_json(folder / "dataset.json", {"report": REPORT})

    same = read_card_facts(workspace, "pruned-1")
    write_json(folder / "summary.json", {**DATA, "content_hash": "other"})
    other = read_card_facts(workspace, "pruned-1")

    assert same.report == REPORT
    assert same.baseline is not None
    assert same.baseline.id == "baseline-1"
    assert other.dataset == {}
