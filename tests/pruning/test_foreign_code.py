"""A run, a model or a cache that somebody else made may hold a pickle in every file: going on with
it, predicting, pruning, exporting and explaining run nothing of it."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from msip_core.detector.archives import opened
from msip_core.detector.checkpoints import load_model
from msip_core.detector.pickles import PLAIN
from msip_core.detector.sources import load_source_model
from msip_core.errors import InputError, MsipError, Stopped
from msip_core.events import FinalRecord, Stage
from msip_core.models import ModelCard, read_card, weights_path, write_card
from msip_core.pruning.loop import run
from msip_core.pruning.network import open_network
from msip_core.questions.sources import SavedModel
from msip_core.runs import verify
from msip_core.workspace import Workspace
from tests.detector.hostile import archive, call, object_arrays
from tests.pruning.kit import BASELINE, IMGSZ, Breaker, Listener, config

TEXTS = (
    "baseline.json",
    "calibration.json",
    "iterations/1/metrics.json",
    "iterations/1/layers.json",
    "iterations/2/importance.json",
    "iterations/2/pruned.json",
)
ARRAYS = (
    "iterations/0/model.pt", "iterations/1/model.pt", "iterations/1/importance.npz",
    "iterations/2/importance.npz", "iterations/2/kept.npz", "iterations/2/cut.pt",
    "iterations/2/pruned.pt", "iterations/2/fit/state.pt",
)  # fmt: skip
ASKED = config(method="l1")


@pytest.fixture(scope="module")
def stopped(lab: Workspace) -> Path:
    """The folder of a run that was stopped within the second fine-tuning."""
    ctx = Breaker(lab, "stopped", Stage.FINETUNING, 2, 4)
    with pytest.raises(Stopped):
        run(ASKED, ctx)
    return ctx.run_dir


@pytest.fixture
def again(lab: Workspace, stopped: Path, request) -> Iterator[Listener]:
    ctx = Listener(lab, f"copied-{abs(hash(request.node.name))}")
    shutil.copytree(stopped, ctx.run_dir, dirs_exist_ok=True)
    yield ctx
    shutil.rmtree(ctx.run_dir)


def plant(path: Path, proof: Path, way: str = "protocol 2") -> None:
    pickled = call(proof)[way]
    data = {".pt": archive(pickled), ".npz": object_arrays(proof)}.get(path.suffix, pickled)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)


def test_what_is_planted_is_armed(tmp_path):
    plant(tmp_path / "model.pt", tmp_path / "proof")
    torch.load(tmp_path / "model.pt", weights_only=False)

    assert (tmp_path / "proof").exists()


def test_the_stopped_run_holds_every_file_that_is_planted_and_no_other_weights(stopped):
    held = {p.relative_to(stopped).as_posix() for p in stopped.rglob("*") if p.is_file()}

    assert set(ARRAYS) >= {f for f in held if f.endswith((".pt", ".npz"))}
    for name in held:
        if name.endswith(".pt"):
            with opened(stopped / name, PLAIN):  # no class of any kind in it
                pass


def outcome(ctx: Listener) -> InputError | None:
    try:
        run(ASKED, ctx)
    except InputError as error:
        return error
    return None


@pytest.mark.parametrize("name", ARRAYS)
def test_a_run_that_goes_on_runs_nothing_that_lies_in_its_folder(again, tmp_path, name):
    proof = tmp_path / "proof"
    plant(again.run_dir / name, proof)

    refused = outcome(again)

    assert refused is None or (Path(name).name in refused.message and refused.exit_code == 2)
    assert refused is not None or again.of(FinalRecord)  # not needed any more, or made anew
    assert not proof.exists()


def test_a_run_that_goes_on_runs_nothing_of_what_should_be_text(again, stopped, tmp_path):
    """All at once; each that is refused is put back, until what is left is not needed any more or
    made anew."""
    proof, planted = tmp_path / "proof", {Path(name).name: name for name in TEXTS}
    for name in TEXTS:
        plant(again.run_dir / name, proof)

    while (refused := outcome(again)) is not None:
        assert refused.exit_code == 2
        (word,) = [word for word in planted if word in refused.message]
        shutil.copyfile(stopped / planted[word], again.run_dir / planted.pop(word))

    assert again.of(FinalRecord)
    assert len(planted) < len(TEXTS)
    assert not proof.exists()


@pytest.fixture(params=["model.pt", "work.pt"])
def brought(lab: Workspace, tmp_path: Path, request) -> Iterator[ModelCard]:
    """A model folder of somebody else."""
    card = read_card(lab.model_dir(BASELINE) / "model.json")
    card = card.model_copy(update={"id": f"brought-{request.param.partition('.')[0]}"})
    shutil.copytree(lab.model_dir(BASELINE), lab.model_dir(card.id))
    write_card(lab, card)
    plant(lab.model_dir(card.id) / request.param, tmp_path / "proof")
    yield card
    shutil.rmtree(lab.model_dir(card.id))


def test_a_model_folder_runs_nothing_at_any_door(lab, brought, tmp_path):
    doors = (
        lambda: load_source_model(lab, SavedModel(model=brought.id)),
        lambda: open_network(lab, brought.id, IMGSZ),
        lambda: load_model(weights_path(lab, brought.id)),
        lambda: run(config(model=brought.id), Listener(lab, f"from-{brought.id}")),
    )
    for door in doors:
        with pytest.raises(MsipError, match=f"{brought.id}/(model|work).pt was refused"):
            door()

    assert not (tmp_path / "proof").exists()


def test_the_check_of_a_saved_model_runs_nothing_of_it(tmp_path):
    plant(tmp_path / "model.pt", tmp_path / "proof")
    (tmp_path / "model").mkdir()
    shutil.copyfile(_reference(tmp_path), tmp_path / verify.REFERENCE_FILE)

    with pytest.raises(MsipError, match=r"model\.pt was refused"):
        verify._stock_outputs(tmp_path / "model.pt", verify.fixed_input(64))

    assert not (tmp_path / "proof").exists()


def _reference(folder: Path) -> Path:
    import numpy as np

    image = verify.fixed_input(64)
    np.savez(folder / "reference.npz", image=image, outputs=image)
    return folder / "reference.npz"
