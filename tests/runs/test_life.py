"""Whole lives of runs: a supervisor, real worker processes, and work that is only pretended."""

from __future__ import annotations

import itertools
import json
import os
import signal
from collections.abc import Callable, Iterator
from dataclasses import replace

import psutil
import pytest

from msip_core.config import PruneConfig
from msip_core.errors import IllegalTransitionError, InputError, WorkError
from msip_core.events import EpochRecord, IterationRecord
from msip_core.runs import slots
from msip_core.runs.executors import LocalExecutor
from msip_core.runs.foreground import run_foreground
from msip_core.runs.processes import ProcessIdentity
from msip_core.runs.service import RunService
from msip_core.runs.state import Action, RunState
from msip_core.runs.supervisor import Supervisor
from msip_core.settings import Settings
from tests.runs.conftest import FAKE, QUICK, history, make_config, wait_for, wait_until
from tests.runs.fake_work import GO_FILE

Submit = Callable[..., str]


@pytest.fixture
def _own_signals() -> Iterator[None]:
    """A worker that runs inside the test process must not keep its signal handler."""
    before = signal.getsignal(signal.SIGTERM)
    yield
    signal.signal(signal.SIGTERM, before)


SLOW = {"batches": 400, "batch_seconds": 0.05}


def test_a_queued_run_is_worked_on_to_completion(
    supervisor: Supervisor, service: RunService, submit: Submit
) -> None:
    run_id = submit()
    wait_for(service, run_id, RunState.COMPLETED)
    row = service.get(run_id)
    assert (row.done, row.macs_ratio, row.map50) == (1.0, 0.4, 0.85)
    assert [r.index for r in service.iterations(run_id)] == [1, 2]
    assert [(e.iteration, e.epoch) for e in service.epochs(run_id)] == [
        (1, 1),
        (1, 2),
        (2, 1),
        (2, 2),
    ]
    assert [e["seq"] for e in history(service.run_dir(run_id))] == list(
        range(1, len(history(service.run_dir(run_id))) + 1)
    )
    provenance = json.loads((service.run_dir(run_id) / "provenance.json").read_text())
    assert provenance["seed"] == 0
    assert len(provenance["attempts"]) == 1
    assert provenance["versions"]["torch"]


def test_a_processor_takes_as_many_runs_as_the_engineer_allows(
    monkeypatch: pytest.MonkeyPatch, supervisor: Supervisor, service: RunService, submit: Submit
) -> None:
    monkeypatch.setattr(slots, "get_settings", lambda: Settings(cpu_runs=2))
    first, second, third = (submit(**SLOW) for _ in range(3))
    for run_id in (first, second):
        wait_for(service, run_id, RunState.RUNNING)

    assert service.get(third).state is RunState.QUEUED
    for run_id in (first, second, third):
        service.act(run_id, Action.CANCEL)
    for run_id in (first, second, third):
        wait_for(service, run_id, RunState.CANCELLED)


def test_a_paused_run_gives_the_device_back_and_goes_on_where_it_was(
    supervisor: Supervisor, service: RunService, submit: Submit
) -> None:
    run_id = submit(**SLOW)
    wait_until(lambda: service.get(run_id).stage == "fine-tuning", "fine-tuning")
    assert service.actions(run_id) == (Action.PAUSE, Action.CANCEL)
    service.act(run_id, Action.PAUSE)
    wait_for(service, run_id, RunState.PAUSED)
    other = submit()
    wait_for(service, other, RunState.COMPLETED)
    (service.run_dir(run_id) / "plan.json").write_text("{}")
    service.act(run_id, Action.RESUME)
    wait_for(service, run_id, RunState.COMPLETED)
    assert len(service.iterations(run_id)) == 2


def test_a_cancelled_run_stops_and_cannot_go_on(
    supervisor: Supervisor, service: RunService, submit: Submit
) -> None:
    run_id = submit(**SLOW)
    wait_until(lambda: service.get(run_id).stage == "fine-tuning", "fine-tuning")
    service.act(run_id, Action.CANCEL)
    wait_for(service, run_id, RunState.CANCELLED)
    assert service.actions(run_id) == ()
    with pytest.raises(IllegalTransitionError, match="is cancelled: it cannot resume now"):
        service.act(run_id, Action.RESUME)


def test_a_worker_that_does_not_listen_is_ended_when_it_is_cancelled(
    supervisor: Supervisor, service: RunService, submit: Submit
) -> None:
    run_id = submit(deaf=True, **SLOW)
    wait_until(lambda: service.get(run_id).stage == "fine-tuning", "fine-tuning")
    service.act(run_id, Action.CANCEL)
    wait_for(service, run_id, RunState.CANCELLED)
    assert not supervisor.executor.is_alive(service.run_dir(run_id))


