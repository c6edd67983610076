"""Corrections beside others, and on a disk that fails: what is saved stays saved."""

from __future__ import annotations

import threading
from typing import Any

import pytest

from msip_core.data import versions, writing
from msip_core.data.dataset import Dataset, open_dataset
from msip_core.data.versions import history
from msip_core.errors import NotFoundError
from msip_core.workspace import Workspace
from tests.data.test_correcting import CRYPT, NEW, rounded, saved, wells

__all__ = ["wells"]  # the fixture


def test_a_correction_that_is_saved_while_a_pixel_size_is_entered_is_kept(
    workspace: Workspace, wells: Dataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    def looked_at(lab: Workspace, name: str) -> Dataset:
        found = open_dataset(lab, name)
        saved(lab, {"well0": [NEW]})
        return found

    monkeypatch.setattr(writing, "open_dataset", looked_at)
    writing.set_pixel_size(workspace, "wells", 0.65)

    now = open_dataset(workspace, "wells")
    assert (now.labels_version, now.pixel_size_um) == (2, 0.65)
    assert rounded(now, "well0") == [(1, 40, 30, 52, 38)]
    assert [version.number for version in history(now.root, now.document)] == [1, 2]


def test_a_dataset_that_is_deleted_while_a_correction_is_saved_is_gone_whole(
    workspace: Workspace, wells: Dataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    deleting = threading.Thread(target=writing.delete_dataset, args=(workspace, "wells"))
    write_lists = versions.write_lists

    def slowly(*given: Any) -> None:
        deleting.start()
        deleting.join(0.5)
        write_lists(*given)

    monkeypatch.setattr(versions, "write_lists", slowly)
    assert saved(workspace, {"well0": [NEW]}).version is not None
    deleting.join()
    assert list(workspace.datasets.iterdir()) == []
    with pytest.raises(NotFoundError):
        saved(workspace, {"well0": [CRYPT]})
    with pytest.raises(NotFoundError, match="was deleted meanwhile"), versions.saving(wells.root):
        pass


def test_a_disk_that_is_full_just_after_the_save_takes_nothing_back(
    workspace: Workspace, wells: Dataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as disk:
        disk.setattr(versions, "write_lists", full)
        assert saved(workspace, {"well0": [NEW]}).version is not None
        assert rounded(open_dataset(workspace, "wells"), "well0") == [(1, 40, 30, 52, 38)]
    assert open_dataset(workspace, "wells").labels_version == 2
    assert not (wells.root / "versions" / "2" / "dataset.json").exists(), "settled by now"
    assert saved(workspace, {"well0": [NEW]}, seen=2).version is None
