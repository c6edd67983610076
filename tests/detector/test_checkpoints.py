"""Weights files are data: read without running them, and written so that anyone can read them."""

from __future__ import annotations

import os
import pickle
import zipfile
from copy import deepcopy
from pathlib import Path

import pytest
import torch
import torch_pruning as tp
from torch import Tensor
from ultralytics.nn.tasks import DetectionModel, SegmentationModel

from msip_core.detector.c2f import to_c2f_v2
from msip_core.detector.checkpoints import (
    architecture_of,
    inspect_checkpoint,
    load_model,
    round_to_half,
    save_stock,
    save_work,
    size_mb,
)
from msip_core.detector.library import copy_model
from msip_core.errors import CheckpointError, NotFoundError, UnsafeCheckpointError, WrongModelError
from msip_core.questions.contents import sha256_of
from tests.detector.conftest import CLASSES, IMGSZ, outputs, pruned_model, thin_model


@pytest.fixture(scope="module")
def model():
    return thin_model()


class RunsShell:
    """Unpickling it would create a file."""

    def __init__(self, proof: Path) -> None:
        self.proof = proof

    def __reduce__(self):
        return os.system, (f"touch {self.proof}",)


class RunsYaml:
    """Unpickling it would build a detector whose description holds code that parsing evaluates."""

    def __init__(self, proof: Path) -> None:
        self.proof = proof

    def __reduce__(self):
        description = {
            "nc": 1,
            "channels": 3,
            "scales": {"n": [0.33, 0.125, 512]},
            "activation": f"__import__('os').system('touch {self.proof}')",
            "backbone": [[-1, 1, "Conv", [64, 3, 2]]],
            "head": [],
        }
        return DetectionModel, (description,)


# --- what is refused ----------------------------------------------------------


@pytest.mark.parametrize("protocol", [2, 4])
def test_a_file_that_wants_to_run_code_is_refused_by_name_and_nothing_runs(
    tmp_path, model, protocol
):
    proof, path = tmp_path / "proof", tmp_path / "evil.pt"
    torch.save(
        {"model": copy_model(model), "extra": RunsShell(proof)}, path, pickle_protocol=protocol
    )

    with pytest.raises(UnsafeCheckpointError, match=r"evil\.pt was refused.*(posix|nt)\.system"):
        load_model(path)
    with pytest.raises(UnsafeCheckpointError, match="system"):
        inspect_checkpoint(path)

    assert not proof.exists()
    torch.load(path, weights_only=False)  # it was armed: without our loader the code runs
    assert proof.exists()


def test_a_plain_pickle_named_pt_is_refused_by_name(tmp_path):
    proof, path = tmp_path / "proof", tmp_path / "evil.pt"
    path.write_bytes(pickle.dumps(RunsShell(proof)))

    with pytest.raises(UnsafeCheckpointError, match="system"):
        load_model(path)

    assert not proof.exists()


def test_code_hidden_in_a_model_description_does_not_run(tmp_path):
    proof, path = tmp_path / "proof", tmp_path / "evil.pt"
    torch.save({"model": RunsYaml(proof)}, path)

    with pytest.raises(CheckpointError, match=r"evil\.pt"):
        load_model(path)

    assert not proof.exists()
    torch.load(path, weights_only=False)  # it was armed
    assert proof.exists()


def test_a_file_that_needs_an_unknown_package_is_refused_and_nothing_is_installed(
    tmp_path, model, monkeypatch
):
    path = tmp_path / "odd.pt"
    torch.save({"model": copy_model(model), "extra": "placeholder"}, path)
    asked = []
    monkeypatch.setattr("ultralytics.nn.tasks.check_requirements", lambda *a, **k: asked.append(a))
    _replace_in_pickle(
        path, b"cultralytics.nn.tasks\nDetectionModel\n", b"cnot_installed_pkg\nDetectionModel\n"
    )

    with pytest.raises(UnsafeCheckpointError, match=r"not_installed_pkg\.DetectionModel"):
        load_model(path)

    assert asked == []


def test_hooks_in_a_file_are_refused(tmp_path, model):
    twin = copy_model(model)
    twin.model[0]._forward_hooks[0] = torch.nn.SiLU()
    torch.save({"model": twin}, tmp_path / "hooked.pt")

    with pytest.raises(UnsafeCheckpointError, match="hooks"):
        load_model(tmp_path / "hooked.pt")


def test_another_task_is_named(tmp_path):
    torch.save(
        {"model": SegmentationModel("yolov8n-seg.yaml", nc=2, verbose=False)}, tmp_path / "seg.pt"
    )

    with pytest.raises(
        WrongModelError, match=r"seg\.pt is not a YOLOv8 detector.*SegmentationModel"
    ):
        load_model(tmp_path / "seg.pt")


