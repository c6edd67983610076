from __future__ import annotations

import numpy as np
import pytest
import torch
from ultralytics.nn.tasks import DetectionModel

from msip_core.boxes import Box
from msip_core.detector.frame import Frame
from msip_core.errors import ConfigError, Stopped
from msip_core.explain import shapley
from msip_core.explain.boundary import concentration
from msip_core.explain.permutations import converge
from msip_core.explain.shapley import CPU_PIXELS, batch_size, evaluate_batched
from msip_core.explain.superpixels import BLUR_SIGMA, Patchwork, blurred, segment
from msip_core.explain.targets import Candidates, private_copy, similarity
from tests.explain.toy import (
    GREEN_BOX,
    IMGSZ,
    RED_BOX,
    ColourDetector,
    energy_in,
    micrograph,
    red_and_green,
)

BOX = Box(cls=0, x1=20, y1=10, x2=80, y2=60)


# --- the game alone -----------------------------------------------------------


def test_a_linear_game_gives_weight_times_change_of_each_feature():
    rng = np.random.default_rng(0)
    w, x, b = rng.normal(size=(3, 12))

    phi, base, score = shapley.kernel_shap(
        lambda masks: np.where(masks > 0, x, b) @ w, features=12, samples=200, seed=0
    )

    np.testing.assert_allclose(phi, w * (x - b), atol=1e-8)
    assert (base, score) == (pytest.approx(b @ w), pytest.approx(x @ w))


def test_an_and_game_is_shared_between_its_two_players():
    phi, base, score = shapley.kernel_shap(
        lambda masks: masks[:, 0] * masks[:, 2], features=4, samples=30, seed=0
    )

    np.testing.assert_allclose(phi, [0.5, 0, 0.5, 0], atol=1e-8)  # pairs interact: exact
    assert (base, score) == (0, 1)


def five_of_a_hundred(masks: np.ndarray) -> np.ndarray:
    """Only five players matter, and only together."""
    return 1 / (1 + np.exp(-(masks[:, :5].sum(1) * 2 - 4)))


@pytest.mark.parametrize("samples", [200, 300, 512, 1000, 2048])
def test_concentration_does_not_depend_on_the_number_of_samples(samples: int):
    phi, base, score = shapley.kernel_shap(five_of_a_hundred, 100, samples, 0)

    assert concentration(phi) == pytest.approx(1)
    np.testing.assert_array_equal(phi[5:], 0)
    assert phi.sum() == pytest.approx(score - base)


def test_values_are_those_of_all_orders_in_a_game_of_three_together():
    """Majority of five: every player is worth a fifth."""
    phi, _, _ = shapley.kernel_shap(lambda m: (m.sum(1) >= 3) * 1.0, 5, 40_000, 0)

    np.testing.assert_allclose(phi, 0.2, atol=0.01)


def test_two_estimates_that_agree_end_the_work_early_and_tell_what_it_took():
    calls: list[int] = []

    def game(masks: np.ndarray) -> np.ndarray:
        calls.append(len(masks))
        return five_of_a_hundred(masks)

    found = converge(game, 100, 50_000, seed=0)

    assert found.converged
    assert found.correlation >= 0.9
    assert abs(found.shares[0] - found.shares[1]) <= 0.03
    assert found.evaluations == sum(calls) < 10_000
    assert found.values.sum() == pytest.approx(found.score - found.base)


