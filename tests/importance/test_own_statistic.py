"""A new criterion brings its statistic along, and nothing else has to know of it."""

from __future__ import annotations

import pytest
import torch

from msip_core.groups.coupling import prunable_groups
from msip_core.importance import statistics
from msip_core.importance.members import ResponseImportance
from msip_core.importance.responses import watched
from msip_core.importance.shared import gather_once
from msip_core.importance.statistic import Few, Statistic, kinds_in
from msip_core.importance.statistics import gather
from tests.importance.kit import drawn_calibration, thin_detector


class Peaks(Statistic):
    """The largest response, beside the mean gradient; and which passes came in what order."""

    kinds = frozenset({"peak", "peak-count"})
    alongside = {"peak": frozenset({"peak-count"})}
    wants = frozenset({"look", "backward", "images", "few"})
    few = Few(images=3, side=32)
    told: list = []

    def __init__(self, scene, asked):
        super().__init__(scene, asked)
        self.peaks: dict[str, torch.Tensor] = {}
        self.told.clear()

    def look(self, part):
        self.told.append(("look", part))
        return watched(self.scene.model, lambda name, a: None)

    def looked(self):
        self.told.append("looked")

    def batch(self, part):
        self.told.append(("batch", part))
        return watched(self.scene.model, self._see)

    def _see(self, name, a):
        peak = a.amax((0, 2, 3))
        self.peaks[name] = torch.maximum(self.peaks.get(name, peak), peak)

    def end_batch(self, factor):
        assert self.scene.model.model[0].conv.weight.grad is not None
        self.told.append(("gradients of a batch", tuple(factor.shape)))

    def end_image(self):
        self.told.append("gradients of an image")

    def few_images(self, part):
        def see(name, a):
            if name == "model.0.conv":
                self.told.append(("few", part, a.shape[-1]))

        return watched(self.scene.model, see)

    def result(self):
        counts = {name: torch.tensor([len(peak)]) for name, peak in self.peaks.items()}
        return {kind: self.peaks if kind == "peak" else counts for kind in self.asked}


class PeakImportance(ResponseImportance):
    """Channels that never answer strongly go first."""

    needs = frozenset({"peak"})


@pytest.fixture(scope="module")
def model():
    return thin_detector()


def test_it_takes_part_in_the_passes_it_wants_and_its_criterion_scores(model):
    calibration = drawn_calibration(images=4, batch=2, micro_batch=1)
    found = gather(model, calibration, PeakImportance.needs)

    expected: dict[str, torch.Tensor] = {}
    see = watched(model, lambda name, a: expected.update({name: a.amax((0, 2, 3))}))
    with see, torch.no_grad():
        model(calibration.pixels(range(4)))
    assert found.gathered == {"peak", "peak-count"}
    assert found.response["peak"].keys() == expected.keys()
    for name, peak in expected.items():
        torch.testing.assert_close(found.response["peak"][name], peak)
    group = prunable_groups(model).groups["model.0.conv"]
    torch.testing.assert_close(
        PeakImportance(found)(group), expected["model.0.conv"].double()[: len(group[0].idxs)]
    )
    one = [range(i, i + 1) for i in range(4)]
    batch = ("gradients of a batch", ())
    assert Peaks.told == [
        *(("look", part) for part in one), "looked",
        ("batch", one[0]), ("batch", one[1]), batch, ("batch", one[2]), ("batch", one[3]), batch,
        *["gradients of an image"] * 4,
        *(("few", part, 16) for part in one[:3]),
    ]  # fmt: skip


def test_beside_others_each_is_as_alone_and_what_is_not_asked_for_is_not_made(model):
    calibration = drawn_calibration(images=4, batch=2, micro_batch=1)
    alone = gather(model, calibration, frozenset({"sparsity"}))

    both = gather(model, calibration, frozenset({"sparsity", "peak-count"}))

    assert set(both.response) == {"sparsity", "spread", "distance", "peak-count"}
    for kind, layers in alone.response.items():
        assert all(torch.equal(both.response[kind][name], v) for name, v in layers.items())


def test_it_is_kept_for_runs_that_begin_alike(model, tmp_path):
    calibration = drawn_calibration(images=4, batch=2, micro_batch=2)
    first = gather_once(model, calibration, frozenset({"peak"}), None, tmp_path)
    Peaks.told.clear()

    again = gather_once(model, calibration, frozenset({"peak"}), None, tmp_path)

    assert Peaks.told == []
    assert "peak" in kinds_in("response")
    assert all(torch.equal(again.of("peak")[n], v) for n, v in first.of("peak").items())


def test_two_statistics_cannot_find_the_same():
    with pytest.raises(ValueError, match="Peaks finds 'peak' already"):

        class Others(Statistic):
            kinds = frozenset({"peak"})

    assert Peaks in Statistic.__subclasses__()


def test_the_names_of_old_hold_all_kinds_that_there_are():
    assert {"taylor", "taylor-abs", "grad2", "taylor-2"} == statistics.GRADIENT
    assert {"sparsity", "obs", "rank", "nisp", "peak"} <= statistics.RESPONSE
    assert not hasattr(statistics, "OTHER")