def test_another_family_is_named(tmp_path):
    torch.save({"model": DetectionModel("yolo11n.yaml", nc=2, verbose=False)}, tmp_path / "y11.pt")

    with pytest.raises(
        WrongModelError, match=r"it holds '(Attention|C2PSA|C3k2|C3k|DWConv|PSABlock)'"
    ):
        load_model(tmp_path / "y11.pt")


def test_a_fused_model_is_refused(tmp_path, model):
    fused = copy_model(model).fuse(verbose=False)
    torch.save({"model": fused}, tmp_path / "fused.pt")

    with pytest.raises(WrongModelError, match=r"fused\.pt"):
        load_model(tmp_path / "fused.pt")


def test_bare_weights_are_refused_with_what_to_give(tmp_path, model):
    torch.save({"model": model.state_dict()}, tmp_path / "state.pt")

    with pytest.raises(WrongModelError, match=r"bare weights, not a YOLOv8 detector"):
        load_model(tmp_path / "state.pt")


@pytest.mark.parametrize("content", [b"", b"not a pickle", b"\x89PNG\r\n\x1a\n" + b"0" * 64])
def test_a_file_that_is_no_checkpoint_says_so(tmp_path, content):
    path = tmp_path / "odd.pt"
    path.write_bytes(content)

    with pytest.raises(CheckpointError, match=r"odd\.pt"):
        load_model(path)


def test_a_cut_off_file_says_so(tmp_path, model):
    path = tmp_path / "cut.pt"
    save_stock(model, path)
    path.write_bytes(path.read_bytes()[:20_000])

    with pytest.raises(CheckpointError, match=r"cut\.pt"):
        load_model(path)


@pytest.mark.filterwarnings("ignore:.*torch.jit:FutureWarning")
def test_torchscript_is_no_checkpoint(tmp_path):
    torch.jit.trace(torch.nn.Conv2d(3, 1, 1), torch.zeros(1, 3, 4, 4)).save(tmp_path / "t.pt")

    with pytest.raises(CheckpointError, match=r"t\.pt"):
        load_model(tmp_path / "t.pt")


def test_a_missing_file_and_another_suffix_say_so(tmp_path):
    with pytest.raises(NotFoundError, match=r"yolov8n\.pt"):
        load_model(tmp_path / "yolov8n.pt")
    (tmp_path / "model.onnx").write_bytes(b"x")
    with pytest.raises(CheckpointError, match=r"not a \.pt file"):
        load_model(tmp_path / "model.onnx")


# --- what is loaded -----------------------------------------------------------


def test_a_loaded_model_is_ready_for_every_room(tmp_path, model):
    path = tmp_path / "model.pt"
    save_stock(model, path, imgsz=64)

    loaded = load_model(path)

    assert not loaded.training
    assert all(p.requires_grad and p.dtype == torch.float32 for p in loaded.parameters())
    assert loaded.model[-1].shape is None
    assert loaded.criterion is None
    assert (loaded.args.box, loaded.args.cls, loaded.args.dfl) == (7.5, 0.5, 1.5)


def test_a_loaded_model_gives_gradients_of_the_loss_also_after_inference(tmp_path, model):
    save_stock(model, tmp_path / "model.pt")
    loaded = load_model(tmp_path / "model.pt")
    with torch.inference_mode():
        copy_model(loaded)(torch.rand(1, 3, IMGSZ, IMGSZ))
    batch = {
        "img": torch.rand(1, 3, IMGSZ, IMGSZ),
        "batch_idx": torch.zeros(1),
        "cls": torch.zeros(1, 1),
        "bboxes": torch.tensor([[0.5, 0.5, 0.4, 0.4]]),
    }

    loaded(batch)[0].sum().backward()

    assert float(loaded.model[0].conv.weight.grad.abs().sum()) > 0


def test_torch_pruning_sees_groups_in_a_loaded_model_but_not_in_a_stock_one(tmp_path, model):
    save_work(to_c2f_v2(model), tmp_path / "work.pt")
    save_stock(model, tmp_path / "model.pt")
    stock = torch.load(tmp_path / "model.pt", weights_only=False)["model"].float()
    assert not any(p.requires_grad for p in stock.parameters())

    def groups(net) -> int:
        graph = tp.DependencyGraph().build_dependency(net, torch.zeros(1, 3, IMGSZ, IMGSZ))
        group = graph.get_pruning_group(net.model[0].conv, tp.prune_conv_out_channels, idxs=[0])
        return len(group)

    assert groups(load_model(tmp_path / "work.pt")) > 2
    with pytest.raises(ValueError, match="not in the dependency graph"):
        groups(stock)


