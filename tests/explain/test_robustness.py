from __future__ import annotations

import copy
import itertools

import numpy as np
import pytest
import torch

from msip_core.boxes import Box
from msip_core.detector.frame import Frame
from msip_core.errors import ConfigError, InputError
from msip_core.explain import cam, robustness
from msip_core.explain.targets import private_copy
from tests.explain.toy import IMGSZ, micrograph

BOX = Box(cls=0, x1=8, y1=8, x2=88, y2=88)


def test_noise_is_the_same_for_every_model_and_another_for_every_image_and_strength():
    pixels = np.full((40, 40, 3), 0.5, np.float32)

    first = robustness.add_noise(pixels, 0.05, "well-1")

    np.random.seed(9)
    np.testing.assert_array_equal(first, robustness.add_noise(pixels, 0.05, "well-1"))
    assert not np.array_equal(first, robustness.add_noise(pixels, 0.05, "well-2"))
    stronger = robustness.add_noise(pixels, 0.1, "well-1")
    assert abs(np.corrcoef((first - 0.5).ravel(), (stronger - 0.5).ravel())[0, 1]) < 0.05


def test_noise_has_the_asked_strength_and_stays_between_black_and_white():
    grey = np.full((200, 200, 3), 0.5, np.float32)
    noisy = robustness.add_noise(grey, 0.05, "a")
    assert (noisy - grey).std() == pytest.approx(0.05, rel=0.02)
    assert (noisy - grey).mean() == pytest.approx(0, abs=5e-4)

    white = robustness.add_noise(np.ones((50, 50)), 0.2, "a")
    assert white.max() == 1
    assert white.min() > 0


def test_no_noise_changes_nothing_and_the_input_is_never_changed():
    pixels = np.random.default_rng(0).random((8, 8)).astype(np.float32)
    before = pixels.copy()

    np.testing.assert_array_equal(robustness.add_noise(pixels, 0, "a"), pixels)
    robustness.add_noise(pixels, 0.2, "a")
    np.testing.assert_array_equal(pixels, before)


def test_noise_on_the_wrong_scale_is_refused():
    with pytest.raises(InputError, match="divide 8-bit pixels by 255"):
        robustness.add_noise(np.array([0.0, 128.0]), 0.05, "a")
    with pytest.raises(ConfigError, match="negative strength"):
        robustness.add_noise(np.zeros(3), -0.1, "a")


def test_a_map_correlates_fully_with_itself_and_with_any_stretch_of_it():
    heat = np.random.default_rng(0).random((80, 90)) + 0.1

    assert robustness.map_correlation(heat, heat) == pytest.approx(1)
    small = heat[:40, :40]
    assert robustness.map_correlation(small, 3 * small**2) == pytest.approx(1)
    assert robustness.map_correlation(small, 2 - small) == pytest.approx(-1)


def test_shared_emptiness_does_not_make_two_maps_alike():
    a, b = np.zeros((60, 60)), np.zeros((60, 60))
    rng = np.random.default_rng(0)
    a[15:45, 15:45], b[15:45, 15:45] = rng.random((2, 30, 30)) + 0.1

    assert np.corrcoef(a.ravel(), b.ravel())[0, 1] > 0.7
    assert abs(robustness.map_correlation(a, b)) < 0.2


def test_an_empty_map_cannot_be_compared():
    heat = np.random.default_rng(0).random((20, 20))

    assert robustness.map_correlation(heat, np.zeros((20, 20))) is None
    with pytest.raises(InputError, match="cannot be compared"):
        robustness.map_correlation(heat, heat[:10])


def test_shuffling_keeps_the_values_of_every_tensor_and_the_fixed_ramp(yolo):
    twin, again = private_copy(yolo), private_copy(yolo)
    for one in (twin, again):
        robustness.shuffle(one, torch.Generator().manual_seed(3))

    changed = 0
    for (name, before), after in zip(yolo.named_parameters(), twin.parameters(), strict=True):
        torch.testing.assert_close(before.flatten().sort()[0], after.flatten().sort()[0])
        changed += not torch.equal(before, after)
        if "dfl" in name:
            assert torch.equal(before, after)
    assert changed > 0.9 * len([p for p in yolo.parameters() if p.unique().numel() > 1])
    assert all(torch.equal(a, b) for a, b in zip(twin.parameters(), again.parameters()))


