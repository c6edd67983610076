"""Runs on other computers, which are made up: what is sent, what comes back, and what is lost."""

from __future__ import annotations

import hashlib
import json
import os
import socket
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from msip_core.computers import commands_there
from msip_core.errors import ConfigError, DiskFullError, IllegalTransitionError
from msip_core.events import MemoryRecord
from msip_core.gpus import Gpu
from msip_core.runs import engines, lease, settling
from msip_core.runs.computers import find_computers
from msip_core.runs.events_log import EventLog
from msip_core.runs.executors import LocalExecutor
from msip_core.runs.far import carrier
from msip_core.runs.far.carrier import Carrier
from msip_core.runs.far.cluster import ClusterGone, Node
from msip_core.runs.far.contents import Contents
from msip_core.runs.far.executor import FarExecutor
from msip_core.runs.far.keeper import Keeper, Order
from msip_core.runs.far.parcels import Part, Piece, parcels_of, portions
from msip_core.runs.far.placing import Need, choose_seat, no_place
from msip_core.runs.far.ray_cluster import RayCluster
from msip_core.runs.far.snapshots import freeze, run_files
from msip_core.runs.gpu_memory import needed_gb
from msip_core.runs.lease import Lease, Seat
from msip_core.runs.placing import WHOLE
from msip_core.runs.processes import ProcessIdentity
from msip_core.runs.service import RunService
from msip_core.runs.slots import ANY_GPU
from msip_core.runs.state import Action, RunState
from msip_core.runs.supervisor import Supervisor
from msip_core.settings import Settings
from msip_core.workspace import Workspace
from tests.runs.conftest import FAKE, QUICK, make_config, wait_for, wait_until
from tests.runs.made_up_cluster import SEAT, MadeUpCluster

Submit = Callable[..., str]


# --- whole lives --------------------------------------------------------------------


@pytest.fixture
def cluster(tmp_path: Path) -> Iterator[MadeUpCluster]:
    found = MadeUpCluster(tmp_path / "computers")
    yield found
    found.end()


@pytest.fixture
def server(
    cluster: MadeUpCluster, workspace: Workspace, service: RunService
) -> Iterator[Supervisor]:
    executor = FarExecutor(cluster, workspace, arguments=FAKE, pace=0.05)
    found = Supervisor(workspace, executor, replace(QUICK, stumble=0.1)).start()
    yield found
    found.close()


def _epochs(service: RunService, run_id: str) -> list[tuple[int, int]]:
    events = EventLog(service.run_dir(run_id)).read()
    return [(e["iteration"], e["epoch"]) for e in events if e["kind"] == "epoch"]