def test_one_run_at_a_time_on_a_device_and_first_come_first_served(
    supervisor: Supervisor, service: RunService, submit: Submit
) -> None:
    ids = [submit(batches=3, batch_seconds=0.05) for _ in range(3)]
    for run_id in ids:
        wait_for(service, run_id, RunState.COMPLETED)
    spans = [(service.get(i).started, service.get(i).finished) for i in ids]
    assert spans == sorted(spans)
    for (_, ended), (began, _) in itertools.pairwise(spans):
        assert ended is not None
        assert began is not None
        assert ended <= began


def test_runs_on_two_devices_go_side_by_side(
    supervisor: Supervisor, service: RunService, submit: Submit, config: PruneConfig
) -> None:
    first = submit(**SLOW)
    second = submit(config.model_copy(update={"device": "cuda:1"}), **SLOW)
    wait_for(service, first, RunState.RUNNING)
    wait_for(service, second, RunState.RUNNING)
    assert service.get(first).state is RunState.RUNNING


def test_a_killed_worker_leaves_an_interrupted_run_with_the_reason(
    supervisor: Supervisor, service: RunService, submit: Submit
) -> None:
    run_id = submit(**SLOW)
    wait_until(lambda: service.get(run_id).stage == "fine-tuning", "fine-tuning")
    worker = ProcessIdentity.read(service.run_dir(run_id) / "worker.json")
    assert worker is not None
    os.kill(worker.pid, signal.SIGKILL)
    wait_for(service, run_id, RunState.INTERRUPTED)
    assert "signal SIGKILL" in str(service.get(run_id).error)
    (service.run_dir(run_id) / "plan.json").write_text("{}")
    service.act(run_id, Action.RESUME)
    wait_for(service, run_id, RunState.COMPLETED)
    assert service.get(run_id).error is None
    attempts = json.loads((service.run_dir(run_id) / "provenance.json").read_text())["attempts"]
    assert len(attempts) == 2


def test_a_terminated_worker_says_so_itself(
    supervisor: Supervisor, service: RunService, submit: Submit
) -> None:
    run_id = submit(**SLOW)
    wait_until(lambda: service.get(run_id).stage == "fine-tuning", "fine-tuning")
    supervisor.executor.stop(service.run_dir(run_id), force=False)
    wait_for(service, run_id, RunState.INTERRUPTED)
    assert "asked the worker to stop" in str(service.get(run_id).error)


def test_an_exit_without_a_word_is_named_with_its_code(
    supervisor: Supervisor, service: RunService, submit: Submit
) -> None:
    run_id = submit(fail="exit")
    wait_for(service, run_id, RunState.INTERRUPTED)
    assert "exit code 7" in str(service.get(run_id).error)


@pytest.mark.usefixtures("_own_signals")
@pytest.mark.parametrize(
    ("fail", "sentence", "exit_code"),
    [
        ("input", "No labelled image in the train split of 'organoids'.", 2),
        ("memory", "A batch of 4 at 64 px did not fit into the memory. Repeat .* batch of 2", 1),
        ("torch memory", "A batch of 4 at 64 px did not fit", 1),
        ("disk", "The disk that holds the workspace is full", 1),
        ("bug", r"KeyError: 'channels'.*log\.txt", 1),
    ],
)
def test_a_failed_run_says_why_in_one_sentence(
    service: RunService, config: PruneConfig, fail: str, sentence: str, exit_code: int
) -> None:
    from msip_core.runs.worker import main

    run_id = service.submit(config, name=json.dumps({"fail": fail}))
    run_dir = service.run_dir(run_id)
    service.store.transition(run_id, RunState.RUNNING)
    code = main([str(run_dir), "--workspace", str(service.workspace.root), *FAKE])
    row = service.get(run_id)
    assert row.state is RunState.FAILED
    assert row.error is not None
    assert pytest.raises(ValueError, match=sentence).matches(ValueError(row.error))
    assert "Traceback" not in row.error
    assert (code, row.exit_code) == (exit_code, exit_code)


def test_a_traceback_is_in_the_log_and_nowhere_else(
    supervisor: Supervisor, service: RunService, submit: Submit
) -> None:
    run_id = submit(fail="bug")
    wait_for(service, run_id, RunState.FAILED)
    assert "Traceback" in service.log_tail(run_id)
    assert "Traceback" not in (service.run_dir(run_id) / "events.jsonl").read_text()


def test_a_run_whose_saved_model_differs_is_not_completed(
    supervisor: Supervisor, service: RunService, submit: Submit
) -> None:
    run_id = submit(check="fail")
    wait_for(service, run_id, RunState.FAILED)
    assert service.get(run_id).error == "the saved model differs"


def test_a_new_supervisor_adopts_a_living_worker(
    service: RunService, submit: Submit, supervisor: Supervisor
) -> None:
    run_id = submit(held=True)
    wait_for(service, run_id, RunState.RUNNING)
    supervisor.close()
    pid = ProcessIdentity.read(service.run_dir(run_id) / "worker.json")
    second = Supervisor(service.workspace, LocalExecutor(FAKE), QUICK).start()
    try:
        wait_until(lambda: second.is_in_charge, "the second is in charge")
        (service.run_dir(run_id) / GO_FILE).touch()
        wait_for(service, run_id, RunState.COMPLETED)
    finally:
        second.close()
    assert ProcessIdentity.read(service.run_dir(run_id) / "worker.json") == pid


