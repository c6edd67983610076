"""Interactive work: one process, a queue, kept results, cancelling, and a process that dies."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Iterator
from typing import ClassVar

import psutil
import pytest

from msip_core.boxes import Box
from msip_core.errors import NotFoundError
from msip_core.questions.base import lane_of
from msip_core.questions.detecting import Predict
from msip_core.questions.looking import GradCam, Shap
from msip_core.questions.sources import DatasetImage, SavedModel
from msip_core.runs.compute import Compute
from msip_core.runs.compute_child import Cancel, Child
from msip_core.workspace import Workspace
from tests.runs.conftest import wait_until
from tests.runs.fake_jobs import Count, Counted, Crash, Fail, Noise, Sulk

SECONDS = 120.0  # patience for a busy computer


@pytest.fixture
def compute(workspace: Workspace) -> Iterator[Compute]:
    found = Compute(workspace, cancel_grace=0.5)
    yield found
    found.close()


def test_a_job_gives_its_result_and_its_files(compute: Compute) -> None:
    key = compute.submit(Count(to=3))
    assert compute.wait(key, SECONDS).state == "done"
    assert compute.result_of(key, Counted).counted == 3
    assert (compute.folder(key) / "numbers.txt").read_text() == "3"


def test_the_same_question_is_answered_at_once_and_by_another_server_too(
    compute: Compute, workspace: Workspace
) -> None:
    key = compute.submit(Count(to=3))
    compute.wait(key, SECONDS)
    other = Compute(workspace)
    assert other.submit(Count(to=3)) == key
    assert other.status(key).state == "done"
    assert other.result_of(key, Counted) == compute.result(Count(to=3))


def test_jobs_share_one_process_in_the_order_of_asking(compute: Compute) -> None:
    keys = [compute.submit(Count(to=5, pause=0.02, n=n)) for n in range(3)]
    assert compute.status(keys[2]).state == "queued"
    assert compute.pending() == 3
    compute.wait(keys[1], SECONDS)
    assert compute.status(keys[0]).state == "done"
    compute.wait(keys[2], SECONDS)
    assert len({compute.result_of(key, Counted).pid for key in keys}) == 1
    assert compute.pending() == 0


class Look(Count):
    """Seconds of work."""

    def is_look(self) -> bool:
        return True


class Timing(Count):
    measures_time: ClassVar[bool] = True


LONG = 10_000  # steps of .02 seconds: until it is cancelled


def test_a_short_look_is_done_while_a_long_count_is_at_work(compute: Compute) -> None:
    long = compute.submit(Count(to=LONG, pause=0.02))
    wait_until(lambda: compute.status(long).done > 0, "counting")
    look = compute.submit(Look(to=2))
    assert compute.wait(look, SECONDS).state == "done"
    assert compute.status(long).state == "running"
    assert compute.pending(Look(to=2)) == 0
    assert compute.pending() == compute.pending(Count(to=2)) == 1


def test_heat_maps_and_predictions_on_few_images_are_looks() -> None:
    model = SavedModel(model="m")
    images = tuple(DatasetImage(dataset="d", image=str(n)) for n in range(5))
    assert lane_of(Predict(model=model, images=images[:4])) == "look"
    assert lane_of(Predict(model=model, images=images)) == "work"
    box = Box(cls=0, x1=0, y1=0, x2=9, y2=9)
    assert lane_of(GradCam(model=model, image=images[0], box=box)) == "look"
    assert lane_of(Shap(model=model, image=images[0], box=box)) == "work"


def test_who_waits_is_told_what_is_at_work_and_what_comes_before(compute: Compute) -> None:
    long = compute.submit(Count(to=LONG, pause=0.02))
    wait_until(lambda: compute.status(long).state == "running", "counting")
    compute.submit(Noise())
    third = compute.submit(Count(to=1))
    assert compute.status(third).ahead == ("Count", "Noise")
    assert compute.status(long).ahead == ()
    compute.cancel(long)
    assert compute.wait(third, SECONDS).ahead == ()


def test_milliseconds_are_measured_alone(compute: Compute) -> None:
    look = compute.submit(Look(to=LONG, pause=0.02))
    wait_until(lambda: compute.status(look).done > 0, "looking")
    timed = compute.submit(Timing(to=LONG, pause=0.02))
    assert compute.status(timed).ahead == ("Look",)
    time.sleep(0.3)
    assert compute.status(timed).state == "queued"
    compute.cancel(look)
    wait_until(lambda: compute.status(timed).state == "running", "timing")
    other = compute.submit(Look(to=1))
    assert compute.status(other).ahead == ("Timing",)
    time.sleep(0.3)
    assert compute.status(other).state == "queued"
    compute.cancel(timed)
    assert compute.wait(other, SECONDS).state == "done"


def test_a_damaged_result_is_asked_for_again(compute: Compute) -> None:
    key = compute.submit(Count(to=3))
    compute.wait(key, SECONDS)
    (compute.folder(key) / "result.json").write_text('{"counted": ')

    with pytest.raises(NotFoundError, match="ask for it again"):
        compute.result(Count(to=3))

    assert compute.submit(Count(to=3)) == key
    assert compute.wait(key, SECONDS).state == "done"
    assert compute.result_of(key, Counted).counted == 3


def test_a_job_yields_to_the_server_and_to_runs(compute: Compute) -> None:
    import os

    key = compute.submit(Count(to=1))
    compute.wait(key, SECONDS)
    assert compute.result_of(key, Counted).nice == min(19, os.nice(0) + 10)


def test_progress_is_seen_while_the_job_runs(compute: Compute) -> None:
    key = compute.submit(Count(to=40, pause=0.05))
    wait_until(lambda: compute.status(key).done > 0.2, "progress")
    status = compute.status(key)
    assert status.state == "running"
    assert status.message.isdigit()
    assert status.seconds_left is not None
    assert status.seconds_left > 0


def test_a_ticket_makes_a_question_new(compute: Compute) -> None:
    keys = [compute.submit(Count(to=1), ticket) for ticket in ("a", "b", "")]
    assert len(set(keys)) == 3
    assert keys[2] == compute.key(Count(to=1))
    compute.wait(keys[1], SECONDS)
    assert compute.result_of(keys[1], Counted).counted == 1


def test_a_running_job_is_cancelled_at_its_next_report(compute: Compute) -> None:
    key = compute.submit(Count(to=1000, pause=0.02))
    wait_until(lambda: compute.status(key).done > 0, "running")
    compute.cancel(key)
    assert compute.wait(key, SECONDS).state == "cancelled"
    assert not compute.folder(key).exists()


def test_a_waiting_job_is_cancelled_at_once(compute: Compute) -> None:
    compute.submit(Count(to=100, pause=0.02))
    key = compute.submit(Count(to=2))
    compute.cancel(key)
    assert compute.status(key).state == "cancelled"


def test_a_job_that_does_not_listen_is_ended_and_the_next_one_works(
    compute: Compute, workspace: Workspace
) -> None:
    key = compute.submit(Sulk())
    wait_until(lambda: compute.status(key).state == "running", "running")
    began = time.monotonic()
    compute.cancel(key)
    assert compute.wait(key, SECONDS).state == "cancelled"
    assert time.monotonic() - began < 50  # it sulks for 60
    assert not list(workspace.cache.glob(".*"))
    after = compute.submit(Count(to=1))
    assert compute.wait(after, SECONDS).state == "done"


def test_a_crash_of_the_process_fails_one_job_and_the_next_one_works(compute: Compute) -> None:
    key = compute.submit(Crash())
    after = compute.submit(Count(to=1))
    status = compute.wait(key, SECONDS)
    assert status.state == "failed"
    assert "ended in the middle of this work (it was ended by signal SIGKILL" in str(status.error)
    assert compute.wait(after, SECONDS).state == "done"


def test_a_job_that_cannot_even_be_handed_over_fails_alone(
    compute: Compute, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as broken:
        broken.setattr(compute, "_threads", lambda lane: 1 // 0)
        key = compute.submit(Count(to=1))
        status = compute.wait(key, SECONDS)
    assert status.state == "failed"
    assert "ZeroDivisionError" in str(status.error)
    after = compute.submit(Count(to=2))
    assert compute.wait(after, SECONDS).state == "done"


def test_a_process_that_died_with_an_order_under_way_is_cleared_away(workspace: Workspace) -> None:
    child = Child(workspace)
    child.end()
    assert not child.send(Cancel(cancel="k"))
    child.close()
    assert not child.is_alive()


def test_a_failed_job_says_why_leaves_nothing_half_made_and_can_be_tried_again(
    compute: Compute, workspace: Workspace
) -> None:
    key = compute.submit(Fail(how="input"))
    assert compute.wait(key, SECONDS).error == "There is no image 'x'."
    assert not compute.folder(key).exists()
    assert not list(workspace.cache.glob(".*"))
    assert compute.submit(Fail(how="input")) == key
    assert compute.wait(key, SECONDS).state == "failed"
    bug = compute.submit(Fail(how="bug"))
    assert "KeyError: 'layer'" in str(compute.wait(bug, SECONDS).error)
    assert "Traceback" in (workspace.cache / "compute.log").read_text()


def test_what_libraries_print_does_not_disturb_the_talk(
    compute: Compute, workspace: Workspace
) -> None:
    key = compute.submit(Noise())
    assert compute.wait(key, SECONDS).state == "done"
    assert "a library says hello" in (workspace.cache / "compute.log").read_text()


def test_forgotten_keys_are_named(compute: Compute) -> None:
    assert not compute.knows("0" * 40)
    with pytest.raises(NotFoundError, match="ask for it again"):
        compute.status("0" * 40)


def test_the_process_ends_with_its_server(workspace: Workspace) -> None:
    code = (
        "import os, sys, time\nfrom pathlib import Path\n"
        "from msip_core.runs.compute import Compute\nfrom msip_core.workspace import Workspace\n"
        "from tests.runs.fake_jobs import Count, Sulk\n"
        "c = Compute(Workspace.open(sys.argv[1]))\n"
        "k = c.submit(Count(to=1)); c.wait(k, 120); c.submit(Sulk())\n"
        "print(c.result(Count(to=1)).pid, flush=True); time.sleep(0.3); os.kill(os.getpid(), 9)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(workspace.root)],
        capture_output=True,
        text=True,
        timeout=SECONDS,
        check=False,
    )
    pid = int(done.stdout)
    wait_until(lambda: not psutil.pid_exists(pid) or _is_zombie(pid), "the process ended")


def _is_zombie(pid: int) -> bool:
    try:
        return bool(psutil.Process(pid).status() == psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return True
