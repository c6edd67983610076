"""The preview is the cut that surgery would make, from scores that are gathered once."""

from __future__ import annotations

import pytest
import torch

from msip_core.config import AllocationOptions, MsipOptions, MsipWeights, PruneConfig
from msip_core.detector.cost import count_cost
from msip_core.detector.library import copy_model
from msip_core.pruning import preview as module
from msip_core.pruning.network import open_network
from msip_core.pruning.preview import one_cut, preview
from msip_core.pruning.surgery import channel_counts, prune_channels
from msip_core.questions.base import Job
from msip_core.questions.planning import PlannedCut, Preview
from msip_core.workspace import Workspace
from tests.pruning.kit import config


def look(lab: Workspace, asked: PruneConfig) -> PlannedCut:
    return preview(asked, lab, lambda done, message: None)


@pytest.mark.parametrize("method", ["msip", "msip-literal", "l2", "taylor"])
def test_numbers_and_layers_are_those_of_the_cut_network(lab: Workspace, method: str):
    asked = config(method=method)
    found = look(lab, asked)

    network = open_network(lab, asked.model, asked.imgsz)
    scores, _ = module._scores(
        asked, lab, network, module.open_for_run(lab, asked), lambda *_: None
    )
    twin = copy_model(network.model)
    prune_channels(twin, one_cut(network, scores, asked).removed)
    cost = count_cost(twin, asked.imgsz)
    assert {x.name: x.after for x in found.layers} == channel_counts(twin)
    assert found.macs[1] == pytest.approx(cost.macs)
    assert found.params[1] == pytest.approx(cost.params)
    assert found.size_mb[1] == pytest.approx(cost.size_mb, abs=0.0006)
    assert found.size_mb[0] == pytest.approx(network.size_mb)
    assert found.macs[1] / found.macs[0] == pytest.approx(0.5, rel=0.006)
    assert found.images == (0 if method == "l2" else 8)


def test_a_changed_weight_fuses_the_kept_terms_and_looks_at_nothing(
    lab: Workspace, monkeypatch: pytest.MonkeyPatch
):
    first = look(lab, config(seed=3))
    monkeypatch.setattr(module, "_calibrate", None)  # a second look would fail

    weights = MsipWeights(gradient=0, geometry=1, sparsity=0, information=0)
    other = look(lab, config(seed=3, msip=MsipOptions(weights=weights)))
    ranked = look(lab, config(seed=3, msip=MsipOptions(fusion="rank")))

    widths = [[x.after for x in found.layers] for found in (first, other, ranked)]
    assert widths[0] != widths[1] != widths[2]
    assert look(lab, config(seed=3)) == first


def test_it_tells_how_far_the_weights_matter(lab: Workspace):
    gradient = MsipWeights(gradient=1, geometry=0, sparsity=0, information=0)

    found = look(lab, config(seed=3))
    alone = look(lab, config(seed=3, msip=MsipOptions(weights=gradient)))

    assert found.other_than_gradient is not None
    assert 0 < found.other_than_gradient < 1
    assert alone.other_than_gradient is None  # nothing to tell: it is the gradient alone
    assert look(lab, config(seed=3, method="l2")).other_than_gradient is None


def test_another_seed_looks_at_other_images(lab: Workspace):
    assert look(lab, config(seed=3)).layers != look(lab, config(seed=4)).layers


def test_the_network_that_all_questions_share_is_never_changed(lab: Workspace):
    network = open_network(lab, config().model, config().imgsz)
    before = {name: value.clone() for name, value in network.model.state_dict().items()}

    look(lab, config(seed=5))

    assert open_network(lab, config().model, config().imgsz) is network
    for name, value in network.model.state_dict().items():
        assert torch.equal(value, before[name]), name


def test_a_goal_that_the_caps_forbid_is_refused_with_what_can_be_reached(lab: Workspace):
    limits = AllocationOptions(round_to=1, max_removed_per_iteration=0.1)

    found = look(lab, config(limits=limits, keep_macs=0.3))

    assert "cannot be reached" in str(found.refused)
    assert f"{found.least:.1%} at best" in str(found.refused)
    assert found.macs[1] / found.macs[0] == pytest.approx(found.least)
    least = look(lab, config(limits=limits, keep_macs=found.least + 0.01))
    assert least.refused is None


def test_memory_grows_with_the_batch_and_disk_with_the_steps(lab: Workspace):
    few, many = look(lab, config(iterations=2)), look(lab, config(iterations=20))

    sizes = [few.memory_gb[batch] for batch in (4, 8, 16, 32, 64)]
    assert sizes == sorted(sizes)
    assert sizes[0] < sizes[-1]
    assert few.memory_gb[1] == few.memory_gb[2]  # the calibration pass needs that much anyway
    assert many.disk_gb > few.disk_gb


def test_the_job_tells_how_far_it_is(lab: Workspace, tmp_path):
    told: list[float] = []
    at = Job(lab, tmp_path, lambda done, message: told.append(done))
    found = Preview(config=config(seed=6)).answer(at)

    assert told == sorted(told)
    assert len(set(told)) > 5
    assert found.refused is None