def test_the_check_leaves_the_model_alone_and_repeats_itself(yolo):
    model, image = copy.deepcopy(yolo), micrograph()
    before = {k: v.clone() for k, v in model.state_dict().items()}
    learned = cam.explain_detection(model, image, BOX, imgsz=IMGSZ, method="eigencam")

    checks = [
        robustness.randomised_check(model, image, learned, imgsz=IMGSZ, method="eigencam")
        for _ in range(2)
    ]

    assert checks[0] == checks[1]
    assert checks[0].draws == 5
    assert list(checks[0].cascade) == [
        "head",
        "head and neck",
        "head, neck and deep backbone",
        "all weights",
    ]
    assert all(torch.equal(v, before[k]) for k, v in model.state_dict().items())


def test_a_map_that_ignores_the_weights_fails_the_check(yolo, monkeypatch):
    image = micrograph()
    learned = cam.explain_detection(yolo, image, BOX, imgsz=IMGSZ)
    monkeypatch.setattr(robustness, "explain_target", lambda *given, **more: learned)

    check = robustness.randomised_check(yolo, image, learned, imgsz=IMGSZ)

    assert check.correlation == pytest.approx(1)
    assert check.passed is False
    assert "do not read it as what the model has learned" in check.verdict


def test_a_map_that_follows_the_weights_passes_the_check(yolo, monkeypatch):
    image = micrograph()
    frame = Frame.fit(image, IMGSZ)
    learned = cam.explain_detection(yolo, image, BOX, imgsz=IMGSZ)
    turned = cam.CamResult(
        np.random.default_rng(0).random(frame.image).astype(np.float32),
        learned.maps,
        learned.layers,
        learned.skipped,
        learned.target,
        "",
    )
    monkeypatch.setattr(robustness, "explain_target", lambda *given, **more: turned)

    check = robustness.randomised_check(yolo, image, learned, imgsz=IMGSZ)

    assert check.passed is True
    assert "depends on what was learned" in check.verdict


def fake_maps(monkeypatch, learned, correlations) -> None:
    """Shuffled networks whose maps correlate so with the learned one, in turn of the draws."""
    monkeypatch.setattr(robustness, "explain_target", lambda *given, **more: learned)
    values = iter([value for value in correlations for _ in range(4)])  # four depths
    monkeypatch.setattr(robustness, "map_correlation", lambda a, b: next(values))


@pytest.mark.parametrize(
    ("correlations", "passed", "words"),
    [
        ((0.1, 0.2, 0.1, 0.2, 0.1), True, "depends on what was learned"),
        ((0.9, 0.8, 0.9, 0.8, 0.9), False, "do not read it"),
        ((0.1, 0.9, 0.2, 0.8, 0.3), None, "is not clear"),  # the mean alone, .46, would pass
    ],
)
def test_the_verdict_is_that_of_the_interval_over_draws(
    yolo, monkeypatch, correlations, passed, words
):
    from scipy.stats import t

    learned = cam.explain_detection(yolo, micrograph(), BOX, imgsz=IMGSZ)
    fake_maps(monkeypatch, learned, correlations)

    check = robustness.randomised_check(yolo, micrograph(), learned, imgsz=IMGSZ)

    half = t.ppf(0.975, 4) * np.std(correlations, ddof=1) / np.sqrt(5)
    assert check.correlation == pytest.approx(np.mean(correlations))
    assert check.high == pytest.approx(min(1, np.mean(correlations) + half))
    assert check.passed is passed
    assert words in check.verdict


def test_weights_are_shuffled_from_the_output_down(yolo, monkeypatch):
    """After the first step only the head has changed, after the last everything."""
    image, changed = micrograph(), []
    learned = cam.explain_detection(yolo, image, BOX, imgsz=IMGSZ)

    def look(model, *given, **more):
        pairs = zip(yolo.named_parameters(), model.parameters(), strict=True)
        moved = {int(name.split(".")[1]) for (name, a), b in pairs if not torch.equal(a, b)}
        changed.append(moved)
        return learned

    monkeypatch.setattr(robustness, "explain_target", look)
    robustness.randomised_check(yolo, image, learned, imgsz=IMGSZ, draws=1)

    assert [min(moved) for moved in changed] == [22, 12, 5, 0]  # 10 and 11 hold no weights
    assert all(a < b for a, b in itertools.pairwise(changed))


def test_an_empty_map_is_not_judged(yolo):
    image = micrograph()
    learned = cam.explain_detection(yolo, image, BOX, imgsz=IMGSZ)
    empty = cam.CamResult(np.zeros_like(learned.heat), {}, (), learned.skipped, learned.target, "")

    check = robustness.randomised_check(yolo, image, empty, imgsz=IMGSZ, draws=1)

    assert (check.correlation, check.passed) == (None, None)
    assert "No check" in check.verdict
