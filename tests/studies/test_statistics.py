"""Average precision equals Ultralytics' on any choice of images; intervals are what they say."""

from __future__ import annotations

import numpy as np
import pytest

from msip_core.errors import InputError
from msip_core.matches import Matches, load_matches
from msip_core.studies.statistics import (
    Interval,
    Precision,
    difference,
    holm,
    interval,
    mean_over_seeds,
    ratio_of_medians,
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
        tuple(f"image-{n:03}.png" for n in rng.permutation(images)),
        image,
        conf,
        rng.integers(0, classes, image.size),
        hit,
        label_image,
        rng.integers(0, classes, label_image.size),
    )


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


def test_groups_are_drawn_as_wholes_and_images_within_them() -> None:
    groups = ["a", "a", "a", "b", "c", "c"]
    counts = resampled_counts(6, 4000, groups=groups)
    by_group = np.stack([counts[:, :3].sum(1), counts[:, 3], counts[:, 4:].sum(1)])
    times = by_group / np.array([3, 1, 2])[:, None]
    assert (times == times.round()).all()  # never a part of a group
    assert (times.sum(axis=0) == 3).all()
    assert times.mean(axis=1) == pytest.approx([1, 1, 1], abs=0.05)
    assert (counts[times[0] == 1, :3].max(axis=1) > 1).any()  # within a group, images vary too
    assert np.array_equal(counts, resampled_counts(6, 4000, groups=groups))


def test_images_of_one_group_say_less_than_as_many_independent_ones() -> None:
    """Ten wells of twelve images that all are alike: the truth has ten values, not 120."""
    rng = np.random.default_rng(0)
    wells = rng.normal(0, 1, 10).repeat(12)

    def width(groups) -> float:
        counts = resampled_counts(120, 4000, groups=groups)
        found = interval(0, counts @ wells / counts.sum(axis=1))
        return found.high - found.low

    assert width([f"well {n // 12}" for n in range(120)]) > 3 * width(None)


def test_few_groups_widen_an_interval_as_students_t_does() -> None:
    """Eight images in each of four wells, which have an effect of their own and differ by nothing
    else on average."""
    rng, missed, plain = np.random.default_rng(0), 0, 0
    wells = [well for well in "abcd" for _ in range(8)]
    counts = resampled_counts(32, 400, groups=wells)
    for _ in range(150):
        scores = np.repeat(rng.normal(0, 0.02, 4), 8) + rng.normal(0, 0.01, 32)
        draws = [counts @ scores / counts.sum(axis=1)]
        aware = mean_over_seeds([scores.mean()], draws, groups=4).interval
        unaware = mean_over_seeds([scores.mean()], draws).interval
        missed += not aware.low <= 0 <= aware.high
        plain += not unaware.low <= 0 <= unaware.high

    assert missed / 150 <= 0.08
    assert plain / 150 > 0.12


def test_images_of_two_wells_are_never_a_clear_difference() -> None:
    a = mean_over_seeds(
        [0.80, 0.81, 0.82], [np.full(100, x) for x in (0.80, 0.81, 0.82)], [0, 1, 2]
    )
    draws = [np.full(100, x) for x in (0.90, 0.91, 0.92)]

    two_wells, many = (
        difference(a, mean_over_seeds([0.90, 0.91, 0.92], draws, [0, 1, 2], groups))
        for groups in (2, 20)
    )

    assert (two_wells.value, two_wells.groups) == (pytest.approx(0.1), 2)
    assert many.is_clear
    assert not two_wells.is_clear


def test_average_precision_is_resampled_by_the_groups_of_its_images() -> None:
    precision = Precision(random_matches(4))
    one_group = precision.draws(50, groups=dict.fromkeys(precision.images, "well A01"))
    own = precision.draws(50, groups={name: name for name in precision.images})
    assert one_group.std() > 0  # one well: its images vary
    assert np.array_equal(own, precision.draws(50))  # each on its own: the images' bootstrap
    thirds = precision.draws(50, groups={name: name[-5] for name in precision.images})
    assert not np.array_equal(thirds, own)


