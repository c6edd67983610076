"""A run that would find too little room is refused when it is asked for, and nothing is queued."""

from __future__ import annotations

import shutil

import pytest

from msip_core.config import PruneConfig
from msip_core.errors import DiskFullError
from msip_core.runs.service import RunService


def test_too_little_room_is_said_when_a_run_is_asked_for(
    service: RunService, config: PruneConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    usage = shutil.disk_usage("/")
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage._replace(free=999_000_000))

    said = r"A run needs at least 1\.0 GB of free disk, and there are 1\.0 GB in .*: delete old"
    with pytest.raises(DiskFullError, match=said):
        service.submit(config)
    assert service.count() == 0

    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage._replace(free=1_000_000_000))
    service.submit(config)
    assert service.count() == 1


def test_a_run_of_a_study_is_queued_all_the_same_and_says_so_itself(
    service: RunService, config: PruneConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    usage = shutil.disk_usage("/")
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage._replace(free=0))

    service.submit(config, run_id="study-261122085501-865a-l2-s0")

    assert service.count() == 1  # its worker fails it with the reason, on the page of runs
