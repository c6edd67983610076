"""Activation sparsity and information gain of responses, counted on the fly."""

from __future__ import annotations

import math

import pytest
import torch

from msip_core.importance.activity import LayerActivity
from msip_core.importance.calibration import CalibrationSet
from msip_core.importance.cells import MAX_CELLS, Cells, CellSampler, EveryFew, label_cells
from msip_core.importance.information import (
    NULLS,
    LayerInformation,
    asked_at,
    bias_free,
    further_on,
)
from msip_core.importance.responses import mutual_information

CPU = torch.device("cpu")


@pytest.mark.parametrize(
    ("joint", "bits"),
    [([[4, 0], [0, 4]], 1.0), ([[2, 2], [2, 2]], 0.0), ([[3, 1], [1, 3]], 0.18872)],
)
def test_mutual_information_of_small_tables(joint: list[list[int]], bits: float):
    assert mutual_information(torch.tensor(joint)).item() == pytest.approx(bits, abs=1e-5)


def test_mutual_information_lies_between_zero_and_the_smaller_entropy():
    joint = torch.randint(0, 9, (50, 32, 3), generator=torch.Generator().manual_seed(0))

    found = mutual_information(joint)

    def entropy(counts: torch.Tensor) -> torch.Tensor:
        p = counts.double() / counts.sum(-1, keepdim=True)
        return -(p * p.clamp_min(1e-300).log2()).sum(-1)

    limit = torch.minimum(entropy(joint.sum(2)), entropy(joint.sum(1)))
    assert (found >= 0).all()
    assert (found <= limit + 1e-9).all()


def test_a_cell_belongs_to_the_smallest_box_that_holds_its_centre():
    large, small = [0, 0.5, 0.5, 1.0, 1.0], [1, 0.25, 0.25, 0.5, 0.5]

    labels = label_cells(torch.tensor([small, large]), 4, 4).view(4, 4)

    assert labels[:2, :2].eq(2).all()  # class 1 is label 2
    assert labels[2:, :].eq(1).all()
    assert labels[:2, 2:].eq(1).all()


def test_x_and_y_are_not_swapped():
    labels = label_cells(torch.tensor([[0, 0.75, 0.25, 0.5, 0.5]]), 4, 8).view(4, 8)

    assert labels[:2, 4:].eq(1).all()
    assert labels.sum() == 8


def test_background_is_at_most_three_times_the_objects_and_seeded():
    boxes = torch.tensor([[0, 0.5, 0.5, 0.25, 0.25]])

    cells, labels = CellSampler(5)(0, boxes, 16, 16)

    objects = int((labels > 0).sum())
    assert objects == 16
    assert int((labels == 0).sum()) == 3 * objects
    again, _ = CellSampler(5)(0, boxes, 16, 16)
    other, _ = CellSampler(6)(0, boxes, 16, 16)
    assert torch.equal(cells, again)
    assert not torch.equal(cells, other)


def test_large_maps_keep_a_bounded_number_of_cells():
    cells, _ = CellSampler(0)(0, torch.tensor([[0, 0.5, 0.5, 0.9, 0.9]]), 320, 320)

    assert len(cells) == MAX_CELLS
    assert len(cells.unique()) == MAX_CELLS


def images_with(boxes: list[torch.Tensor], **how: int) -> CalibrationSet:
    """Images of one pixel with these boxes."""
    pixels = torch.zeros(len(boxes), 3, 1, 1, dtype=torch.uint8)
    return CalibrationSet(pixels, tuple(boxes), tuple(map(str, range(len(boxes)))), **how)


def activity(a: torch.Tensor) -> LayerActivity:
    images = images_with([torch.zeros(0, 5)] * len(a), batch=len(a))
    layer, cells = LayerActivity(eps=0.1), a.shape[2] * a.shape[3]
    layer.look(a)
    layer.settle()
    layer.count(a, *EveryFew(images, CPU, 2048).of(range(len(a)), cells))
    return layer


def informed(
    a: torch.Tensor, boxes: list[torch.Tensor], nulls: tuple[float, ...] = ()
) -> LayerInformation:
    cells, layer, every = Cells(images_with(boxes), CPU), LayerInformation(2), range(len(a))
    ahead = [0, *(further_on(share, len(a)) for share in nulls)]
    found = [cells.of(every, *a.shape[-2:], n) for n in ahead]
    layer.look(a, found[0].places)
    layer.settle()
    layer.count(a, asked_at([one.places for one in found], [one.labels for one in found]))
    return layer