def test_a_worker_that_died_while_no_server_was_up_is_found(
    service: RunService, submit: Submit, supervisor: Supervisor
) -> None:
    run_id = submit(**SLOW)
    wait_until(lambda: service.get(run_id).stage == "fine-tuning", "fine-tuning")
    supervisor.close()
    supervisor.executor.stop(service.run_dir(run_id), force=True)
    supervisor.executor.exit_code(service.run_dir(run_id))
    second = Supervisor(service.workspace, LocalExecutor(FAKE), QUICK).start()
    try:
        wait_for(service, run_id, RunState.INTERRUPTED)
    finally:
        second.close()
    assert "how it ended is not known" in str(service.get(run_id).error)


def test_only_one_supervisor_is_in_charge_and_the_next_takes_over(
    service: RunService, supervisor: Supervisor
) -> None:
    wait_until(lambda: supervisor.is_in_charge, "the first is in charge")
    second = Supervisor(service.workspace, LocalExecutor(FAKE), QUICK).start()
    try:
        assert not second.is_in_charge
        supervisor.close()
        wait_until(lambda: second.is_in_charge, "the second took over")
    finally:
        second.close()


def test_a_worker_without_a_heartbeat_is_ended(service: RunService, submit: Submit) -> None:
    watcher = Supervisor(service.workspace, LocalExecutor(FAKE), QUICK).start()
    try:
        run_id = submit(**SLOW)
        wait_until(lambda: service.get(run_id).stage == "fine-tuning", "fine-tuning")
        worker = ProcessIdentity.read(service.run_dir(run_id) / "worker.json")
        assert worker is not None
        psutil.Process(worker.pid).suspend()  # alive, but it does nothing any more
        # Patience is short from here on only: a busy computer may keep it waiting before.
        watcher.timing = replace(QUICK, heartbeat_timeout=1.0)
        wait_for(service, run_id, RunState.INTERRUPTED)
        watcher.executor.exit_code(service.run_dir(run_id))
    finally:
        watcher.close()
    assert "no sign of life" in str(service.get(run_id).error)
    assert not worker.is_alive()


def test_a_second_worker_of_the_same_run_does_not_touch_it(
    supervisor: Supervisor, service: RunService, submit: Submit, monkeypatch: pytest.MonkeyPatch
) -> None:
    from msip_core.runs import worker

    run_id = submit(**SLOW)
    wait_until(lambda: service.get(run_id).stage == "fine-tuning", "fine-tuning")
    monkeypatch.setattr(worker, "_PREDECESSOR_WAIT", 0.1)
    run_dir = service.run_dir(run_id)
    assert worker.main([str(run_dir), "--workspace", str(service.workspace.root), *FAKE]) == 1
    assert service.get(run_id).state is RunState.RUNNING


def test_the_foreground_tells_every_record_and_ends_with_the_run(
    supervisor: Supervisor, service: RunService, submit: Submit
) -> None:
    told: list[object] = []
    row = run_foreground(service.workspace, submit(), told.append, supervisor=supervisor)
    assert row.state is RunState.COMPLETED
    assert sum(isinstance(r, IterationRecord) for r in told) == 2
    assert sum(isinstance(r, EpochRecord) for r in told) == 4


def test_the_foreground_raises_the_reason_of_a_failure(
    supervisor: Supervisor, service: RunService, submit: Submit
) -> None:
    with pytest.raises(InputError, match="No labelled image"):
        run_foreground(
            service.workspace, submit(fail="input"), lambda _: None, supervisor=supervisor
        )
    with pytest.raises(WorkError, match="Something went wrong"):
        run_foreground(service.workspace, submit(fail="bug"), lambda _: None, supervisor=supervisor)


def test_a_run_whose_folder_was_removed_does_not_block_the_queue(
    supervisor: Supervisor, service: RunService, submit: Submit
) -> None:
    import shutil

    run_id = submit(**SLOW)
    wait_until(lambda: service.get(run_id).stage == "fine-tuning", "fine-tuning")
    supervisor.executor.stop(service.run_dir(run_id), force=True)
    shutil.rmtree(service.run_dir(run_id))
    wait_for(service, submit(), RunState.COMPLETED)
    assert service.count() == 1


def test_a_repeated_run_has_the_same_settings(
    supervisor: Supervisor, service: RunService, submit: Submit
) -> None:
    first = submit(make_config(service.workspace, seed=5))
    wait_for(service, first, RunState.COMPLETED)
    second = service.repeat(first)
    assert second != first
    assert service.get(second).config == service.get(first).config
