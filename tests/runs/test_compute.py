"""Interactive work: one process, a queue, kept results, cancelling, and a process that dies."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Iterator

import psutil
import pytest

from msip_core.errors import ConfigError, NotFoundError
from msip_core.runs.cache import trim_cache
from msip_core.runs.compute import Compute
from msip_core.runs.compute_child import Child
from msip_core.runs.content_key import content_key
from msip_core.runs.jobs import JOBS
from msip_core.workspace import Workspace, write_json
from tests.runs.conftest import wait_until
from tests.runs.fake_jobs import FAKE_JOBS

SECONDS = 120.0  # patience for a busy computer


@pytest.fixture
def compute(workspace: Workspace) -> Iterator[Compute]:
    found = Compute(workspace, FAKE_JOBS, cancel_grace=0.5)
    yield found
    found.close()


def test_a_job_gives_its_result_and_its_files(compute: Compute) -> None:
    key = compute.submit("count", {"to": 3})
    assert compute.wait(key, SECONDS).state == "done"
    assert compute.result(key)["counted"] == 3
    assert (compute.folder(key) / "numbers.txt").read_text() == "3"


def test_the_same_question_is_answered_at_once_and_by_another_server_too(
    compute: Compute, workspace: Workspace
) -> None:
    key = compute.submit("count", {"to": 3})
    compute.wait(key, SECONDS)
    other = Compute(workspace, FAKE_JOBS)
    assert other.submit("count", {"to": 3}) == key
    assert other.status(key).state == "done"
    assert other.result(key) == compute.result(key)


def test_jobs_share_one_process_in_the_order_of_asking(compute: Compute) -> None:
    keys = [compute.submit("count", {"to": 5, "pause": 0.02, "n": n}) for n in range(3)]
    assert compute.status(keys[2]).state == "queued"
    assert compute.pending() == 3
    compute.wait(keys[1], SECONDS)
    assert compute.status(keys[0]).state == "done"
    compute.wait(keys[2], SECONDS)
    assert len({compute.result(key)["pid"] for key in keys}) == 1
    assert compute.pending() == 0


def test_a_job_yields_to_the_server_and_to_runs(compute: Compute) -> None:
    import os

    key = compute.submit("count", {"to": 1})
    compute.wait(key, SECONDS)
    assert compute.result(key)["nice"] == min(19, os.nice(0) + 10)


def test_progress_is_seen_while_the_job_runs(compute: Compute) -> None:
    key = compute.submit("count", {"to": 40, "pause": 0.05})
    wait_until(lambda: compute.status(key).done > 0.2, "progress")
    status = compute.status(key)
    assert status.state == "running"
    assert status.message.isdigit()
    assert status.seconds_left is not None
    assert status.seconds_left > 0


def test_a_ticket_makes_a_question_new_and_is_not_handed_to_the_job(compute: Compute) -> None:
    first = compute.submit("count", {"to": 1, "ticket": "a"})
    second = compute.submit("count", {"to": 1, "ticket": "b"})
    assert first != second
    compute.wait(second, SECONDS)
    assert compute.result(second)["params"] == {"to": 1}


def test_a_running_job_is_cancelled_at_its_next_report(compute: Compute) -> None:
    key = compute.submit("count", {"to": 1000, "pause": 0.02})
    wait_until(lambda: compute.status(key).done > 0, "running")
    compute.cancel(key)
    assert compute.wait(key, SECONDS).state == "cancelled"
    assert not compute.folder(key).exists()


def test_a_waiting_job_is_cancelled_at_once(compute: Compute) -> None:
    compute.submit("count", {"to": 100, "pause": 0.02})
    key = compute.submit("count", {"to": 2})
    compute.cancel(key)
    assert compute.status(key).state == "cancelled"


def test_a_job_that_does_not_listen_is_ended_and_the_next_one_works(
    compute: Compute, workspace: Workspace
) -> None:
    key = compute.submit("sulk", {})
    wait_until(lambda: compute.status(key).state == "running", "running")
    began = time.monotonic()
    compute.cancel(key)
    assert compute.wait(key, SECONDS).state == "cancelled"
    assert time.monotonic() - began < 50  # it sulks for 60
    assert not list(workspace.cache.glob(".*"))
    after = compute.submit("count", {"to": 1})
    assert compute.wait(after, SECONDS).state == "done"


def test_a_crash_of_the_process_fails_one_job_and_the_next_one_works(compute: Compute) -> None:
    key = compute.submit("crash", {})
    after = compute.submit("count", {"to": 1})
    status = compute.wait(key, SECONDS)
    assert status.state == "failed"
    assert "ended in the middle of this work (it was ended by signal SIGKILL" in str(status.error)
    assert compute.wait(after, SECONDS).state == "done"


def test_a_job_that_cannot_even_be_handed_over_fails_alone(
    compute: Compute, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as broken:
        broken.setattr(compute, "_threads", lambda: 1 // 0)
        key = compute.submit("count", {"to": 1})
        status = compute.wait(key, SECONDS)
    assert status.state == "failed"
    assert "ZeroDivisionError" in str(status.error)
    after = compute.submit("count", {"to": 2})
    assert compute.wait(after, SECONDS).state == "done"


def test_a_process_that_died_with_an_order_under_way_is_cleared_away(workspace: Workspace) -> None:
    child = Child(workspace)
    child.end()
    assert not child.send({"key": "k"})
    child.close()
    assert not child.is_alive()


def test_a_failed_job_says_why_leaves_nothing_half_made_and_can_be_tried_again(
    compute: Compute, workspace: Workspace
) -> None:
    key = compute.submit("fail", {"how": "input"})
    assert compute.wait(key, SECONDS).error == "There is no image 'x'."
    assert not compute.folder(key).exists()
    assert not list(workspace.cache.glob(".*"))
    assert compute.submit("fail", {"how": "input"}) == key
    assert compute.wait(key, SECONDS).state == "failed"
    bug = compute.submit("fail", {"how": "bug"})
    assert "KeyError: 'layer'" in str(compute.wait(bug, SECONDS).error)
    assert "Traceback" in (workspace.cache / "compute.log").read_text()


def test_what_libraries_print_does_not_disturb_the_talk(
    compute: Compute, workspace: Workspace
) -> None:
    key = compute.submit("noise", {})
    assert compute.wait(key, SECONDS).state == "done"
    assert "a library says hello" in (workspace.cache / "compute.log").read_text()


def test_unknown_jobs_and_forgotten_keys_are_named(compute: Compute) -> None:
    with pytest.raises(ConfigError, match="no job 'dream'; known: count"):
        compute.submit("dream", {})
    assert not compute.knows("0" * 40)
    with pytest.raises(NotFoundError, match="ask for it again"):
        compute.status("0" * 40)


def test_the_process_ends_with_its_server(workspace: Workspace) -> None:
    code = (
        "import os, sys, time\nfrom pathlib import Path\n"
        "from msip_core.runs.compute import Compute\nfrom msip_core.workspace import Workspace\n"
        "from tests.runs.fake_jobs import FAKE_JOBS\n"
        "c = Compute(Workspace.open(sys.argv[1]), FAKE_JOBS)\n"
        "k = c.submit('count', {'to': 1}); c.wait(k, 120); c.submit('sulk', {})\n"
        "print(c.result(k)['pid'], flush=True); time.sleep(0.3); os.kill(os.getpid(), 9)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(workspace.root)], capture_output=True, text=True,
        timeout=SECONDS, check=False,
    )  # fmt: skip
    pid = int(done.stdout)
    wait_until(lambda: not psutil.pid_exists(pid) or _is_zombie(pid), "the process ended")


def _is_zombie(pid: int) -> bool:
    try:
        return bool(psutil.Process(pid).status() == psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return True


def test_a_changed_file_is_a_new_question(workspace: Workspace) -> None:
    dataset = workspace.dataset_dir("drawn") / "dataset.json"
    write_json(dataset, {"n": 1})
    image = workspace.root / "a.png"
    image.write_bytes(b"1")
    questions = (
        {"pruned_model": "m", "dataset": "drawn"},
        {"images": [{"path": str(image)}]},
        {"baseline_run": "r", "baseline_iteration": 2},
        {"path": str(workspace.uploads)},
    )
    before = [content_key(workspace, "predict", q) for q in questions]
    assert before == [content_key(workspace, "predict", q) for q in questions]
    write_json(dataset, {"n": 22})
    image.write_bytes(b"22")
    weights = workspace.run_dir("r") / "iterations" / "2" / "model.pt"
    weights.parent.mkdir(parents=True)
    weights.write_bytes(b"w")
    (workspace.uploads / "new").mkdir()
    after = [content_key(workspace, "predict", q) for q in questions]
    assert not set(before) & set(after)


def test_every_job_of_the_product_names_a_function_of_its_room() -> None:
    for name, target in JOBS.items():
        assert target.startswith("msip_core."), name
        assert target.partition(":")[2].isidentifier()


def test_the_cache_keeps_what_was_looked_at_last(workspace: Workspace) -> None:
    import os

    for age, name in enumerate(("new", "old", "oldest")):
        write_json(workspace.cache / name / "result.json", {})
        (workspace.cache / name / "heat.npz").write_bytes(b"x" * 1000)
        os.utime(workspace.cache / name / "result.json", (1e9 - age, 1e9 - age))
    (workspace.cache / ".abc.999999999").mkdir()
    trim_cache(workspace.cache, limit=2500)
    assert sorted(p.name for p in workspace.cache.iterdir()) == ["new", "old"]
