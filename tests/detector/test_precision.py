"""bfloat16 where the processor multiplies in it, float32 wherever it matters or is asked for."""

from __future__ import annotations

import pytest
import torch

from msip_core.config import TrainConfig
from msip_core.detector import devices
from msip_core.detector.devices import as_float32, computing_in, laid_out, training_dtype
from msip_core.detector.library import hyperparameters
from msip_core.detector.pool import DataPool
from msip_core.detector.training import fit
from msip_core.recipes import TrainingRecipe
from tests.detector.conftest import IMGSZ, thin_model


@pytest.fixture
def native(monkeypatch):
    """A processor that multiplies in bfloat16."""
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: {"avx512_bf16": True})


def test_a_processor_with_bfloat16_instructions_trains_in_them(native):
    assert training_dtype("cpu") is torch.bfloat16


def test_a_processor_without_them_trains_in_float32(monkeypatch):
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: {"avx2": True})

    assert training_dtype("cpu") is None


def test_fp32_can_be_asked_for_and_is_kept_in_the_runs_settings(native):
    config = TrainConfig(dataset="d", weights="yolov8n.yaml", precision="fp32")

    assert training_dtype("cpu", config.precision) is None
    assert TrainConfig.model_validate_json(config.model_dump_json()) == config


def test_torch_still_tells_what_a_processor_can():
    """The hook that we rely on, and the names that it uses on x86."""
    found = torch.cpu.get_capabilities()

    if found.get("architecture") != "x86_64":
        pytest.skip("the names are those of x86")
    assert set(devices._NATIVE) <= set(found)


def test_a_nest_of_tensors_comes_back_in_float32_and_keeps_its_shape():
    half = torch.ones(2, dtype=torch.bfloat16)

    found = as_float32({"feats": [half, half], "pair": (half, 3)})

    assert found["feats"][1].dtype is found["pair"][0].dtype is torch.float32
    assert found["pair"][1] == 3


def test_anchors_beyond_128_cells_differ_by_one_only_in_float32():
    cells = torch.arange(128, 131) + 0.5

    assert len(cells.to(torch.bfloat16).unique()) < 3
    assert as_float32(cells).diff().tolist() == [1.0, 1.0]


def test_the_order_of_weights_changes_no_number():
    torch.manual_seed(0)
    model, image = thin_model().eval(), torch.rand(1, 3, 64, 64)
    with torch.no_grad():
        before = model(image)[0]
        after = laid_out(model, "cpu")(image)[0]
    weight = model.model[1].conv.weight

    assert weight.is_contiguous(memory_format=torch.channels_last)
    assert not weight.is_contiguous()
    torch.testing.assert_close(before, after, rtol=1e-4, atol=1e-4)


def test_weights_and_loss_stay_in_float32_while_convolutions_do_not():
    model, seen = thin_model().train(), []
    model.model[0].conv.register_forward_hook(lambda _, __, out: seen.append(out.dtype))

    with computing_in(torch.bfloat16, "cpu"):
        found = as_float32(model(torch.rand(1, 3, 64, 64)))

    assert seen == [torch.bfloat16]
    assert found["scores"].dtype is torch.float32
    assert {p.dtype for p in model.parameters()} == {torch.float32}


def test_the_gradient_in_bfloat16_points_where_that_in_float32_does():
    torch.manual_seed(0)
    model = thin_model().train().requires_grad_(True)
    model.args = hyperparameters()
    batch = {
        "img": torch.rand(4, 3, 64, 64),
        "batch_idx": torch.arange(4.0),
        "cls": torch.zeros(4, 1),
        "bboxes": torch.tensor([[0.5, 0.5, 0.4, 0.4]]).repeat(4, 1),
    }
    losses, gradients = [], []
    for dtype in (torch.bfloat16, None):
        model.zero_grad()
        with computing_in(dtype, "cpu"):
            found = model(batch["img"])
        loss = model.loss(batch, as_float32(found))[0].sum()
        loss.backward()
        losses.append(float(loss.detach()))
        gradients.append(
            torch.cat([p.grad.flatten() for p in model.parameters() if p.grad is not None])
        )

    assert losses[0] == pytest.approx(losses[1], rel=0.05)
    assert torch.cosine_similarity(*gradients, dim=0) > 0.8


def test_a_fit_takes_bfloat16_only_where_it_may(native, dataset, history, tmp_path):
    ends = []
    for wanted in ("auto", "fp32", "fp32"):
        result = fit(
            thin_model(), TrainingRecipe(epochs=1, warmup_epochs=0, close_mosaic=0),
            pool=DataPool(dataset, imgsz=IMGSZ, batch=4), workdir=tmp_path / f"{wanted}{len(ends)}",
            seed=0, phase="finetune", iteration=1, ctx=history(), validate_every=0,
            precision=wanted,
        )  # fmt: skip
        ends.append(result.model.model[0].conv.weight)

    assert torch.equal(ends[1], ends[2])
    assert not torch.equal(ends[0], ends[1])
