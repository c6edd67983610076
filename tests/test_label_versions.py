"""What a run, a report and a card say of its data is said of the version that it used."""

from __future__ import annotations

import pytest

from msip_core.boxes import Box
from msip_core.data.correcting import save_labels
from msip_core.data.dataset import Dataset, open_dataset
from msip_core.label_versions import (
    content_hash_of,
    newest_version,
    report_at,
    summary_at,
    version_of_content,
)
from msip_core.models import write_card
from msip_core.runs.service import RunService
from msip_core.views.card_text import read_card_facts
from msip_core.views.history import read_history
from msip_core.workspace import Workspace
from tests.pages import lab_samples


@pytest.fixture
def before(workspace: Workspace) -> Dataset:
    """A dataset before its first image lost all boxes but one."""
    return lab_samples.draw_dataset(workspace)


def correct(workspace: Workspace, data: Dataset) -> Dataset:
    boxes = {data.images[0].id: [Box(cls=0, x1=10, y1=10, x2=110, y2=110)]}
    save_labels(workspace, data.name, boxes, seen=1, who="Ada")
    return open_dataset(workspace, data.name)


def test_a_dataset_that_was_never_corrected_has_one_version(before: Dataset) -> None:
    assert newest_version(before.root) == 1
    assert content_hash_of(before.root, 1) == before.content_hash
    assert summary_at(before.root, None) == summary_at(before.root, 1)
    assert newest_version(before.root / "nowhere") == 1
    assert summary_at(before.root / "nowhere", 1) == report_at(before.root / "nowhere", 1) == {}


def test_summary_and_report_of_an_older_version_have_its_boxes(
    workspace: Workspace, before: Dataset
) -> None:
    after = correct(workspace, before)
    root = after.root

    assert [summary_at(root, n)["boxes"] for n in (1, 2, None)] == [
        before.report.boxes,
        after.report.boxes,
        after.report.boxes,
    ]
    assert before.report.boxes != after.report.boxes
    assert [summary_at(root, n)["content_hash"] for n in (1, 2)] == [
        before.content_hash,
        after.content_hash,
    ]
    assert version_of_content(root, before.content_hash) == 1
    assert version_of_content(root, after.content_hash) == 2
    assert version_of_content(root, "of other data") is None
    size = before.report.box_size
    assert size is not None
    assert report_at(root, 1)["box_size"]["high"] == size.high
    assert report_at(root, 2)["box_size"]["high"] == pytest.approx(100, abs=0.01)


def test_a_runs_story_and_a_models_card_tell_of_the_version_they_used(
    workspace: Workspace, before: Dataset
) -> None:
    lab_samples.add_model(workspace, lab_samples.BASELINE)
    card = lab_samples.add_model(workspace, "old", dataset_hash=before.content_hash)
    write_card(workspace, card)
    service = RunService(workspace)
    run = service.submit(lab_samples.train_config())
    after = correct(workspace, before)
    later = service.submit(lab_samples.train_config())

    told = [read_history(workspace, service, one).dataset for one in (run, later)]
    assert [one["content_hash"] for one in told] == [before.content_hash, after.content_hash]
    assert told[0]["boxes"] == before.report.boxes
    facts = read_card_facts(workspace, "old")
    assert facts.dataset["boxes"] == before.report.boxes
    assert facts.report["boxes"] == before.report.boxes