def test_the_work_copy_keeps_the_module_exactly(tmp_path):
    pruned = pruned_model()
    save_work(pruned, tmp_path / "work.pt", {"iteration": 3})

    loaded = load_model(tmp_path / "work.pt")

    assert torch.equal(outputs(loaded), outputs(pruned))
    meta = torch.load(tmp_path / "work.pt", weights_only=True)["msip"]
    assert meta["iteration"] == 3
    assert meta["channels"]["model.0.conv"] == (3, pruned.model[0].conv.out_channels)


def test_the_stock_file_gives_the_same_outputs_to_the_last_bit(tmp_path):
    pruned = pruned_model()
    save_stock(pruned, tmp_path / "model.pt")

    assert torch.allclose(outputs(load_model(tmp_path / "model.pt")), outputs(pruned), atol=1e-5)


def test_weights_rounded_to_half_are_stored_in_half_the_room_without_loss(tmp_path, model):
    rounded = round_to_half(model)
    save_stock(model, tmp_path / "full.pt")
    save_stock(rounded, tmp_path / "half.pt")

    assert torch.equal(outputs(load_model(tmp_path / "half.pt")), outputs(rounded))
    sizes = [(tmp_path / name).stat().st_size for name in ("full.pt", "half.pt")]
    assert sizes[1] < 0.62 * sizes[0]  # a thin model's file is a good part pickle
    assert size_mb(model) * 2**20 == pytest.approx(sizes[1], abs=200_000)


def test_equal_weights_are_equal_files_whatever_they_are_called(tmp_path, model):
    for name in ("a", "another"):
        save_stock(copy_model(model), tmp_path / f"{name}.pt")
        save_work(copy_model(model), tmp_path / f"{name}-work.pt")

    assert sha256_of(tmp_path / "a.pt") == sha256_of(tmp_path / "another.pt")
    assert sha256_of(tmp_path / "a-work.pt") == sha256_of(tmp_path / "another-work.pt")


def test_a_file_carries_no_paths_of_this_computer(tmp_path, model):
    twin = copy_model(model)
    twin.pt_path = "/home/someone/secret.pt"
    twin.args.data = "/home/someone/data.yaml"
    torch.save(
        {"model": twin, "train_args": {"data": "/home/someone/data.yaml"}}, tmp_path / "a.pt"
    )

    save_stock(load_model(tmp_path / "a.pt"), tmp_path / "b.pt")

    with zipfile.ZipFile(tmp_path / "b.pt") as archive:
        text = b"".join(archive.read(n) for n in archive.namelist() if n.endswith(".pkl"))
    assert b"someone" not in text
    assert str(tmp_path).encode() not in text


def test_inspecting_says_what_a_file_holds(tmp_path):
    whole = DetectionModel("yolov8n.yaml", nc=2, verbose=False)
    whole.names = dict(enumerate(CLASSES))
    whole.args = {"task": "detect"}
    torch.save({"model": whole, "train_args": {"imgsz": 320}}, tmp_path / "whole.pt")
    save_stock(pruned_model(), tmp_path / "pruned.pt")

    info = inspect_checkpoint(tmp_path / "whole.pt")

    assert info == ("yolov8n", "detect", CLASSES, 3_011_238, False, 320)
    assert inspect_checkpoint(tmp_path / "pruned.pt").pruned
    assert architecture_of(whole) == "yolov8n"


def test_sha256_is_the_files(tmp_path):
    (tmp_path / "a").write_bytes(b"abc")

    assert sha256_of(tmp_path / "a").startswith("ba7816bf8f01cfea")


def _replace_in_pickle(path: Path, old: bytes, new: bytes) -> None:
    with zipfile.ZipFile(path) as archive:
        files = {name: archive.read(name) for name in archive.namelist()}
    with zipfile.ZipFile(path, "w") as archive:
        for name, data in files.items():
            changed = data.replace(old, new) if name.endswith(".pkl") else data
            assert not name.endswith("data.pkl") or changed != data
            archive.writestr(name, changed)


def test_a_copy_is_what_deepcopy_makes_and_shares_nothing(model):
    kept: list[Tensor] = []
    hook = model.model[0].register_forward_hook(lambda _, __, output: kept.append(output))
    again, twin = deepcopy(model), copy_model(model)
    hook.remove()
    image = torch.rand(1, 3, IMGSZ, IMGSZ)
    assert torch.equal(again.eval()(image)[0], twin.eval()(image)[0])
    assert len(kept) == 2, "hooks are copied too"
    parts = dict(model.named_modules())
    for name, part in twin.named_modules():
        assert part is not parts[name]
        assert vars(part).keys() == vars(parts[name]).keys()
        assert part._forward_hooks is not parts[name]._forward_hooks
    mine = {p.data_ptr() for p in model.state_dict().values() if p.numel()}
    assert not mine & {p.data_ptr() for p in twin.state_dict().values() if p.numel()}
