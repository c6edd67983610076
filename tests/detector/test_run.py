"""The life of a baseline run, also of one that was stopped in the middle."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import pytest
import torch

from msip_core.config import TrainConfig
from msip_core.detector.checkpoints import load_model, save_stock
from msip_core.detector.evaluation import Evaluator
from msip_core.detector.run import run
from msip_core.errors import ConfigError, NotFoundError, Stopped
from msip_core.events import FinalRecord, MilestoneRecord, ProgressRecord, Stage, StageRecord
from msip_core.models import list_models, open_card
from msip_core.views.card_text import CardFacts, card_text, read_card_facts
from msip_core.workspace import Workspace
from tests.detector.conftest import CLASSES, IMGSZ, RunHistory, pruned_model, short, thin_model


@dataclass
class Finished:
    """A run that went through."""

    config: TrainConfig
    history: RunHistory

    @property
    def final(self) -> FinalRecord:
        return of_kind(self.history, FinalRecord)[0]

    @property
    def path(self) -> Path:
        return self.history.workspace.root / self.final.artifacts["model"]


def of_kind(history: RunHistory, kind: type) -> list:
    return [record for record in history.records if isinstance(record, kind)]


@pytest.fixture(scope="module")
def finished(shared_workspace, dataset, tmp_path_factory) -> Finished:
    folder = tmp_path_factory.mktemp("run")
    save_stock(thin_model(("cell", "crypt")), folder / "start.pt")
    config = TrainConfig(
        name="Plate 7", dataset=dataset.name, weights=str(folder / "start.pt"), imgsz=IMGSZ,
        batch=4, device="cpu", recipe=short(2),
    )  # fmt: skip
    return Finished(config, go(config, shared_workspace, folder / "run-1"))


def go(config: TrainConfig, workspace: Workspace, run_dir: Path, stop_after=None) -> RunHistory:
    run_dir.mkdir(exist_ok=True)
    history = RunHistory(workspace, run_dir, run_id=run_dir.name, stop_after=stop_after)
    run(config, history)
    return history


def test_a_run_trains_measures_and_keeps_a_model(finished, shared_workspace, dataset):
    heard, final = finished.history, finished.final
    card = open_card(shared_workspace, final.model_id)

    assert (card.name, card.kind, card.classes) == ("Plate 7", "baseline", CLASSES)
    assert (card.dataset, card.dataset_hash) == (dataset.name, dataset.content_hash)
    assert card.recipe == dataset.recipe
    assert (card.val, card.test, card.cost) == (final.metrics, final.test, final.cost)
    assert card.origin["run_id"] == "run-1"
    assert finished.path.is_file()
    assert not (heard.run_dir / "fit").exists()
    stages = [record.stage for record in of_kind(heard, StageRecord)]
    assert stages == [Stage.TRAINING, Stage.TESTING, Stage.SAVING]
    said = " ".join(m.message for m in of_kind(heard, MilestoneRecord))
    assert "classes kept: crypt; classes learned anew: no_crypt" in said
    assert [p.done for p in of_kind(heard, ProgressRecord)] == [0.5, 1.0]


def test_the_measured_model_is_the_shipped_one(finished, dataset):
    stored = torch.load(finished.path, weights_only=False)["model"]
    loaded = load_model(finished.path)

    assert next(stored.parameters()).dtype == torch.float16
    assert all(torch.equal(v.half().float(), v) for v in loaded.parameters())
    assert Evaluator(dataset, "val", IMGSZ, 4)(loaded) == finished.final.metrics


def test_a_pruned_file_that_is_trained_on_keeps_its_widths_and_says_so(
    shared_workspace, dataset, tmp_path
):
    pruned = pruned_model()
    save_stock(pruned, tmp_path / "Anna's pruned.pt")
    config = TrainConfig(
        dataset=dataset.name,
        weights=str(tmp_path / "Anna's pruned.pt"),
        imgsz=IMGSZ,
        batch=4,
        device="cpu",
        recipe=short(1),
    )
    history = go(config, shared_workspace, tmp_path / "further")
    card = open_card(shared_workspace, of_kind(history, FinalRecord)[0].model_id)
    trained = load_model(shared_workspace.model_dir(card.id) / "model.pt")

    def count(model) -> int:
        return sum(p.numel() for p in model.parameters())

    assert count(trained) == count(pruned) == card.cost.params < 0.8 * count(thin_model())
    assert card.note == "Trained on from a pruned model."
    text = card_text(read_card_facts(shared_workspace, card.id))
    assert "`yolo train` of stock Ultralytics: that rebuilds the full network" in text
    assert "--weights model.pt" in text


def test_the_card_of_a_whole_network_does_not_warn_of_growing_back(finished, shared_workspace):
    card = open_card(shared_workspace, finished.final.model_id)  # of a thin network
    whole = card.model_copy(update={"note": ""})

    assert "grows back" in card_text(CardFacts(card))
    assert "grows back" not in card_text(CardFacts(whole))


def test_a_resumed_run_ends_like_an_unbroken_one_and_registers_once(
    finished, shared_workspace, tmp_path
):
    before = {card.id for card in list_models(shared_workspace)}

    with pytest.raises(Stopped):
        go(finished.config, shared_workspace, tmp_path / "run-1", stop_after=6)
    again = Finished(finished.config, go(finished.config, shared_workspace, tmp_path / "run-1"))

    assert (again.final.metrics, again.final.test) == (finished.final.metrics, finished.final.test)
    assert {card.id for card in list_models(shared_workspace)} - before == {again.final.model_id}
    a, b = load_model(finished.path), load_model(again.path)
    assert all(torch.equal(v, b.state_dict()[n]) for n, v in a.state_dict().items())


def test_a_run_that_is_done_again_keeps_its_model_id(finished, shared_workspace):
    go(
        finished.config.model_copy(update={"recipe": short(0)}),
        shared_workspace,
        finished.history.run_dir,
    )

    model_ids = [c.id for c in list_models(shared_workspace) if c.origin.get("run_id") == "run-1"]
    assert model_ids.count(finished.final.model_id) == 1


def test_pre_training_with_the_l1_term_gives_a_stock_model_back(
    finished, shared_workspace, tmp_path
):
    pretrain = short(1, l1_lambda=1e-4, cls=5.6, box=2.4, dfl=0.48)
    config = finished.config.model_copy(update={"pretrain": pretrain, "recipe": short(1)})

    done = Finished(config, go(config, shared_workspace, tmp_path / "run-2"))

    assert [(e.phase, e.epoch) for e in done.history.epochs()] == [("pretrain", 1), ("train", 1)]
    homes = {type(m).__module__.split(".")[0] for m in load_model(done.path).modules()}
    assert homes == {"torch", "ultralytics"}
    assert [p.done for p in of_kind(done.history, ProgressRecord)] == [0.5, 1.0]


def test_a_model_of_the_workspace_may_be_trained_on(finished, shared_workspace, tmp_path):
    model_id = finished.final.model_id
    config = finished.config.model_copy(update={"weights": model_id, "recipe": short(0)})

    done = Finished(config, go(config, shared_workspace, tmp_path / "run-3"))

    assert done.final.model_id != model_id
    assert done.final.metrics.map50 == open_card(shared_workspace, model_id).val.map50


@pytest.mark.parametrize(
    ("change", "error", "words"),
    [
        ({"weights": "/nowhere/gone.pt"}, NotFoundError, r"gone\.pt"),
        ({"weights": "ghost"}, NotFoundError, "no model 'ghost'"),
        ({"dataset": "none"}, NotFoundError, "no dataset 'none'"),
        ({"device": "cuda:9"}, ConfigError, "no device 'cuda:9'"),
        ({"weights": "yolo11n.yaml"}, ConfigError, "no YOLOv8 description"),
    ],
)
def test_what_is_not_there_is_named(finished, shared_workspace, tmp_path, change, error, words):
    with pytest.raises(error, match=words):
        go(finished.config.model_copy(update=change), shared_workspace, tmp_path / "run-4")
