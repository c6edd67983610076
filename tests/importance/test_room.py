"""How many images are in memory at once changes the time of a pass, not what it finds."""

from __future__ import annotations

import logging
from dataclasses import replace

import pytest
import torch
from torch import nn

from msip_core.importance import activity, statistics
from msip_core.importance.statistics import PEAK, SHARE, bytes_kept, gather, images_at_once
from tests.importance.kit import drawn_calibration, thin_detector
from tests.importance.test_statistics import Beats
from tests.looks import Looks

MSIP = frozenset({"taylor", "sparsity", "information"})
IMAGE = torch.zeros(1, 3, 8, 8)
# What its convolution reads, and what its activation gave, as 64 floats a channel; no weights.
NET = nn.Sequential(nn.Conv2d(3, 4, 1), nn.ReLU())
KEPT = (3 + 4) * 64 * 4


def test_what_the_backward_pass_keeps_is_counted_without_the_weights():
    assert bytes_kept(NET, IMAGE) == KEPT
    assert bytes_kept(NET, IMAGE.expand(5, -1, -1, -1).contiguous()) == 5 * KEPT


@pytest.mark.parametrize(
    ("images", "expected"), [(3.9, 4), (6.5, 6), (15.99, 15), (100, 16), (0.1, 4)]
)
def test_as_many_images_as_a_share_of_the_free_memory_holds(images: float, expected: int):
    """Never fewer than the settings say, never more than a batch."""
    free = int(images * PEAK * KEPT / SHARE)

    assert images_at_once(NET, IMAGE, least=4, most=16, free=free) == expected


def test_where_the_memory_is_not_asked_the_settings_say_it():
    assert images_at_once(NET, IMAGE, least=4, most=16, free=None) == 4
    assert images_at_once(NET, IMAGE, least=4, most=2, free=10**12) == 4


@pytest.fixture(scope="module")
def model():
    return thin_detector(width=0.0625)


@pytest.fixture(scope="module")
def found(model):
    return gather(model, drawn_calibration(), MSIP)


def assert_alike(found, expected) -> None:
    """Counted ones up to a few responses that lie on an edge (the quantiles are some of them),
    spreads up to what float32 leaves of the difference of two squares."""
    counted = {"information": 1e-4, "sparsity": 1e-3, "spread": 1e-4, "distance": 1e-4}
    for kind in expected.gathered:
        for name, value in expected.of(kind).items():
            atol = counted.get(kind, 1e-5 * float(value.abs().max()))
            torch.testing.assert_close(found.of(kind)[name], value, rtol=1e-3, atol=atol)


def test_with_room_a_whole_batch_passes_at_once_and_finds_the_same(model, found, monkeypatch):
    """Of 8 images in two batches, the look and the pass: by twos, and at once."""
    asked = []

    def free(device):
        asked.append(device)
        return 10**12

    monkeypatch.setattr(statistics, "free_bytes", free)
    beats, before = Beats(), Beats()
    gather(model, drawn_calibration(micro_batch=4), frozenset({"grad2"}), before)

    roomy = gather(model, drawn_calibration(), MSIP, beats)

    assert asked == [torch.device("cpu")] * 2
    assert (before.count, beats.count) == (2, 4)
    assert_alike(roomy, found)


def test_where_responses_are_sampled_depends_on_neither_room_nor_micro_batch(model, monkeypatch):
    monkeypatch.setattr(activity, "POSITIONS", 50)
    calibration, kinds = drawn_calibration(images=4, batch=4), frozenset({"spread"})

    def spread(images) -> torch.Tensor:
        return torch.cat(list(gather(model, images, kinds).of("spread").values()))

    tight, other = spread(calibration), spread(replace(calibration, micro_batch=1))
    monkeypatch.setattr(statistics, "free_bytes", lambda _: 10**12)
    roomy = spread(calibration)

    assert float((roomy - tight).abs().max()) < 1e-4
    assert float((other - tight).abs().max()) < 1e-4


def test_what_did_not_fit_passes_again_by_the_settings(model, found, monkeypatch, caplog):
    monkeypatch.setattr(statistics, "free_bytes", lambda _: 10**12)
    run = statistics._run

    def tight(model, calibration, at_once, *rest):
        if at_once > 2:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return run(model, calibration, at_once, *rest)

    monkeypatch.setattr(statistics, "_run", tight)
    with caplog.at_level(logging.WARNING):
        again = gather(model, drawn_calibration(), MSIP)

    assert "4 images at once did not fit: again with 2" in caplog.text
    assert_alike(again, found)
    with pytest.raises(torch.OutOfMemoryError):
        gather(model, replace(drawn_calibration(), micro_batch=4), MSIP)


def test_images_are_sent_to_the_device_once_where_it_has_room(monkeypatch):
    calibration = drawn_calibration()
    there = calibration.kept_on("meta")  # a device whose tensors hold nothing

    assert there.images.device.type == "meta"
    few = replace(there, images=there.images[:3], labels=there.labels[:3])
    looks = Looks()
    with looks:
        for one, part in ((there, range(4, 8)), (few, range(3))):
            assert one.pixels(part, "meta").shape == (len(part), 3, 64, 64)
    assert looks.found == {}
    with looks:
        calibration.pixels(range(4), "meta")
    assert looks.found == {"_to_copy": 1}

    monkeypatch.setattr("msip_core.detector.images.MEMORY_SHARE", 0.0)
    assert calibration.kept_on("meta") is calibration