def test_estimates_that_do_not_agree_are_doubled_until_nothing_is_left():
    def noise(masks: np.ndarray) -> np.ndarray:
        """Each coalition has a number of its own that no patch explains."""
        codes = masks @ np.arange(1, 31) ** 2.0
        return np.sin(1e4 * codes)

    found = converge(noise, 30, 1000, seed=0)

    assert not found.converged
    assert found.correlation < 0.9
    assert found.evaluations == 2 + 2 * 58 * (1000 // (2 * 58))


def test_players_who_all_matter_alike_agree_without_a_correlation():
    found = converge(lambda masks: masks.sum(1), 20, 400, seed=0)

    assert found.converged
    np.testing.assert_allclose(found.values, 1)


def test_one_estimate_alone_never_counts_as_converged():
    found = converge(five_of_a_hundred, 100, 395, seed=0)

    assert (found.converged, found.shares, found.evaluations) == (False, None, 200)


def test_the_seed_decides():
    def game(masks: np.ndarray) -> np.ndarray:
        return np.sin(masks @ np.arange(20))

    runs = [shapley.kernel_shap(game, 20, 60, seed)[0] for seed in (0, 0, 1)]

    np.testing.assert_array_equal(runs[0], runs[1])
    assert not np.allclose(runs[0], runs[2])


# --- on detectors -------------------------------------------------------------


@pytest.mark.parametrize("segments", ["slic", "grid"])
def test_values_sum_to_what_the_blur_takes_away(yolo: DetectionModel, segments):
    image = micrograph()

    found = shapley.explain_detection(
        yolo, image, BOX, imgsz=IMGSZ, features=16, samples=60, segments=segments
    )

    frame = Frame.fit(image, IMGSZ)
    with torch.no_grad():
        plain = Candidates(private_copy(yolo))
        clear, blur = (
            float(similarity(plain(frame.padded(p)[None]), frame.box_in_input(BOX), 0))
            for p in (image, blurred(image))
        )
    assert found.score == pytest.approx(clear, abs=1e-5)
    assert found.base == pytest.approx(blur, abs=1e-5)
    assert found.values.sum() == pytest.approx(clear - blur, abs=1e-5)
    assert found.evaluations <= 62


@pytest.mark.parametrize(("asked", "other"), [(RED_BOX, GREEN_BOX), (GREEN_BOX, RED_BOX)])
@pytest.mark.parametrize("segments", ["slic", "grid"])
def test_the_values_lie_on_the_thing_that_the_detector_looks_at(asked, other, segments):
    found = shapley.explain_detection(
        ColourDetector().eval(), red_and_green(), asked, imgsz=128, features=64, samples=1500,
        segments=segments,
    )  # fmt: skip

    assert found.score > 0.3 > 0.05 > found.base
    # A patch of the grid, 16 px, may reach over the edge of the box.
    reach = Box(cls=0, x1=asked.x1 - 12, y1=asked.y1 - 12, x2=asked.x2 + 12, y2=asked.y2 + 12)
    assert energy_in(found.heat, reach) > 0.8
    assert energy_in(found.heat, other) < 0.05
    assert found.converged
    assert found.c_at_10 > 0.5
    strongest = found.segments == found.values.argmax()
    rows, columns = np.nonzero(strongest)
    assert asked.x1 < columns.mean() < asked.x2
    assert asked.y1 < rows.mean() < asked.y2


def test_a_detector_that_never_reacts_has_no_values_and_says_so():
    grey = np.full((64, 64, 3), 90, np.uint8)
    model = ColourDetector().eval()
    far = Box(cls=0, x1=300, y1=300, x2=320, y2=320)  # overlaps nothing: f is 0 whatever is shown

    found = shapley.explain_detection(
        model, grey, far, imgsz=64, features=4, samples=20, segments="grid"
    )

    assert found.score == found.base == 0
    assert found.c_at_10 is None
    assert found.heat.sum() == 0
    assert found.note == shapley.NOTHING_SEEN


def test_a_number_that_did_not_converge_is_refused_and_says_how_many_it_takes(yolo):
    def ask(samples: int) -> shapley.ShapResult:
        return shapley.explain_detection(
            yolo, micrograph(), BOX, imgsz=IMGSZ, features=16, samples=samples, segments="grid"
        )

    few = ask(40)
    assert (few.converged, few.c_at_10) == (False, None)
    assert "32 evaluations on 16 patches make one estimate" in few.note
    assert "Ask for 64 evaluations or more" in few.note
    enough = ask(4000)
    assert enough.converged
    assert enough.note == ""
    assert 0.1 <= enough.c_at_10 <= 1


def test_progress_counts_every_evaluation_and_may_cancel(yolo):
    told: list[tuple[float, str]] = []

    def progress(done: float, message: str) -> None:
        told.append((done, message))
        if done > 0.3:
            raise Stopped("cancel")

    def ask() -> shapley.ShapResult:
        return shapley.explain_detection(
            yolo, micrograph(320, 320), BOX, imgsz=320, features=9, samples=90, segments="grid",
            progress=progress,
        )  # fmt: skip

    with pytest.raises(Stopped):
        ask()

    shares = [done for done, _ in told]
    assert shares == sorted(shares)
    assert 0.3 < shares[-1] < 0.6  # stopped within a batch of the wish
    assert "of 92 evaluations, about" in told[-1][1]


def test_too_few_evaluations_are_refused_with_what_is_needed(yolo):
    with pytest.raises(ConfigError, match="16 patches needs at least 32 evaluations, got 31"):
        shapley.explain_detection(
            yolo, micrograph(), BOX, imgsz=IMGSZ, features=16, samples=31, segments="grid"
        )


def test_the_time_estimate_is_what_the_work_then_takes(yolo):
    image = micrograph()
    shapley.explain_detection(yolo, image, BOX, imgsz=IMGSZ, features=9, samples=20)  # warm

    guess = shapley.estimate_time(yolo, image, imgsz=IMGSZ, samples=220)
    found = shapley.explain_detection(yolo, image, BOX, imgsz=IMGSZ, samples=220)

    assert guess.seconds == pytest.approx(guess.per_evaluation * 222)
    # A busy computer may be twice as slow from one second to the next.
    assert found.seconds / 5 < guess.seconds < found.seconds * 5


# --- patches ------------------------------------------------------------------


def test_the_grid_has_ten_by_ten_patches_of_equal_size():
    labels = segment(micrograph(60, 120), 100, "grid")

    assert np.bincount(labels.ravel()).tolist() == [6 * 12] * 100
    assert labels[0, 0] == 0
    assert labels[0, -1] == 9  # columns first
    assert labels[-1, 0] == 90


def test_slic_keeps_to_the_asked_number_even_on_pure_noise():
    noise = np.random.default_rng(0).integers(0, 256, (128, 128, 3)).astype(np.uint8)
    for picture in (noise, micrograph(128, 128), np.full((128, 128, 3), 9, np.uint8)):
        labels = segment(picture, 50, "slic")
        count = labels.max() + 1
        assert 35 <= count <= 60
        assert set(np.unique(labels)) == set(range(count))


def test_slic_follows_the_edges_of_things():
    picture = np.full((96, 96, 3), 90, np.uint8)
    picture[30:66, 30:66] = (200, 160, 120)

    labels = segment(picture, 40, "slic")

    inside = set(np.unique(labels[32:64, 32:64]))
    outside = set(np.unique(np.concatenate([labels[:26].ravel(), labels[70:].ravel()])))
    assert not inside & outside


def test_masked_pictures_are_clear_where_on_and_blurred_where_off():
    image = micrograph(48, 96)
    frame = Frame.fit(image, 96)
    patches = Patchwork.cut(frame, image, 4, "grid", torch.device("cpu"))

    on, off, left = patches.masked(np.array([[1, 1, 1, 1], [0, 0, 0, 0], [1, 0, 1, 0]]))

    assert torch.equal(on, frame.tensor(image))
    assert torch.equal(off, frame.padded(blurred(image)))
    assert torch.equal(left[:, :, :48], on[:, :, :48])
    assert torch.equal(left[:, :, 48:], off[:, :, 48:])
    assert torch.equal(off[:, :8], on[:, :8])  # grey padding stays


def test_absent_is_a_gaussian_blur_of_sigma_ten():
    dot = np.zeros((101, 101, 3), np.uint8)
    dot[50, :] = 255  # a line: its blur is a one-dimensional Gaussian

    profile = blurred(dot)[:, 50, 0].astype(float)

    peak = 255 / (BLUR_SIGMA * np.sqrt(2 * np.pi))
    assert profile[50] == pytest.approx(peak, abs=1)
    assert profile[60] == pytest.approx(peak * np.exp(-0.5), abs=1)


def test_patch_heat_spreads_what_helps_over_its_pixels():
    segments = np.array([[0, 0, 1], [0, 0, 2]], np.int32)

    heat = shapley.patch_heat(np.array([0.6, 0.2, -0.9]), segments)

    np.testing.assert_allclose(heat, [[0.1875, 0.1875, 0.25], [0.1875, 0.1875, 0]])


@pytest.mark.parametrize("features", [3, 10_000])
def test_an_impossible_number_of_patches_is_refused(features):
    with pytest.raises(ConfigError, match="between 4 patches"):
        segment(micrograph(64, 64), features, "slic")


# --- batches ------------------------------------------------------------------


def test_batches_are_bounded_by_the_size_of_the_image():
    assert batch_size(torch.zeros(3, 256, 256)) == CPU_PIXELS // 256**2
    assert batch_size(torch.zeros(3, 640, 640)) == 4
    assert batch_size(torch.zeros(3, 4096, 4096)) == 1


def test_batches_give_the_same_as_one_pass_and_halve_when_memory_runs_out():
    rows = np.arange(100.0)[:, None]
    sizes: list[int] = []
    done: list[int] = []

    def forward(part: np.ndarray) -> np.ndarray:
        if len(part) > 8:
            raise torch.OutOfMemoryError("out of memory")
        sizes.append(len(part))
        return part[:, 0] * 2

    found = evaluate_batched(
        forward, rows, torch.zeros(3, 256, 256), lambda n, seconds: done.append(n)
    )

    np.testing.assert_array_equal(found, rows[:, 0] * 2)
    assert max(sizes) == 6  # 25 -> 12 -> 6
    assert sum(done) == 100


def test_an_image_that_does_not_fit_alone_is_an_error():
    def forward(part: np.ndarray) -> np.ndarray:
        raise torch.OutOfMemoryError("out of memory")

    with pytest.raises(torch.OutOfMemoryError):
        evaluate_batched(forward, np.zeros((3, 1)), torch.zeros(3, 32, 32), lambda n, s: None)
