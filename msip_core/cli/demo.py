"""The whole way on drawn micrographs: data, baseline, pruning, comparison, explanations, report.

Small enough for two CPU cores in under three minutes, by the same runs and jobs as everything
else. The baseline is not trained from nothing, which would take longer than all the rest: it goes
on from the example baseline that is shipped in assets/, and the result says so.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from pathlib import Path

from pydantic import BaseModel, ConfigDict

from msip_core.cli.asking import ask
from msip_core.cli.explaining import SIDE_WORDS, Explained, explain_object
from msip_core.config import RECIPES, CalibrationConfig, PruneConfig, TrainConfig
from msip_core.data.dataset import Dataset, list_datasets, open_dataset
from msip_core.data.synthetic import import_example
from msip_core.errors import NotFoundError
from msip_core.example import EXAMPLE, unpack
from msip_core.models import ModelCard, read_card
from msip_core.questions.detecting import Compare, Comparison
from msip_core.questions.looking import GradCam, Shap
from msip_core.questions.sources import DatasetImage, ModelOf, SavedModel
from msip_core.questions.speed import SIDES, Side
from msip_core.runs.service import RunService
from msip_core.views import evidence, report, sentences
from msip_core.views.history import RunHistory, read_history
from msip_core.workspace import Workspace, write_text

DATASET = "demo"
IMAGES, SIZE, SEED = 24, 256, 7  # not the seed of the shipped example: images it has never seen
EXPLAINED = 2
SAMPLES, FEATURES = 640, 40  # of SHAP, at most

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
    shipped = shipped_baseline()
    service = RunService(workspace)

    say(f"1/6  Data: {IMAGES} micrographs, drawn by computer")
    dataset = _dataset(workspace)
    say(f"     {dataset.report.headline()}")

    say("2/6  Baseline: two epochs on these images, from the example baseline that is shipped")
    unpack(EXAMPLE, out / "example", ["models"])
    baseline = _model_of(service, work(_training(out / "example" / "models" / shipped.id, shipped)))

    say("3/6  Pruning: two iterations of MSIP, each fine-tuned for one epoch")
    run_id = work(_pruning(baseline, shipped.imgsz))
    pruned = _model_of(service, run_id)
    models = SavedModel(model=baseline), SavedModel(model=pruned)
    sides: dict[Side, ModelOf] = dict(zip(SIDES, models, strict=True))

    say("4/6  Comparison on the test images, and speed on this computer")
    compared = _compare(workspace, sides, out)

    say(f"5/6  Grad-CAM and SHAP of {EXPLAINED} organoids")
    explained = [
        explain_object(workspace, sides, cam, shap, out / "explained" / cam.image.name)
        for cam, shap in _questions(dataset, sides["baseline"], shipped.imgsz)
    ]

    say("6/6  Report")
    history = read_history(workspace, service, run_id)
    write_text(out / "report.html", _report(history, dataset, compared, explained))
    return DemoResult(
        report=str(out / "report.html"),
        dataset=DATASET,
        baseline_id=baseline,
        pruned_id=pruned,
        run_id=run_id,
        sentences=_sentences(service, run_id, compared),
        seconds=time.monotonic() - began,
    )


def shipped_baseline() -> ModelCard:
    cards = [read_card(path) for path in sorted((EXAMPLE / "models").glob("*/model.json"))]
    for card in cards:
        if card.kind == "baseline":
            return card
    raise NotFoundError(
        "The demo begins with the example baseline in {example}, which is not there: "
        "run it from the folder of the repository.",
        example=EXAMPLE / "models",
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
        raise NotFoundError(
            "The run {run_id} ended without a model: see 'runs show {run_id}'.", run_id=run_id
        )
    return final.model_id


def _compare(workspace: Workspace, sides: dict[Side, ModelOf], out: Path) -> Comparison:
    question = Compare(
        baseline=sides["baseline"],
        pruned=sides["pruned"],
        dataset=DATASET,
        formats=("pytorch", "onnx"),
        runs=40,
        device="cpu",
    )
    return ask(workspace, question, out / "compare")


def _questions(dataset: Dataset, model: ModelOf, imgsz: int) -> list[tuple[GradCam, Shap]]:
    """Test images with crypts, most crypts first; what is explained there, the job chooses."""
    records = sorted(
        dataset.split("test"), key=lambda record: record.counts.get("crypt", 0), reverse=True
    )
    images = [DatasetImage(dataset=dataset.name, image=one.id) for one in records[:EXPLAINED]]
    return [
        (
            GradCam(model=model, image=image, imgsz=imgsz, device="cpu"),
            Shap(
                model=model,
                image=image,
                imgsz=imgsz,
                device="cpu",
                samples=SAMPLES,
                features=FEATURES,
            ),
        )
        for image in images
    ]


def _shown(dataset: Dataset, compared: Comparison) -> list[evidence.Micrograph]:
    return [
        evidence.micrograph_of(item, dataset.pixels(dataset.image(item.id)), dataset.classes)
        for item in evidence.choose_images(compared.images)
    ]


def _report(
    history: RunHistory[TrainConfig | PruneConfig],
    dataset: Dataset,
    compared: Comparison,
    explained: Sequence[Explained],
) -> str:
    return report.render_report(
        history,
        compare=compared,
        micrographs=_shown(dataset, compared),
        explained=[_told(item) for item in explained],
        classes=dataset.classes,
    )


def _told(item: Explained) -> evidence.ExplainedObject:
    panels = [
        evidence.Explanation(SIDE_WORDS[side], word, maps.folder / kind / part.overlay, part)
        for side, maps in item.maps.items()
        for kind, word, part in (("cam", "Grad-CAM", maps.cam), ("shap", "SHAP", maps.shap))
        if part is not None
    ]
    return evidence.ExplainedObject(f"{item.name}: {item.label}", panels)


def _sentences(service: RunService, run_id: str, compared: Comparison) -> tuple[str, ...]:
    baseline, final = service.baseline(run_id), service.final(run_id)
    found = [
        "Images drawn by computer; the baseline goes on from the shipped example baseline.",
        sentences.agreement_sentence(compared.agreement),
    ]
    if baseline is not None and final is not None:
        found.insert(1, sentences.result_sentence(baseline, final, compared.latency))
    return tuple(found)