BOX = torch.tensor([[0, 0.25, 0.5, 0.5, 1.0]])  # the left half


def test_sparsity_is_blind_to_the_scale_of_the_layer_and_zero_for_a_dead_channel():
    a = torch.randn(4, 3, 8, 8, generator=torch.Generator().manual_seed(0))
    a[:, 1] = 0

    found = activity(a).sparsity()

    torch.testing.assert_close(activity(10 * a).sparsity(), found)
    assert found[1] == 0
    rms = a.square().mean().sqrt()
    assert found[0].item() == pytest.approx((a[:, 0].abs() > 0.1 * rms).double().mean().item())


def test_bins_lie_between_two_of_the_sorted_responses_of_each_channel():
    a = torch.randn(4, 3, 8, 8, generator=torch.Generator().manual_seed(0))
    layer = LayerInformation(2)
    layer.look(a, torch.cat([torch.arange(50) + 64 * image for image in range(4)]))
    layer.settle()

    ordered = torch.cat([image.flatten(1)[:, :50].t() for image in a]).sort(0).values
    assert torch.equal(layer.low, ordered[round(0.005 * 199)])
    assert torch.equal(layer.high, ordered[round(0.995 * 199)])


def test_a_channel_that_shows_the_object_carries_information_and_noise_does_not():
    generator = torch.Generator().manual_seed(0)
    a = torch.randn(64, 2, 8, 8, generator=generator)
    a[:, 0, :, :4] += 100  # channel 0 lights up on the object

    knows, guesses = informed(a, [BOX] * 64).information().tolist()

    assert knows == pytest.approx(1.0, abs=0.01)  # two labels, equally many cells
    assert guesses < 0.02


def test_information_without_its_bias_is_none_where_labels_of_other_images_say_as_much():
    joint = torch.tensor([[[6, 2], [2, 6]], [[6, 2], [2, 6]]])
    null = torch.tensor(
        [[[[4, 4], [4, 4]], [[6, 2], [2, 6]]], [[[4, 4], [4, 4]], [[8, 0], [0, 8]]]]
    )

    knows, guesses = bias_free(joint, null).tolist()

    assert knows == pytest.approx(0.18872, abs=1e-5)  # chance gives it nothing
    assert guesses == 0  # less than what labels of other images give


def test_few_cells_of_noise_carry_no_bits():
    """What the plug-in estimate finds in noise is its bias, and goes."""
    a = torch.randn(64, 8, 4, 4, generator=torch.Generator().manual_seed(0))
    boxes = [torch.tensor([[0, 0.25 + 0.5 * (i % 2), 0.5, 0.5, 1.0]]) for i in range(64)]

    layer = informed(a, boxes, NULLS)

    plain = mutual_information(layer.joint).mean()
    assert float(plain) > 0.003
    assert float(layer.information().mean()) < 0.35 * float(plain)


@pytest.mark.parametrize(("images", "ahead"), [(1, {0}), (2, {1}), (3, {1, 2}), (5, {1, 2, 3, 4})])
def test_chance_is_what_labels_of_other_images_say_never_an_images_own(
    images: int, ahead: set[int]
):
    assert {further_on(share, images) for share in NULLS} == ahead


def test_two_images_keep_the_bit_that_only_their_own_labels_give():
    """Each shows its own box, the left half and the upper half: neither tells of the other."""
    a = torch.zeros(2, 1, 4, 4)
    a[0, :, :, :2] = a[1, :, :2] = 1
    boxes = [BOX, torch.tensor([[0, 0.5, 0.25, 1.0, 0.5]])]

    assert informed(a, boxes, NULLS).information().item() == pytest.approx(1)


def test_spread_and_distances_of_responses():
    a = torch.tensor([[3.0, 3, 3, 3], [3, 3, 3, 3], [1, -1, 1, -1]]).view(1, 3, 2, 2)

    layer = activity(a)

    assert layer.spread().tolist() == pytest.approx([0, 0, 1])
    # Between the first two nothing, to the third sqrt(mean((3 - 1)^2, (3 + 1)^2)) = sqrt(10).
    assert layer.distance().tolist() == pytest.approx([10**0.5 / 3, 10**0.5 / 3, 2 * 10**0.5 / 3])


