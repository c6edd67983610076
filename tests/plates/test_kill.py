"""A count whose worker is killed (SIGKILL) ends, once resumed, like one that nobody disturbed."""

from __future__ import annotations

from pathlib import Path

import pytest

from msip_core.config import CountConfig
from msip_core.plates.folder import read
from msip_core.runs.executors import LocalExecutor
from msip_core.runs.service import RunService
from msip_core.runs.state import Action, RunState
from msip_core.runs.supervisor import Supervisor
from msip_core.workspace import Workspace, write_json
from tests.plates.conftest import FILES, Count, write_plate
from tests.runs.conftest import QUICK, wait_for

DEADLY = ("--work", "tests.plates.dying:run")


@pytest.mark.slow
def test_a_killed_count_goes_on_behind_what_it_has_written(
    lab: Workspace, count: Count, tmp_path: Path
) -> None:
    source = write_plate(tmp_path / "in", ("A01", "A02", "B01"), 3)
    unbroken = count(source)
    service = RunService(lab)
    run_id = service.submit(CountConfig(source=source, model="one", device="cpu"))
    run_dir = service.run_dir(run_id)
    write_json(run_dir / "kill.json", {"pictures": 5})
    executor = LocalExecutor(DEADLY)
    supervisor = Supervisor(lab, executor, QUICK).start()
    try:
        wait_for(service, run_id, RunState.INTERRUPTED)
        assert "SIGKILL" in str(service.get(run_id).error)
        half = read(run_dir)
        assert (len(half.images), half.total, half.done) == (5, 9, False)
        with (run_dir / FILES[0]).open("ab") as file:
            file.write(b'{"plate": "')  # as a kill in the middle of a write leaves it

        (run_dir / "kill.json").unlink()
        service.act(run_id, Action.RESUME)
        wait_for(service, run_id, RunState.COMPLETED)
        executor.exit_code(run_dir)
    finally:
        supervisor.close()

    for name in FILES:
        assert (run_dir / name).read_bytes() == (unbroken / name).read_bytes()
    (told,) = service.counted(run_id)
    assert (told.images, sum(told.counts.values())) == (9, len(read(unbroken).objects))
    assert service.get(run_id).done == 1
    assert "every image of the source has its row" in service.milestones(run_id)[-1].message
