"""The divergence of predictions by hand, and whose weights it pulls at."""

from __future__ import annotations

from math import log

import pytest
import torch
from torch import Tensor, nn

from msip_core.config import DistillOptions
from msip_core.detector.library import copy_model
from msip_core.errors import ConfigError
from msip_core.groups.coupling import prunable_groups
from msip_core.pruning.bn import recalibrated
from msip_core.pruning.distillation import Moments
from msip_core.pruning.prediction_distillation import (
    PredictionDistillation,
    check_head,
    prediction_error,
)
from msip_core.pruning.surgery import prune_channels
from tests.importance.kit import drawn_calibration, thin_detector


def raw(scores: list[float], sides: list[list[float]] | None = None) -> dict[str, Tensor]:
    """One image, one class, one position for each score; sides of two bins, all four alike."""
    sides = sides or [[0.0, 0.0] for _ in scores]
    boxes = torch.tensor(sides).T.repeat(4, 1)[None]
    return {"scores": torch.tensor([[scores]]), "boxes": boxes}


# --- by hand ------------------------------------------------------------------


def test_equal_predictions_differ_by_nothing():
    one = raw([2.0, -1.0], [[1.0, 0.0], [0.0, 3.0]])

    assert float(prediction_error(one, one)) == pytest.approx(0, abs=1e-7)


def test_classes_count_by_how_far_the_probabilities_are_apart():
    """t = .75, s = .5: |s - t| = .25, cross-entropy log 2, and P = .75."""
    found = prediction_error(raw([0.0]), raw([log(3)]))

    assert float(found) == pytest.approx(0.25 * log(2) / 0.75, rel=1e-5)


@pytest.mark.parametrize("temperature", [1.0, 2.0])
def test_boxes_count_by_the_divergence_of_their_sides(temperature):
    """Teacher (1/4, 3/4) at T = 1, student (1/2, 1/2); four times, as CrossKD weighs them."""
    found = prediction_error(raw([0.0]), raw([0.0], [[0.0, log(3)]]), temperature)

    p = 3 ** (1 / temperature) / (1 + 3 ** (1 / temperature))
    divergence = p * log(2 * p) + (1 - p) * log(2 * (1 - p))
    assert float(found) == pytest.approx(4 * temperature**2 * divergence, rel=1e-5)


def test_boxes_where_the_teacher_sees_nothing_hardly_count():
    sides = [[0.0, 0.0], [0.0, 9.0]]
    teacher = raw([4.0, -9.0], sides)

    seen = prediction_error(raw([4.0, -9.0], [[0.0, 9.0], sides[1]]), teacher)
    unseen = prediction_error(raw([4.0, -9.0], [sides[0], [0.0, 0.0]]), teacher)

    assert float(unseen) < 1e-3 * float(seen)


def test_a_batch_in_which_the_teacher_sees_nothing_is_finite():
    assert torch.isfinite(prediction_error(raw([0.0]), raw([-200.0])))


def test_the_least_squares_map_with_its_bias_finds_what_made_the_maps():
    generator = torch.Generator().manual_seed(0)
    x, mixing = (torch.randn(s, generator=generator) for s in ((4, 3, 16, 16), (5, 3)))
    shift = torch.arange(5.0)
    moments = Moments()

    moments.add(x, torch.einsum("ts,nshw->nthw", mixing, x) + shift.view(1, 5, 1, 1))

    weight, bias = moments.map_with_bias()
    torch.testing.assert_close(weight, mixing, rtol=0, atol=5e-3)
    torch.testing.assert_close(bias, shift, rtol=0, atol=5e-3)


# --- with a teacher -----------------------------------------------------------


@pytest.fixture(scope="module")
def teacher():
    return recalibrated(thin_detector(), drawn_calibration())


@pytest.fixture(scope="module")
def student(teacher):
    """A quarter of every group is gone."""
    twin = copy_model(teacher)
    groups = prunable_groups(twin).groups
    prune_channels(twin, {name: range(len(g[0].idxs) // 4) for name, g in groups.items()})
    return twin


def extra(teacher, student, crossed: bool, **options) -> PredictionDistillation:
    return PredictionDistillation(
        teacher,
        student,
        crossed=crossed,
        options=DistillOptions(**options),
        calibration=drawn_calibration(batch=8),
    )


def told(teacher, student, crossed: bool, **options) -> tuple[Tensor, nn.Module]:
    """The loss of a fresh distillation on one batch, and the network that it looked at."""
    model, loss = copy_model(student).train(), extra(teacher, student, crossed, **options)
    loss.begin(model)
    images = drawn_calibration().pixels(range(4))
    with loss.watching(model):
        model(images)
        return loss(images), model


def test_only_the_cross_head_has_adapters_from_the_students_widths_to_the_teachers(
    teacher, student
):
    plain, crossed = (extra(teacher, student, crossed) for crossed in (False, True))

    assert not list(plain.parts.parameters())
    for i in range(3):
        for part, branch in (("boxes", "cv2"), ("scores", "cv3")):
            shape = crossed.parts.get_submodule(f"{part}-{i}").weight.shape[:2]
            wide, thin = (
                getattr(m.model[-1], branch)[i][0].conv.out_channels for m in (teacher, student)
            )
            assert tuple(shape) == (wide, thin)
            assert thin < wide


@pytest.mark.parametrize("crossed", [False, True])
def test_an_unpruned_student_in_eval_mode_differs_by_nothing(teacher, crossed):
    """The adapter of the cross-head begins as what leads from a map to itself."""
    loss, images = extra(teacher, teacher, crossed), drawn_calibration().pixels(range(4))
    twin = copy_model(teacher).eval()
    for name, part in loss.parts.named_parameters():
        width = part.shape[0]
        part.data.copy_(torch.eye(width)[:, :, None, None] if name.endswith("weight") else part)

    with loss.watching(twin), torch.no_grad():
        twin(images)
        if not crossed:
            loss._heard["raw"] = loss._heard["raw"][1]  # in eval mode: decoded, raw
        found = loss(images)

    assert float(found) == pytest.approx(0, abs=1e-6)


def test_cross_head_pulls_at_the_first_layers_of_the_head_and_not_at_its_last(teacher, student):
    """Labels alone teach the last ones; own predictions would pull at all of them."""
    for crossed in (False, True):
        loss, model = told(teacher, student, crossed)
        loss.backward()
        head = model.model[-1]
        for branches in (head.cv2, head.cv3):
            for branch in branches:
                first, last = branch[0].conv.weight.grad, branch[-1].weight.grad
                assert first is not None
                assert float(first.abs().sum()) > 0
                assert (last is None) == crossed
        assert model.model[0].conv.weight.grad is not None


@pytest.mark.parametrize("crossed", [False, True])
def test_the_weight_scales_the_loss_and_the_temperature_changes_it(teacher, student, crossed):
    once, twice, soft = (
        float(told(teacher, student, crossed, **options)[0])
        for options in ({}, {"weight": 2.0}, {"temperature": 4.0})
    )

    assert once > 0
    assert twice == pytest.approx(2 * once, rel=1e-4)
    assert soft != pytest.approx(once, rel=0.01)


def test_the_teacher_learns_nothing(teacher, student):
    loss, _ = told(teacher, student, crossed=True)

    loss.backward()

    assert all(p.grad is None for p in teacher.parameters())


def test_a_head_with_other_branches_is_refused_in_a_sentence(teacher):
    twin = copy_model(teacher)
    twin.model[-1].one2one_cv2 = nn.ModuleList()

    with pytest.raises(ConfigError, match="choose the recovery 'finetune'"):
        check_head(twin)