def test_a_constant_channel_has_no_information_and_breaks_nothing():
    a = torch.ones(2, 1, 8, 8)

    assert informed(a, [BOX] * 2).information().item() == pytest.approx(0)


def test_responses_that_are_no_numbers_break_no_count():
    a = torch.rand(4, 2, 4, 4, generator=torch.Generator().manual_seed(0))
    a[1, 0, 2, 2] = math.nan
    a[:, 1] = math.nan

    found = informed(a, [BOX] * 4)

    assert found.joint.sum((1, 2)).tolist() == [64, 64]


def test_a_channel_that_wakes_up_after_the_look_lies_in_the_last_bin():
    layer, places = LayerInformation(2), torch.arange(4, dtype=torch.int32)
    layer.look(torch.zeros(1, 1, 2, 2), places)
    layer.settle()

    labels = torch.tensor([0, 1, 0, 1], dtype=torch.int32)
    layer.count(torch.tensor([0.0, 5, -5, 5]).view(1, 1, 2, 2), asked_at([places], [labels]))

    assert layer.joint[0, 0].tolist() == [2, 0]
    assert layer.joint[0, -1].tolist() == [0, 2]
    assert layer.information().item() == pytest.approx(1)


def test_cells_of_the_image_that_lies_further_on_are_its_own_at_this_images_place():
    """Of five images, three are in memory; two on from the last but one comes the first again."""
    boxes = [torch.tensor([[0, 0.1 + 0.2 * i, 0.5, 0.2, 1.0]]) for i in range(5)]
    images, sampler = images_with(boxes), CellSampler(0)

    found = Cells(images, CPU).of(range(2, 5), 6, 10, ahead=2)

    expected = [
        (place, sampler(image, boxes[image], 6, 10)) for place, image in ((0, 4), (1, 0), (2, 1))
    ]
    assert found.places.tolist() == [
        cell + 60 * place for place, (cells, _) in expected for cell in cells.tolist()
    ]
    assert found.labels.tolist() == [n for _, (_, labels) in expected for n in labels.tolist()]
    assert found.images.unique().tolist() == [0, 1, 4]


@pytest.mark.parametrize("at_once", [1, 2, 3, 7])
def test_positions_do_not_depend_on_how_many_images_are_in_memory(at_once: int):
    """Images by threes, batches of seven: every 5th of 3 * 16 positions, every 3rd of 1 * 16: the
    next steps that have no divisor in common with 16."""
    images = images_with([torch.zeros(0, 5)] * 10, batch=7, micro_batch=at_once)
    few = EveryFew(images, CPU, most=13, few=3)
    found = [
        (part.start + int(image), int(cell))
        for batch in images.batches()
        for part in images.micro_batches(batch, at_once)
        for image, cell in zip(*few.of(part, 16), strict=True)
    ]

    by_threes = [(first + p // 16, p % 16) for first in (0, 3) for p in range(0, 48, 5)]
    alone = [(6, p) for p in range(0, 16, 3)]
    last = [(7 + p // 16, p % 16) for p in range(0, 48, 5)]
    assert found == by_threes + alone + last


def test_names_that_other_programs_ask_for_stay_where_they_ask():
    from msip_core.importance import fusion, msip

    assert msip.relative is fusion.relative


@pytest.mark.parametrize("side", [128, 160, 256, 320, 512])
def test_positions_lie_all_over_the_map_whatever_its_width(side: int):
    """Steps of 512 in a map that is 512 wide would see its left border alone."""
    images = images_with([torch.zeros(0, 5)] * 4, batch=4)

    image, cell = EveryFew(images, CPU, 2048).of(range(4), side * side)

    assert 1800 <= len(cell) <= 2048
    assert image.bincount().tolist() == pytest.approx([len(cell) / 4] * 4, abs=1)
    for places in (cell % side, cell // side):
        quarters = (places * 4 // side).bincount(minlength=4).tolist()
        assert quarters == pytest.approx([len(cell) / 4] * 4, rel=0.05)
        border = float((places == 0).double().mean())
        assert border == pytest.approx(1 / side, abs=0.005)