@pytest.mark.parametrize("away", [False, True], ids=["with its server", "while none is there"])
def test_a_run_whose_computer_dies_goes_on_elsewhere_from_its_last_epoch(
    cluster: MadeUpCluster,
    server: Supervisor,
    service: RunService,
    submit: Submit,
    away: bool,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    asked: list[str] = []
    monkeypatch.setattr(carrier, "ask_after_run", lambda _, __, model, ___: asked.append(model))
    run_id = submit(batches=10, batch_seconds=0.05)
    wait_until(lambda: _epochs(service, run_id) == [(1, 1)], "the first epoch", 60)
    first = cluster.where(run_id)
    if away:
        server.close()
    cluster.kill(first, comes_back=away)
    (service.run_dir(run_id) / "plan.json").write_text("{}")  # and fast from now on
    if away:
        executor = FarExecutor(cluster, service.workspace, arguments=FAKE, pace=0.05)
        server = Supervisor(service.workspace, executor, QUICK).start()
    wait_for(service, run_id, RunState.COMPLETED)
    wait_until(lambda: cluster.names() == (), "the end of all keepers", 30)
    server.close()

    assert _epochs(service, run_id) == [(1, 1), (1, 2), (2, 1), (2, 2)], "none is told twice"
    final = service.final(run_id)
    assert final is not None
    assert final.model_id in asked, "models are timed where people compare them"
    history = EventLog(service.run_dir(run_id)).read()
    states = [(e["state"], e.get("node")) for e in history if e["kind"] == "state"]
    last = "lab-2" if first == "1" and not away else "lab-1"
    assert states == [
        ("queued", None),
        ("running", f"lab-{first}"),
        ("interrupted", None),
        ("queued", None),
        ("running", last),
        ("completed", None),
    ]
    diary = [m.message for m in service.milestones(run_id)]
    assert any(f"the connection to the computer lab-{first} is lost" in one for one in diary)
    assert any("queued again by itself" in one for one in diary)
    assert "queued again by itself" in service.log_tail(run_id)


def test_a_run_is_queued_again_by_itself_only_once(
    cluster: MadeUpCluster, server: Supervisor, service: RunService, submit: Submit
) -> None:
    run_id = submit(batches=400, batch_seconds=0.02)
    for _ in range(2):
        wait_until(lambda: bool(cluster.pids()), "a worker", 60)
        wait_until(lambda: service.get(run_id).stage == "fine-tuning", "fine-tuning", 60)
        cluster.kill(cluster.where(run_id))
    wait_for(service, run_id, RunState.INTERRUPTED)
    wait_until(lambda: not server._watched, "the end of the watch", 30)
    assert "is lost" in str(service.get(run_id).error)
    assert service.actions(run_id) == (Action.RESUME, Action.CANCEL)


def test_as_many_runs_at_a_time_as_the_computers_have_cores_and_each_dataset_goes_once(
    cluster: MadeUpCluster, server: Supervisor, service: RunService, submit: Submit
) -> None:
    ids = [submit(batches=1, batch_seconds=0.05) for _ in range(3)]
    wait_until(lambda: len(cluster.pids()) == 2, "two workers", 60)
    assert service.get(ids[2]).state is RunState.QUEUED
    found = find_computers(service, server.executor)
    assert [(one.name, len(one.runs)) for one in found.found] == [("lab-1", 1), ("lab-2", 1)]
    assert (found.engine, found.waiting, found.others) == ("ray", 1, 2)
    for run_id in ids:
        wait_for(service, run_id, RunState.COMPLETED)
    sent = [key for method, key in cluster.sent if method == "finish"]
    assert len(sent) == 2 * len(set(sent)) == 4, "dataset and weights, once to each computer"


def test_a_person_removed_the_folder_while_no_server_was_there(
    cluster: MadeUpCluster, workspace: Workspace, service: RunService, submit: Submit
) -> None:
    executor = FarExecutor(cluster, workspace, arguments=FAKE, pace=0.05)
    cluster.open(f"{executor._prefix}gone-1", SEAT)
    cluster.open("of-another-program", SEAT)
    executor.rooms(service.store).look()
    assert cluster.names() == ("of-another-program",)


def test_a_cluster_that_does_not_answer_is_said_and_ends_no_run(
    cluster: MadeUpCluster, server: Supervisor, service: RunService, submit: Submit
) -> None:
    run_id = submit(batches=10, batch_seconds=0.03)
    wait_until(lambda: service.get(run_id).stage == "fine-tuning", "fine-tuning", 60)
    cluster.cut = True
    waiting = submit()
    wait_until(lambda: server.stuck_for() is not None, "trouble", 30)
    assert isinstance(server.stuck_for()[1], ClusterGone)  # type: ignore[index]
    assert find_computers(service, server.executor).trouble
    assert service.get(run_id).state is RunState.RUNNING
    cluster.cut = False
    wait_for(service, run_id, RunState.COMPLETED)
    wait_for(service, waiting, RunState.COMPLETED)


# --- judging ------------------------------------------------------------------------


def test_who_only_looks_leaves_a_run_alone_while_its_cluster_answers(
    service: RunService, submit: Submit
) -> None:
    run_dir = service.run_dir(submit())
    EventLog(run_dir).transition(RunState.RUNNING, device="cpu", node="lab-1")
    ProcessIdentity(1, "far-boot/1", "another-computer").write(run_dir / "worker.json")
    (run_dir / "heartbeat").touch()
    os.utime(run_dir / "heartbeat", (1, 1))
    with socket.create_server(("127.0.0.1", 0)) as there:
        host, port = there.getsockname()
        Lease("msip-k", SEAT, f"{host}:{port}", 2, 0).write(run_dir)
        assert settling.settle(service.workspace, [run_dir.name]) == []
        assert EventLog(run_dir).state() is RunState.RUNNING
    lease._answers.clear()
    assert settling.settle(service.workspace, [run_dir.name]) == [run_dir.name]
    assert EventLog(run_dir).state() is RunState.INTERRUPTED


def test_what_a_person_asked_meanwhile_counts_more_than_the_last_word_from_there(
    service: RunService, submit: Submit
) -> None:
    def told(seq: int, state: str) -> dict[str, Any]:
        return {"seq": seq, "time": 1.0, "kind": "state", "state": state, "reason": None}

    log = EventLog(service.run_dir(submit()))
    log.transition(RunState.RUNNING)
    log.transition(RunState.PAUSING)
    log.take_in([told(3, "queued")], after=2)  # its memory was too little
    assert log.state() is RunState.PAUSED
    log.take_in([told(3, "queued")], after=2)
    assert log.last_seq() == 4, "once"

    log = EventLog(service.run_dir(submit()))
    log.transition(RunState.RUNNING)
    log.transition(RunState.CANCELLING)
    log.take_in([told(3, "pausing"), told(4, "paused")], after=2)
    assert log.state() is RunState.CANCELLING
    log.take_in([told(5, "cancelled")], after=2)
    assert log.state() is RunState.CANCELLED


def test_a_run_that_rests_cannot_be_given_back(service: RunService, submit: Submit) -> None:
    log = EventLog(service.run_dir(submit()))
    with pytest.raises(IllegalTransitionError):
        log.give_back("lost", "again")


# --- places -------------------------------------------------------------------------

CARD = Gpu(0, "0", "H200", total_gb=100.0, free_gb=90.0)
NODE = Node("a", "lab-a", "10.0.0.2", 8.0, 2.0, 64.0, 8.0, 2.0, 64.0, (CARD, CARD))
SMALL = Need(ANY_GPU, 30.0, (4.0, 10.0))


def _choose(
    need: Need, nodes: list[Node], held: dict[str, list[Seat]] | None = None
) -> Seat | None:
    return choose_seat(need, nodes, held or {}, cpu_runs=2, gpu_runs=None)


def test_a_run_holds_the_share_of_a_gpu_that_its_memory_takes() -> None:
    seat = _choose(SMALL, [NODE])
    assert seat == Seat("a", "lab-a", "cuda:0", 1.0, 0.3, 4.0)
    whole = _choose(replace(SMALL, gpu_gb=WHOLE), [NODE])
    assert whole is not None
    assert (whole.gpus, whole.cpus) == (1.0, 4.0)
    halves = choose_seat(SMALL, [NODE], {}, cpu_runs=1, gpu_runs=3)
    assert halves is not None
    assert halves.gpus == 0.33


def test_two_halves_of_two_gpus_are_not_one_gpu() -> None:
    ours = [Seat("a", "lab-a", "cuda:0", 1.0, 0.6, 4.0)] * 2
    large = replace(SMALL, gpu_gb=50.0)
    assert _choose(large, [NODE], {"a": ours}) is None
    assert _choose(SMALL, [NODE], {"a": ours}) is not None
    busy = replace(NODE, free_gpus=0.2)  # others hold the rest
    assert _choose(SMALL, [busy]) is None


def test_runs_spread_and_go_back_to_where_they_were() -> None:
    other = replace(NODE, id="b", computer="lab-b")
    held = {"a": [Seat("a", "lab-a", "cuda:0", 1.0, 0.3, 4.0)]}
    seats = [
        _choose(SMALL, [NODE, other], held),
        _choose(replace(SMALL, before="lab-b"), [NODE, other]),
    ]
    assert [seat and seat.computer for seat in seats] == ["lab-b", "lab-b"]


def test_without_any_gpu_auto_takes_processors_and_a_head_without_cores_takes_none() -> None:
    plain = replace(NODE, gpus=0.0, free_gpus=0.0, cards=())
    seat = _choose(SMALL, [plain])
    assert seat is not None
    assert (seat.device, seat.cpus, seat.gpus, seat.memory_gb) == ("cpu", 4.0, 0.0, 10.0)
    assert _choose(SMALL, [replace(plain, cpus=0.0)]) is None
    wrong = replace(plain, problem="It has another version.")
    assert _choose(SMALL, [wrong]) is None
    assert "lab-a: It has another version." in str(no_place([wrong]))
    assert no_place([wrong, plain]) is None
    assert _choose(replace(SMALL, host_gb=(4.0, 500.0)), [plain]) is not None, "an estimate"


# --- what goes over -----------------------------------------------------------------


def test_a_parcel_is_named_by_its_content_and_weights_go_by_a_path_of_their_own(
    workspace: Workspace, service: RunService
) -> None:
    config = make_config(workspace)
    parcels, there = parcels_of(config, workspace)
    places = {parcel.place: parcel.key for parcel in parcels}
    assert places.keys() == {"datasets/drawn", there.model.rpartition("/")[0]}
    assert there.model.endswith("/baseline.pt")
    assert not Path(there.model).is_absolute()
    (workspace.root / "baseline.pt").write_bytes(b"other weights")
    (workspace.dataset_dir("drawn") / "labels.cache").write_bytes(b"paths of this computer")
    again, _ = parcels_of(config, workspace)
    assert places["datasets/drawn"] == again[0].key
    assert set(places.values()) != {parcel.key for parcel in again}


def test_files_go_in_parts_of_some_megabytes() -> None:
    assert list(portions({"a": 5, "b": 0, "c": 12}, limit=10)) == [
        [Part("a", 0, 5), Part("b", 0, 0), Part("c", 0, 5)],
        [Part("c", 5, 7)],
    ]


def test_what_was_used_longest_ago_makes_room_and_what_is_used_stays(tmp_path: Path) -> None:
    contents = Contents(tmp_path / "contents", most_gb=100e-9)
    files = {"x": hashlib.sha256(b"a").hexdigest()}

    def bring(key: str, size: int, used: set[str]) -> None:
        assert contents.state(key) == "wanted"
        contents.begin(key, size, used)
        contents.take(key, [Piece("x", 0, b"a", 1)])
        contents.finish(key, files)
        (tmp_path / f"contents/{key}.json").write_text(json.dumps({"bytes": size}))

    bring("first", 40, set())
    bring("second", 40, set())
    for key in ("first", "second"):
        os.utime(tmp_path / f"contents/{key}.json", (1, 1))
    contents.use("first")
    bring("third", 40, set())
    assert [contents.state(key) for key in ("first", "third")] == ["here", "here"]
    assert not (tmp_path / "contents/second").exists()
    assert contents.state("second") == "wanted"
    with pytest.raises(DiskFullError, match="MSIP_NODE_CACHE_GB"):
        contents.begin("second", 40, {"first", "third"})
    other = Contents(tmp_path / "contents", most_gb=1.0)
    assert other.state("second") == "coming", "one keeper at a time is sent it"
    contents.close()
    assert other.state("second") == "wanted"


def test_what_came_over_wrong_does_not_count(tmp_path: Path) -> None:
    contents = Contents(tmp_path / "contents", most_gb=1.0)
    contents.state("key")
    contents.begin("key", 1, set())
    contents.take("key", [Piece("x", 0, b"b", 1)])
    with pytest.raises(Exception, match="has to be sent again"):
        contents.finish("key", {"x": "00"})
    with pytest.raises(Exception, match="outside"):
        contents.take("key", [Piece("../../evil", 0, b"b", 1)])


def test_a_snapshot_is_of_one_moment(tmp_path: Path) -> None:
    run_dir = tmp_path / "run"
    run_dir.mkdir()
    (run_dir / "state.pt").write_text("1")
    looks = 0

    def read() -> int:
        nonlocal looks
        looks += 1
        if looks == 1:  # the worker writes while we look
            (run_dir / "new").write_text("2 2")
            (run_dir / "new").replace(run_dir / "state.pt")
        return looks

    files, found = freeze(lambda: run_files(run_dir), {}, run_dir, tmp_path / "frozen", read)
    assert (found, files["state.pt"].size) == (2, 3)
    (run_dir / "state.pt").unlink()
    assert (tmp_path / "frozen/state.pt").read_text() == "2 2", "held, whatever comes next"


def test_a_keeper_that_was_left_is_swept_by_the_next(tmp_path: Path) -> None:
    left = tmp_path / "runs/old/workspace/runs/r"
    left.mkdir(parents=True)
    keeper = Keeper("new", str(tmp_path), 1.0)
    keeper.begin(Order("r"))
    assert not (tmp_path / "runs/old").exists()
    assert (tmp_path / "runs/new").is_dir()
    keeper.leave()
    assert not (tmp_path / "runs/new").exists()


# --- choosing -----------------------------------------------------------------------


def test_a_missing_ray_is_one_sentence(
    workspace: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert isinstance(engines.chosen_executor(workspace), LocalExecutor)
    monkeypatch.setattr(engines, "get_settings", lambda: Settings(executor="ray"))
    monkeypatch.setattr(engines, "find_spec", lambda name: None)
    with pytest.raises(ConfigError, match="pip install"):
        engines.chosen_executor(workspace)
    monkeypatch.setattr(engines, "find_spec", lambda name: object())
    assert isinstance(engines.chosen_executor(workspace), FarExecutor)


def test_a_cluster_that_is_not_there_is_said_at_once(workspace: Workspace) -> None:
    with pytest.raises(ClusterGone, match="nothing listens there"):
        RayCluster("127.0.0.1:1", workspace).nodes()


def test_this_computer_alone_is_one_row_with_its_runs(service: RunService, submit: Submit) -> None:
    run_id = submit()
    service.store.transition(run_id, RunState.RUNNING, device="cpu")
    (service.run_dir(run_id) / "heartbeat").touch()
    found = find_computers(service, LocalExecutor())
    assert [[run.id for run in one.runs] for one in found.found] == [[run_id]]
    assert (found.engine, found.others, found.found[0].free_cores) == ("local", 0, 0.0)
    assert "ray start --address=" in commands_there()


def test_memory_that_was_measured_there_counts_here(
    cluster: MadeUpCluster, workspace: Workspace, service: RunService, submit: Submit
) -> None:
    run_id = submit()
    run_dir = service.run_dir(run_id)
    carrier = Carrier(cluster, workspace, run_dir, Lease("k", SEAT, "x:1", 1, 0))
    record = MemoryRecord(device="cuda:0", peak_gb=7.0, parts=1)
    carrier._learn([record.model_dump(mode="json")])
    assert needed_gb(service.get(run_id).config, workspace) == pytest.approx(7.7)