def of(values, draws=None, seeds=None):
    """Trainings with these numbers; without draws the images do not matter."""
    values = np.array(values, float)
    return mean_over_seeds(
        values, values[:, None] + (np.zeros(1000) if draws is None else draws), seeds
    )


def test_pairing_takes_out_what_the_images_have_in_common() -> None:
    """Two models whose scores go up and down together differ clearly, though each alone is
    uncertain."""
    common = np.random.default_rng(0).normal(0, 0.1, 1000)
    worse, better = of([0.50] * 3, common), of([0.52] * 3, common)
    assert worse.interval.high > better.interval.low
    gap = difference(worse, better)
    assert (gap.low, gap.high) == pytest.approx((0.02, 0.02))
    assert gap.is_clear
    with pytest.raises(InputError, match="resampled"):
        difference(worse, of([0.5], common[:10]))


def test_the_interval_of_seeds_alone_is_that_of_student() -> None:
    from scipy.stats import t

    for count in (3, 4, 8):
        values = np.random.default_rng(count).normal(0, 1, count)
        found = of(values).interval
        half = t.ppf(0.975, count - 1) * values.std(ddof=1) / np.sqrt(count)
        assert (found.high - found.low) / 2 == pytest.approx(half, rel=0.12)
        assert found.seeds == count


def test_seeds_that_scatter_make_no_clear_difference_and_equal_ones_may() -> None:
    image = np.random.default_rng(0).normal(0, 0.004, 1000)
    whole = of([0.870, 0.880, 0.890], image, (0, 1, 2))
    scattered = difference(whole, of([0.905, 0.868, 0.888], image, (0, 1, 2)))
    assert scattered.value == pytest.approx(0.007)
    assert not scattered.is_clear
    steady = difference(whole, of([0.878, 0.886, 0.900], image, (0, 1, 2)))
    assert steady.is_clear
    assert steady.p < 0.05 < scattered.p


def test_trainings_are_paired_by_their_seeds_and_only_common_ones_count() -> None:
    whole, other = of([0.7, 0.8, 0.9], seeds=(0, 1, 2)), of([0.91, 0.81, 0.71], seeds=(2, 1, 0))
    gap = difference(whole, other)
    assert (gap.low, gap.high) == pytest.approx((0.01, 0.01))
    part = difference(whole, of([0.95], seeds=(1,)))
    assert (part.value, part.seeds) == (pytest.approx(0.15), 1)
    assert not part.is_clear  # one seed: no verdict, however large
    with pytest.raises(InputError, match="share no seed"):
        difference(whole, of([0.9], seeds=(7,)))


def test_one_baseline_stands_beside_every_training() -> None:
    gap = difference(of([0.9]), of([0.91, 0.93, 0.92], seeds=(0, 1, 2)))
    assert gap.seeds == 3
    assert gap.value == pytest.approx(0.02)
    assert gap.high - gap.low > 0.03  # the seeds of the row


def test_holm_steps_down_and_never_falls_below_a_smaller_one() -> None:
    found = holm(
        [Interval(1, 0.1, 2, p) if p is not None else None for p in (0.01, 0.04, None, 0.03, 0.002)]
    )
    adjusted = [one and one.adjusted for one in found]
    assert adjusted[2] is None
    assert [adjusted[n] for n in (0, 1, 3, 4)] == pytest.approx([0.03, 0.06, 0.06, 0.008])
    assert [one.is_clear for one in found if one] == [True, False, False, True]


def test_a_speed_up_of_paired_rounds_has_an_interval() -> None:
    load = np.random.default_rng(0).uniform(1, 3, 60)  # strikes both in the same round
    noise = np.random.default_rng(1).uniform(0.95, 1.05, 60)
    found = interval(2.0, ratio_of_medians(2 * load * noise, load))
    assert found.low < 2 < found.high
    assert found.high - found.low < 0.5
    again = ratio_of_medians(2 * load, load)
    assert again == pytest.approx(2.0)


def test_matches_come_back_from_their_file(tmp_path) -> None:
    matches = random_matches(5)
    matches.save(tmp_path / "matches.npz")
    again = load_matches(tmp_path / "matches.npz")
    assert again.images == matches.images
    assert Precision(again)() == Precision(matches)()
