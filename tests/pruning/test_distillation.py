"""The two divergences by hand, the adapters, and which networks can be compared."""

from __future__ import annotations

from math import log

import pytest
import torch
from torch import Tensor

from msip_core.config import DistillOptions, parse_run_config
from msip_core.detector.library import copy_model
from msip_core.errors import ConfigError
from msip_core.pruning.bn import recalibrated
from msip_core.pruning.distillation import (
    Distillation,
    Moments,
    channel_wise,
    feature_error,
    maps_of,
)
from msip_core.pruning.surgery import prune_channels
from tests.importance.kit import drawn_calibration, thin_detector

LAYERS = (15, 18, 21)


def drawn(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


# --- by hand ------------------------------------------------------------------


@pytest.mark.parametrize(("temperature", "expected"), [(1.0, 0.1308), (4.0, 0.1495)])
def test_channel_wise_divergence_of_two_positions(temperature, expected):
    teacher = torch.tensor([0.0, log(3)]).view(1, 1, 1, 2)

    found = channel_wise(torch.zeros(1, 1, 1, 2), teacher, temperature)

    assert float(found) == pytest.approx(expected, abs=5e-5)


def test_it_is_a_mean_over_images_and_channels_not_over_positions():
    teacher = torch.tensor([0.0, log(3)]).view(1, 1, 1, 2)
    many = teacher.expand(3, 5, 1, 2)
    # Two copies of every position halve all probabilities, and change no divergence.
    wide = torch.cat([teacher, teacher], dim=3)

    for maps in (many, wide):
        found = channel_wise(torch.zeros_like(maps), maps)
        assert float(found) == pytest.approx(0.1308, abs=5e-5)


@pytest.mark.parametrize("divergence", [channel_wise, feature_error])
def test_identical_maps_diverge_by_nothing(divergence):
    maps = drawn(2, 3, 4, 5)

    assert float(divergence(maps, maps.clone())) == pytest.approx(0, abs=1e-6)


@pytest.mark.parametrize("divergence", [channel_wise, feature_error])
def test_a_constant_for_each_channel_changes_nothing(divergence):
    student, teacher = drawn(2, 3, 4, 5), drawn(2, 3, 4, 5, seed=1)
    constant = torch.tensor([-2.0, 0.5, 7.0]).view(1, 3, 1, 1)

    expected = divergence(student, teacher)

    assert float(expected) > 0.1
    torch.testing.assert_close(divergence(student + constant, teacher), expected)
    torch.testing.assert_close(divergence(student, teacher + constant), expected)


def test_feature_error_of_opposite_maps_is_four():
    """Standardised to -1 and 1, they are 2 apart everywhere; a factor does not count."""
    teacher = torch.tensor([3.0, 5.0]).view(1, 1, 1, 2)

    assert float(feature_error(-7 * teacher, teacher)) == pytest.approx(4, abs=1e-4)
    assert float(feature_error(7 * teacher, teacher)) == pytest.approx(0, abs=1e-4)


def test_feature_error_is_standardised_over_the_batch_not_in_each_image():
    teacher = torch.tensor([0.0, 0.0, 1.0, 1.0]).view(2, 1, 1, 2)  # image 0 dark, image 1 bright

    assert float(feature_error(-teacher, teacher)) == pytest.approx(4, abs=1e-4)


# --- adapters and teacher -----------------------------------------------------


@pytest.fixture(scope="module")
def teacher():
    """Its batch norms know the images, as after training: train and eval mode nearly agree."""
    return recalibrated(thin_detector(), drawn_calibration())


@pytest.fixture(scope="module")
def student(teacher):
    """Half of the channels that layers 15 and 18 give are gone."""
    twin = copy_model(teacher)
    prune_channels(twin, {f"model.{i}.cv2.conv": range(4) for i in (15, 18)})
    return twin


def distillation(teacher, student, method="cwd", divergence=channel_wise, **options):
    return Distillation(
        teacher,
        student,
        method=method,
        divergence=divergence,
        options=DistillOptions(**options),
        calibration=drawn_calibration(batch=8),
    )


def test_adapters_lead_from_the_students_widths_to_the_teachers(teacher, student):
    shapes = {
        name: tuple(part.weight.shape[:2])
        for name, part in distillation(teacher, student).parts.items()
    }

    wide = {i: teacher.model[i].cv2.conv.out_channels for i in LAYERS}
    thin = {i: student.model[i].cv2.conv.out_channels for i in LAYERS}
    assert shapes == {str(i): (wide[i], thin[i]) for i in LAYERS}
    assert thin[15] == wide[15] - 4


def test_the_least_squares_map_finds_what_made_the_maps():
    x, mixing = drawn(4, 3, 16, 16), drawn(5, 3, seed=1)
    y = torch.einsum("ts,nshw->nthw", mixing, x) + torch.arange(5.0).view(1, 5, 1, 1)
    moments = Moments()

    moments.add(x[:1], y[:1])
    moments.add(x[1:], y[1:])

    torch.testing.assert_close(moments.map(), mixing, rtol=0, atol=5e-3)


def test_adapters_begin_as_the_least_squares_map(teacher, student):
    """Half of the channels are still there, so much of the variance is explained."""
    extra = distillation(teacher, student)
    images = drawn_calibration().pixels(range(8))

    extra.begin(student)

    with torch.no_grad():
        thin = maps_of(copy_model(student).train(), images, LAYERS)
        wide = maps_of(teacher, images, LAYERS)
        for i in LAYERS:
            residual = [
                m - m.mean((0, 2, 3), keepdim=True)
                for m in (wide[i] - extra.parts[str(i)](thin[i]), wide[i])
            ]
            explained = 1 - residual[0].square().mean() / residual[1].square().mean()
            assert float(explained) > 0.3, i


def test_the_loss_is_weighted_and_summed_over_the_layers(teacher, student):
    images = drawn_calibration().pixels(range(2))

    def loss(**options):
        extra = distillation(teacher, student, **options)
        extra.begin(student)
        with extra.watching(student):
            student(images)
            return float(extra(images).detach())

    single = [loss(layers=(i,)) for i in LAYERS]
    assert loss() == pytest.approx(sum(single), rel=1e-5)
    assert loss(weight=3) == pytest.approx(3 * sum(single), rel=1e-5)
    assert min(single) > 0


def test_gradients_reach_student_and_adapters_and_never_the_teacher(teacher, student):
    twin, taught = copy_model(student).train(), copy_model(teacher)
    extra = distillation(taught, twin)
    extra.begin(twin)
    images = drawn_calibration().pixels(range(2))

    with extra.watching(twin):
        twin(images)
        extra(images).backward()

    assert float(twin.model[0].conv.weight.grad.abs().sum()) > 0
    assert float(extra.parts["15"].weight.grad.abs().sum()) > 0
    assert all(p.grad is None for p in (*taught.parameters(), *extra._teacher.parameters()))


@pytest.mark.parametrize("divergence", [channel_wise, feature_error])
def test_following_the_gradient_brings_the_maps_nearer(teacher, student, divergence):
    twin, images = copy_model(student).train(), drawn_calibration().pixels(range(4))
    extra = distillation(teacher, twin, divergence=divergence)
    extra.begin(twin)
    # Steps of one size, since the two losses differ by orders of magnitude.
    optimizer = torch.optim.Adam([*twin.parameters(), *extra.parts.parameters()], lr=2e-3)
    losses = []

    with extra.watching(twin):
        for _ in range(6):
            optimizer.zero_grad()
            twin(images)
            loss = extra(images)
            loss.backward()
            optimizer.step()
            losses.append(float(loss))

    assert losses[-1] < 0.9 * losses[0]


def test_nothing_is_seen_once_watching_has_ended(teacher, student):
    extra = distillation(teacher, student)

    with extra.watching(student):
        pass

    assert not any(module._forward_hooks for module in student.modules())


def test_the_fingerprint_tells_teachers_options_and_divergences_apart(teacher, student):
    facts = [
        distillation(teacher, student).facts,
        distillation(thin_detector(seed=5), student).facts,
        distillation(teacher, student, temperature=4).facts,
        distillation(teacher, student, method="feature").facts,
    ]

    assert all(a != b for i, a in enumerate(facts) for b in facts[:i])


# --- what cannot be compared --------------------------------------------------


def test_a_layer_that_the_detector_has_not_is_named(teacher, student):
    with pytest.raises(ConfigError, match=r"cannot compare layer 22: .* layers 0 to 21"):
        distillation(teacher, student, layers=(15, 22))


def test_another_graph_is_refused(teacher, student):
    other = copy_model(teacher)
    other.model[-1].f = [18, 21, 24]

    with pytest.raises(ConfigError, match="the head of this detector reads 18, 21, 24"):
        distillation(other, student)


def test_a_student_with_other_layers_is_refused(teacher, student):
    other = copy_model(student)
    other.model[20].f = [-1, 8]

    with pytest.raises(ConfigError, match="have different layers"):
        distillation(teacher, other)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"layers": [15, 15]}, "every layer can be compared only once"),
        ({"layers": []}, "distill.layers"),
        ({"temperature": 0}, "distill.temperature"),
        ({"weight": -1}, "distill.weight"),
    ],
)
def test_senseless_options_are_refused(options, words):
    with pytest.raises(ConfigError, match=words):
        parse_run_config({"kind": "prune", "dataset": "d", "model": "m", "distill": options})
