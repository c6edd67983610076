"""The whole way on drawn micrographs: data, baseline, pruning, comparison, explanations, report.

Small enough for two CPU cores in under three minutes, by the same runs and jobs as everything
else. The baseline is not trained from nothing, which would take longer than all the rest: it goes
on from the example baseline that is shipped in assets/, and the result says so.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict

from msip_core.cli.asking import do_job, prefixed
from msip_core.cli.explaining import SIDE_WORDS, SIDES, Explained, explain_object
from msip_core.config import RECIPES, CalibrationConfig, PruneConfig, TrainConfig
from msip_core.data.dataset import Dataset, list_datasets, open_dataset
from msip_core.data.synthetic import import_example
from msip_core.errors import NotFoundError
from msip_core.models import ModelCard, read_card
from msip_core.runs.service import RunService
from msip_core.views import evidence, report, sentences
from msip_core.views.story import read_story
from msip_core.workspace import Workspace

ASSETS = Path(__file__).resolve().parent.parent / "assets" / "example"
DATASET = "demo"
IMAGES, SIZE, SEED = 24, 256, 7  # not the seed of the shipped example: images it has never seen
EXPLAINED = 2
SHAP = {"samples": 640, "features": 40}  # at most

Say = Callable[[str], None]
Work = Callable[[TrainConfig | PruneConfig], str]


class DemoResult(BaseModel):
    """What came of it.

    Attributes:
        sentences: the result in words, each from measured values.
        seconds: wall time of the whole way.
    """

    model_config = ConfigDict(frozen=True)

    report: str
    dataset: str
    baseline_id: str
    pruned_id: str
    run_id: str
    sentences: tuple[str, ...]
    seconds: float


def run_demo(workspace: Workspace, out: Path, work: Work, say: Say) -> DemoResult:
    """Go the whole way and write `out`/report.html.

    Args:
        work: does a run to its end and returns its id.
        say: tells a person what comes next.

    Raises:
        NotFoundError: the shipped example is not there (only an installation without assets).
        MsipError: a step failed.
    """
    began = time.monotonic()
    shipped = _shipped_baseline()
    service = RunService(workspace)

    say(f"1/6  Data: {IMAGES} micrographs, drawn by computer")
    dataset = _dataset(workspace)
    say(f"     {dataset.report.headline()}")

    say("2/6  Baseline: two epochs on these images, from the example baseline that is shipped")
    baseline = _model_of(service, work(_training(ASSETS / "models" / shipped.id, shipped)))

    say("3/6  Pruning: two iterations of MSIP, each fine-tuned for one epoch")
    run_id = work(_pruning(baseline, shipped.imgsz))
    pruned = _model_of(service, run_id)
    sides = {"baseline": {"model": baseline}, "pruned": {"model": pruned}}

    say("4/6  Comparison on the test images, and speed on this computer")
    compared = _compare(workspace, sides, out)

    say(f"5/6  Grad-CAM and SHAP of {EXPLAINED} organoids")
    explained = [
        explain_object(workspace, sides, question, SHAP, out / "explained" / question["image"])
        for question in _questions(dataset, shipped.imgsz)
    ]

    say("6/6  Report")
    path = report.write_report(
        read_story(workspace, service, run_id),
        out / "report.html",
        compare=compared,
        micrographs=_shown(dataset, compared),
        explained=[_told(item) for item in explained],
        classes=dataset.classes,
    )
    return DemoResult(
        report=str(path),
        dataset=DATASET,
        baseline_id=baseline,
        pruned_id=pruned,
        run_id=run_id,
        sentences=_sentences(service, run_id, compared),
        seconds=time.monotonic() - began,
    )


def _shipped_baseline() -> ModelCard:
    cards = [read_card(path) for path in sorted((ASSETS / "models").glob("*/model.json"))]
    for card in cards:
        if card.kind == "baseline":
            return card
    raise NotFoundError(
        f"The demo begins with the example baseline in {ASSETS / 'models'}, which is not there: "
        "run it from the folder of the repository."
    )


def _dataset(workspace: Workspace) -> Dataset:
    """Drawn anew, or found where an earlier demo left the very same images."""
    if DATASET in {summary.name for summary in list_datasets(workspace)}:
        return open_dataset(workspace, DATASET)
    return import_example(workspace, DATASET, images=IMAGES, size=SIZE, seed=SEED)


def _training(folder: Path, card: ModelCard) -> TrainConfig:
    recipe = RECIPES["quick-finetune"].model_copy(update={"epochs": 2})
    return TrainConfig(
        name="Demo baseline", dataset=DATASET, weights=str(folder / "model.pt"), recipe=recipe,
        imgsz=card.imgsz, batch=8, device="cpu",
    )  # fmt: skip


def _pruning(baseline: str, imgsz: int) -> PruneConfig:
    return PruneConfig(
        name="Demo: two steps to 60 % of the work",
        dataset=DATASET,
        model=baseline,
        keep_macs=0.6,
        iterations=2,
        finetune=RECIPES["quick-finetune"].model_copy(update={"epochs": 1}),
        calibration=CalibrationConfig(batches=1),
        max_map50_drop=None,  # two steps of one epoch prove nothing about accuracy
        imgsz=imgsz,
        batch=8,
        device="cpu",
    )


def _model_of(service: RunService, run_id: str) -> str:
    final = service.final(run_id)
    if final is None:
        raise NotFoundError(f"The run {run_id} ended without a model: see 'runs show {run_id}'.")
    return final.model_id


def _compare(workspace: Workspace, sides: dict[str, Any], out: Path) -> dict[str, Any]:
    params = {
        **prefixed(sides["baseline"], "baseline"),
        **prefixed(sides["pruned"], "pruned"),
        "dataset": DATASET,
        "formats": ["pytorch", "onnx"],
        "runs": 40,
        "device": "cpu",
    }
    return do_job(workspace, "compare", params, out / "compare")


def _questions(dataset: Dataset, imgsz: int) -> list[dict[str, Any]]:
    """Test images with crypts, most crypts first; what is explained there, the job chooses."""
    records = sorted(
        dataset.split("test"), key=lambda record: record.counts.get("crypt", 0), reverse=True
    )
    return [
        {"dataset": dataset.name, "image": record.id, "imgsz": imgsz, "device": "cpu"}
        for record in records[:EXPLAINED]
    ]


def _shown(dataset: Dataset, compared: dict[str, Any]) -> list[evidence.Micrograph]:
    return [
        evidence.micrograph_of(item, dataset.pixels(dataset.image(item["id"])), dataset.classes)
        for item in evidence.choose_images(compared)
    ]


def _told(item: Explained) -> evidence.ExplainedObject:
    panels = [
        evidence.Explanation(
            SIDE_WORDS[side], word, item.folder / side / kind / parts["overlay"], parts
        )
        for side in SIDES
        for kind, word in (("cam", "Grad-CAM"), ("shap", "SHAP"))
        for parts in (item.results[side][kind],)
    ]
    return evidence.ExplainedObject(f"{item.name}: {item.label}", panels)


def _sentences(service: RunService, run_id: str, compared: dict[str, Any]) -> tuple[str, ...]:
    baseline, final = service.baseline(run_id), service.final(run_id)
    found = [
        "Images drawn by computer; the baseline goes on from the shipped example baseline.",
        sentences.agreement_sentence(compared["agreement"]),
    ]
    if baseline is not None and final is not None:
        found.insert(1, sentences.result_sentence(baseline, final, compared["latency"]))
    return tuple(found)
