"""Accuracy of a model that is shown tiles is that of whole fields."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

from msip_core.config import ImportConfig, TrainConfig
from msip_core.data.cut import CutDataset, cut, open_for_run
from msip_core.data.dataset import Dataset
from msip_core.data.importing import import_dataset
from msip_core.data.object_sizes import SeenImage
from msip_core.data.tiling import Tiling
from msip_core.detector.evaluation import Evaluator
from msip_core.detector.run import run
from msip_core.detector.sources import load_source_model
from msip_core.detector.tiles import TileChoice
from msip_core.events import FinalRecord, MilestoneRecord
from msip_core.models import open_card
from msip_core.questions.sources import SavedModel
from tests.detector.conftest import short, thin_model

IMGSZ = 160


def bright(images: torch.Tensor) -> torch.Tensor:
    """In a network's place: (n, 5, anchors), a sure box around everything bright."""
    outputs = torch.zeros(len(images), 5, 64)
    for n, image in enumerate(images):
        mask = (image[0].numpy() > 0.6).astype(np.uint8)
        _, _, stats, _ = cv2.connectedComponentsWithStats(mask, connectivity=4)
        for k, (x, y, w, h, area) in enumerate(stats[1:].tolist()):
            outputs[n, :, k] = torch.tensor([x + w / 2, y + h / 2, w, h, 0.5 + area / 10_000])
    return outputs


@pytest.fixture(scope="module")
def fields(shared_workspace, tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    """Ten fields of 400 x 300 pixels, each with a grid of 6 x 4 organoids, some across any seam."""
    folder = tmp_path_factory.mktemp("fields")
    rng = np.random.default_rng(1)
    for n in range(10):
        pixels = np.full((300, 400), 40 + n, np.uint8)
        lines = []
        for x in range(10, 360, 62):
            for y in range(10, 270, 70):
                w, h = (int(v) for v in rng.integers(14, 40, 2))
                w, h = min(w, 398 - x), min(h, 298 - y)
                cv2.rectangle(pixels, (x, y), (x + w - 1, y + h - 1), 220, -1)
                lines.append(
                    f"0 {(x + w / 2) / 400:.6f} {(y + h / 2) / 300:.6f} {w / 400:.6f} "
                    f"{h / 300:.6f}\n"
                )
        assert cv2.imwrite(str(folder / f"f{n}.png"), pixels)
        (folder / f"f{n}.txt").write_text("".join(lines))
    return import_dataset(shared_workspace, ImportConfig(source=folder, name="fields"))


def test_a_perfect_detector_of_tiles_is_perfect_on_whole_fields(
    shared_workspace, fields: Dataset
) -> None:
    tilings = {record.id: Tiling(IMGSZ, 48, "asked") for record in fields.images}
    made = cut(shared_workspace, fields, tilings)
    assert isinstance(made, CutDataset)
    model = thin_model(fields.classes)

    found = Evaluator(made, "val", IMGSZ, batch=4).measured(model, forward=bright)

    images = fields.split("val")
    assert found.metrics.images == len(images)
    assert found.metrics.map50 == pytest.approx(1, abs=0.006)
    assert found.metrics.recall == pytest.approx(1, abs=1e-6)
    assert [one.file for one in found.found] == [Path(r.file).name for r in images]
    for one, record in zip(found.found, images, strict=True):
        truth = sorted(tuple(np.round(b.xyxy, 2)) for b in fields.boxes(record))
        assert len(one.boxes) == len(one.label_boxes) == len(truth)
        for boxes in (one.boxes, one.label_boxes):
            np.testing.assert_allclose(sorted(map(tuple, boxes.round(2).tolist())), truth, atol=0.1)


def test_a_limit_counts_whole_fields(shared_workspace, fields: Dataset) -> None:
    tilings = {record.id: Tiling(IMGSZ, 48, "asked") for record in fields.images}
    made = cut(shared_workspace, fields, tilings)
    evaluator = Evaluator(made, "train", IMGSZ, batch=4, limit=2)
    assert evaluator(thin_model(fields.classes)).images == 2
    assert evaluator.batches.images == 2 * len(made.tiles_of(fields.images[0]))


def test_a_dataset_that_is_cut_in_part_is_judged_as_one(shared_workspace, fields: Dataset) -> None:
    first = fields.split("test")[0]
    made = cut(shared_workspace, fields, {first.id: Tiling(200, 60, "asked")})

    found = Evaluator(made, "test", 416, batch=2).measured(
        thin_model(fields.classes), forward=bright
    )

    assert found.metrics.images == len(fields.split("test"))
    assert found.metrics.map50 == pytest.approx(1, abs=0.006)


def test_a_run_trains_on_tiles_says_so_and_its_model_cuts_new_fields_alike(
    shared_workspace, fields: Dataset, history
) -> None:
    context = history()
    context.workspace = shared_workspace
    config = TrainConfig(
        dataset=fields.name, weights="yolov8n.yaml", imgsz=64, batch=16, workers=0, tiles=IMGSZ,
        recipe=short(1), device="cpu",
    )  # fmt: skip

    run(config, context)

    words = next(r.message for r in context.records if isinstance(r, MilestoneRecord))
    assert words.startswith("10 of 10 images are cut into 90 tiles of 160 px, since that was asked")
    final = context.records[-1]
    assert isinstance(final, FinalRecord)
    assert final.test is not None
    assert final.test.images == len(fields.split("test"))
    card = open_card(shared_workspace, final.model_id)
    assert card.dataset_hash == fields.content_hash
    assert card.trained is not None
    assert (card.trained.image, card.trained.image_high) == (160, 160)
    facts = load_source_model(shared_workspace, SavedModel(model=card.id))[1]
    tiling = TileChoice("auto", None, facts.trained, facts.imgsz).tiling(SeenImage(400, 300, 64))
    assert tiling is not None
    assert tiling.side == 160
    assert isinstance(open_for_run(shared_workspace, config), CutDataset)
