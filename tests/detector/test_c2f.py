"""C2f opened for pruning, and laid out in stock layers again."""

from __future__ import annotations

import pytest
import torch
import torch_pruning as tp
from torch import nn
from ultralytics.nn.modules import C2f, Concat

from msip_core.detector.c2f import C2fV2, new_conv_names, to_c2f_v2, to_stock
from msip_core.detector.library import DetectionModel, copy_model
from msip_core.errors import WrongModelError
from tests.detector.conftest import IMGSZ, outputs, pruned_model, thin_model


@pytest.fixture(scope="module")
def model() -> DetectionModel:
    return thin_model()


@pytest.fixture(scope="module")
def pruned() -> DetectionModel:
    return pruned_model()


def cost(model: DetectionModel) -> tuple[float, float]:
    return tp.utils.count_ops_and_params(copy_model(model), torch.zeros(1, 3, IMGSZ, IMGSZ))


def blocks(model: DetectionModel, kind: type) -> list[str]:
    return [name for name, module in model.named_modules() if type(module) is kind]


def test_opening_c2f_leaves_every_output_bit_identical(model):
    opened = to_c2f_v2(model)

    assert blocks(opened, C2f) == []
    assert len(blocks(opened, C2fV2)) == 8
    assert torch.equal(outputs(opened), outputs(model))


def test_opening_c2f_leaves_parameters_and_macs_as_they_are(model):
    assert cost(to_c2f_v2(model)) == cost(model)


def test_opening_takes_over_batch_norm_settings_and_routing(model):
    old, new = model.model[4], to_c2f_v2(model).model[4]

    assert (new.f, new.i, new.type, new.np) == (old.f, old.i, old.type, old.np)
    half = old.cv1.conv.out_channels // 2
    for part, rows in ((new.cv0, slice(0, half)), (new.cv1, slice(half, 2 * half))):
        assert (part.bn.eps, part.bn.momentum) == (old.cv1.bn.eps, old.cv1.bn.momentum)
        for name in ("weight", "bias", "running_mean", "running_var"):
            assert torch.equal(getattr(part.bn, name), getattr(old.cv1.bn, name)[rows])


def test_l1_at_the_transfer_moves_the_copied_weights_by_at_most_its_strength(model):
    exact, moved = to_c2f_v2(model), to_c2f_v2(model, prox=0.01)

    before, after = exact.state_dict(), moved.state_dict()
    copied = {f"{name}.{part}.weight" for name in new_conv_names(exact) for part in ("conv", "bn")}
    for name, was in before.items():
        now = after[name]
        if name not in copied:
            assert torch.equal(now, was)
            continue
        assert float((now - was).abs().max()) == pytest.approx(0.01, abs=1e-7)
        expected = was.sign() * (was.abs() - 0.01).clamp(min=0)
        torch.testing.assert_close(now, expected)
    assert any(bool((after[name] == 0).any()) for name in copied)
    assert not torch.equal(outputs(moved), outputs(exact))


def test_the_new_convolutions_are_named_for_the_l1_term(model):
    names = new_conv_names(to_c2f_v2(model))

    assert len(names) == 16
    assert names[:2] == ("model.2.cv0", "model.2.cv1")


def test_opening_leaves_the_callers_model_alone(model):
    before = {name: value.clone() for name, value in model.state_dict().items()}

    to_c2f_v2(model).model[2].cv2.conv.weight.data.zero_()

    assert all(torch.equal(before[name], value) for name, value in model.state_dict().items())


def test_a_fused_model_cannot_be_opened(model):
    with pytest.raises(WrongModelError, match="fused"):
        to_c2f_v2(copy_model(model).fuse(verbose=False))


def test_halves_of_equal_width_become_one_c2f_again(model):
    closed = to_stock(to_c2f_v2(model))

    assert [type(layer) for layer in closed.model] == [type(layer) for layer in model.model]
    assert [layer.f for layer in closed.model] == [layer.f for layer in model.model]
    assert closed.save == model.save
    assert all(
        torch.equal(a, b)
        for a, b in zip(closed.state_dict().values(), model.state_dict().values(), strict=True)
    )


def test_unequal_halves_are_laid_out_with_equal_outputs_and_equal_cost(pruned):
    stock = to_stock(pruned)

    assert any(
        b.cv0.conv.out_channels != b.cv1.conv.out_channels
        for b in pruned.modules()
        if isinstance(b, C2fV2)
    )
    assert len(blocks(stock, Concat)) > len(blocks(pruned, Concat))
    assert torch.allclose(outputs(stock), outputs(pruned), atol=1e-5)
    assert cost(stock) == cost(pruned)


def test_the_layout_consists_of_stock_classes_only(pruned):
    homes = {type(module).__module__.split(".")[0] for module in to_stock(pruned).modules()}

    assert homes == {"torch", "ultralytics"}


def test_the_layout_survives_fusing(pruned):
    fused = to_stock(pruned).fuse(verbose=False)

    assert torch.allclose(outputs(fused), outputs(pruned), atol=1e-3)


def test_the_layout_can_be_trained_and_pruned_further(pruned):
    stock = to_stock(pruned)
    for parameter in stock.parameters():
        parameter.requires_grad_(True)
    graph = tp.DependencyGraph().build_dependency(stock, torch.zeros(1, 3, IMGSZ, IMGSZ))
    conv = stock.model[0].conv
    group = graph.get_pruning_group(conv, tp.prune_conv_out_channels, idxs=[0])
    width = conv.out_channels

    group.prune()

    assert conv.out_channels == width - 1
    assert outputs(stock).shape == outputs(pruned).shape


def test_without_bottlenecks_a_block_is_laid_out_too(pruned):
    model = copy_model(pruned)
    opened = [m for m in model.modules() if isinstance(m, C2fV2)]
    block = next(m for m in opened if m.cv0.conv.out_channels != m.cv1.conv.out_channels)
    kept = block.cv0.conv.out_channels + block.cv1.conv.out_channels
    block.m = nn.ModuleList()
    block.cv2.conv.weight = nn.Parameter(block.cv2.conv.weight[:, :kept].clone())
    block.cv2.conv.in_channels = kept

    assert torch.allclose(outputs(to_stock(model)), outputs(model), atol=1e-5)


def test_torch_pruning_cannot_follow_plain_c2f_which_is_why_it_is_opened(model):
    twin = copy_model(model)
    head = twin.model[-1]
    last = [branch[2] for pair in (head.cv2, head.cv3) for branch in pair]

    with pytest.raises(IndexError):
        tp.pruner.MagnitudePruner(
            twin,
            torch.zeros(1, 3, IMGSZ, IMGSZ),
            importance=tp.importance.MagnitudeImportance(),
            pruning_ratio=0.3,
            ignored_layers=[*last, head.dfl],
        ).step()
