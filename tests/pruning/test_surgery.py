"""The cut, and the integration pitfalls of the method sheet (section 1) around it."""

from __future__ import annotations

import pytest
import torch
import torch_pruning as tp

from msip_core.detector.library import DetectionModel, copy_model
from msip_core.errors import WrongModelError
from msip_core.groups.coupling import fixed_layers, prunable_groups
from msip_core.pruning.surgery import channel_counts, prune_channels
from tests.importance.kit import IMGSZ, thin_detector


def third(groups) -> dict[str, list[int]]:
    return {name: list(range(len(group[0].idxs) // 3)) for name, group in groups.items()}


def test_fifty_nine_groups_and_the_ends_of_the_head_are_in_none(detector: DetectionModel):
    groups = prunable_groups(detector).groups

    fixed = {id(layer) for layer in fixed_layers(detector)} | {
        id(m) for m in detector.model[-1].dfl.modules()
    }
    assert len(groups) == 59
    outs = [
        i.dep.layer
        for g in groups.values()
        for i in g.items
        if i.dep.pruning_fn == tp.prune_conv_out_channels
    ]
    assert not any(id(layer) in fixed for layer in outs)
    assert any(name.startswith("model.22.cv2.0.0") for name in groups)  # head interior is prunable


def test_plain_c2f_cannot_be_traced_and_says_what_to_do():
    with pytest.raises(WrongModelError, match="convert its C2f blocks"):
        prunable_groups(DetectionModel("yolov8n.yaml", nc=2, verbose=False))


def test_a_checkpoint_with_gradients_off_is_pruned_all_the_same(detector: DetectionModel):
    """torch-pruning traces autograd: it would find an empty graph and prune nothing."""
    model = copy_model(detector)
    for parameter in model.parameters():
        parameter.requires_grad_(False)

    assert len(prunable_groups(model).groups) == 59
    assert not any(p.requires_grad for p in model.parameters())

    before = sum(p.numel() for p in model.parameters())
    prune_channels(model, {"model.0.conv": [0, 1]})
    assert sum(p.numel() for p in model.parameters()) < before


@pytest.mark.parametrize("training", [True, False])
def test_tracing_and_cutting_leave_the_mode_alone(detector: DetectionModel, training: bool):
    model = copy_model(detector).train(training)

    groups = prunable_groups(model).groups
    prune_channels(model, third(groups))

    assert all(m.training == training for m in model.modules())


def test_a_model_that_predicted_under_inference_mode_can_be_cut(detector: DetectionModel):
    model = copy_model(detector)
    with torch.inference_mode():
        model(torch.zeros(1, 3, IMGSZ, IMGSZ))

    prune_channels(model, {"model.0.conv": [0]})

    model(torch.zeros(1, 3, IMGSZ, IMGSZ))[0].sum().backward()


def test_the_cut_goes_through_everything_that_is_coupled(detector: DetectionModel):
    model = copy_model(detector)
    groups = prunable_groups(model).groups
    before = channel_counts(model)

    prune_channels(model, third(groups))

    after = channel_counts(model)
    for name, group in groups.items():
        assert after[name] == before[name] - len(group[0].idxs) // 3
    assert after["model.22.dfl.conv"] == 1
    assert torch.equal(
        model.model[-1].dfl.conv.weight.flatten(), torch.arange(16.0)
    )  # DFL never changes
    model.train()
    assert model(torch.zeros(2, 3, IMGSZ, IMGSZ))["scores"].shape[1] == 2
    shortcut = model.model[2]
    assert shortcut.c == shortcut.cv1.conv.out_channels


def test_parameters_are_new_objects_so_an_old_optimizer_would_train_nothing(
    detector: DetectionModel,
):
    model = copy_model(detector)
    old = model.model[0].conv.weight
    stale = torch.optim.SGD(model.parameters(), lr=1.0)

    prune_channels(model, {"model.0.conv": [0]})

    assert model.model[0].conv.weight is not old
    assert not any(
        p is model.model[0].conv.weight for group in stale.param_groups for p in group["params"]
    )


def test_the_graph_of_before_does_not_know_the_model_of_after(detector: DetectionModel):
    model = copy_model(detector)
    for _ in range(2):
        prune_channels(model, third(prunable_groups(model).groups))

    assert model(torch.zeros(1, 3, IMGSZ, IMGSZ))[0].shape[1] == 6


def test_a_layer_cannot_lose_everything(detector: DetectionModel):
    width = channel_counts(detector)["model.0.conv"]

    with pytest.raises(ValueError, match=f"would lose all of its {width} channels"):
        prune_channels(copy_model(detector), {"model.0.conv": list(range(width))})


def test_group_names_stay_from_one_iteration_to_the_next():
    model = thin_detector(0.125)
    names = list(prunable_groups(model).groups)

    prune_channels(model, third(prunable_groups(model).groups))

    assert list(prunable_groups(model).groups) == names
