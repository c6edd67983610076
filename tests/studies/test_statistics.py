"""Average precision equals Ultralytics' on any choice of images; intervals are what they say."""

from __future__ import annotations

import numpy as np
import pytest

from msip_core.errors import InputError
from msip_core.matches import Matches, load_matches
from msip_core.studies.statistics import (
    Precision,
    difference,
    interval,
    mean_over_seeds,
    resampled_counts,
)


def random_matches(seed: int = 0, images: int = 30, classes: int = 2) -> Matches:
    """Detections whose confidence says something about whether they hit."""
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, 5, images)
    label_image = np.repeat(np.arange(images), labels)
    found = rng.integers(0, 9, images)
    image = np.repeat(np.arange(images), found)
    conf = rng.random(image.size)
    first = rng.random(image.size) < conf
    hit = np.cumprod(np.stack([first, *(rng.random((9, image.size)) < 0.8)]), axis=0).T > 0
    return Matches(
        tuple(f"image-{n:03}.png" for n in rng.permutation(images)), image, conf,
        rng.integers(0, classes, image.size), hit, label_image,
        rng.integers(0, classes, label_image.size),
    )  # fmt: skip


def by_ultralytics(matches: Matches, counts: np.ndarray) -> tuple[float, float]:
    """The same images, each repeated as often as it counts, by Ultralytics' own function."""
    from ultralytics.utils.metrics import ap_per_class

    order = np.argsort(np.array(matches.images))
    image = np.argsort(order)  # place of each image in the sorted names
    times = counts[image[matches.image]]
    rows = np.repeat(np.arange(matches.image.size), times)
    labels = np.repeat(matches.label_cls, counts[image[matches.label_image]])
    ap = ap_per_class(
        matches.hit[rows].astype(float), matches.conf[rows], matches.cls[rows], labels
    )[5]
    return float(ap[:, 0].mean()), float(ap.mean())


@pytest.mark.parametrize("seed", range(4))
def test_average_precision_equals_ultralytics(seed: int) -> None:
    matches = random_matches(seed)
    ones = np.ones(len(matches.images), np.int64)
    assert Precision(matches)() == pytest.approx(by_ultralytics(matches, ones), abs=1e-12)


def test_leaving_images_out_equals_ultralytics_without_them() -> None:
    matches = random_matches(7)
    counts = np.random.default_rng(1).integers(0, 2, len(matches.images))
    expected = by_ultralytics(matches, counts)
    assert Precision(matches)(counts) == pytest.approx(expected, abs=1e-12)


def test_an_image_that_counts_twice_is_as_if_it_were_there_twice() -> None:
    """Up to ties: the copies of one detection have one confidence, and come at once here."""
    matches = random_matches(3)
    counts = np.full(len(matches.images), 2, np.int64)
    assert Precision(matches)(counts) == pytest.approx(Precision(matches)(), abs=1e-12)


def test_a_hand_computed_average_precision() -> None:
    """Two labels; the three detections by confidence: hit, miss, hit. The envelope of precision is
    1 below recall .5, 2/3 from there, and 0 at 1; the trapezia that end at .50 and at 1.00 are
    slanted."""
    hit = np.zeros((3, 10), bool)
    hit[[0, 2]] = True
    matches = Matches(
        ("a.png",), np.zeros(3, int), np.array([0.9, 0.8, 0.7]), np.zeros(3, int), hit,
        np.zeros(2, int), np.zeros(2, int),
    )  # fmt: skip
    by_hand = 0.49 * 1 + 0.01 * (1 + 2 / 3) / 2 + 0.49 * 2 / 3 + 0.01 * (2 / 3 + 0) / 2
    assert Precision(matches)()[0] == pytest.approx(by_hand, abs=1e-9)


def test_the_order_of_images_does_not_change_a_resample() -> None:
    matches = random_matches(2)
    turned = np.arange(len(matches.images))[::-1]
    other = Matches(
        tuple(matches.images[n] for n in turned), turned[matches.image], matches.conf, matches.cls,
        matches.hit, turned[matches.label_image], matches.label_cls,
    )  # fmt: skip
    assert np.array_equal(Precision(matches).draws(20), Precision(other).draws(20))


def test_a_model_without_detections_scores_zero_and_one_without_labels_nothing() -> None:
    nothing = np.zeros(0, int)
    blind = Matches(
        ("a.png",), nothing, np.zeros(0), nothing, np.zeros((0, 10), bool), np.zeros(1, int),
        np.zeros(1, int),
    )  # fmt: skip
    assert Precision(blind)() == (0.0, 0.0)
    empty = Matches(
        ("a.png",), nothing, np.zeros(0), nothing, np.zeros((0, 10), bool), nothing, nothing
    )
    assert np.isnan(Precision(empty)()).all()
    with pytest.raises(InputError, match="no images"):
        Precision(
            Matches((), nothing, np.zeros(0), nothing, np.zeros((0, 10), bool), nothing, nothing)
        )


def test_resamples_draw_as_many_images_as_there_are_and_are_the_same_for_all() -> None:
    counts = resampled_counts(12, 500)
    assert counts.shape == (500, 12)
    assert (counts.sum(axis=1) == 12).all()
    assert counts.mean() == 1
    assert np.array_equal(counts, resampled_counts(12, 500))


def test_an_interval_holds_the_middle_of_its_resamples() -> None:
    found = interval(0.5, np.arange(1001) / 1000)
    assert (found.low, found.high) == pytest.approx((0.025, 0.975))
    assert not interval(0.0, np.linspace(-1, 1, 100)).is_clear
    assert interval(0.5, np.linspace(0.1, 1, 100)).is_clear


def test_pairing_takes_out_what_the_images_have_in_common() -> None:
    """Two models whose scores go up and down together differ clearly, though each alone is
    uncertain."""
    common = np.random.default_rng(0).normal(0, 0.1, 1000)
    worse, better = (0.50, 0.50 + common), (0.52, 0.52 + common)
    assert interval(*worse).high > interval(*better).low
    gap = difference(worse, better)
    assert (gap.low, gap.high) == pytest.approx((0.02, 0.02))
    assert gap.is_clear
    with pytest.raises(InputError, match="resampled"):
        difference(worse, (0.5, common[:10]))


def test_seeds_are_averaged_resample_by_resample() -> None:
    value, draws = mean_over_seeds([0.4, 0.6], [np.array([0.1, 0.2]), np.array([0.3, 0.6])])
    assert value == 0.5
    assert draws == pytest.approx([0.2, 0.4])


def test_matches_come_back_from_their_file(tmp_path) -> None:
    matches = random_matches(5)
    matches.save(tmp_path / "matches.npz")
    again = load_matches(tmp_path / "matches.npz")
    assert again.images == matches.images
    assert Precision(again)() == Precision(matches)()
