"""Several GPUs, made up: which one a run gets, how many share one, and too little memory."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import pytest

from msip_core import gpus
from msip_core.config import PruneConfig, parse_run_config
from msip_core.errors import ConfigError
from msip_core.gpus import Gpu, list_gpus, only
from msip_core.runs import slots
from msip_core.runs.context import WorkerContext
from msip_core.runs.events_log import EventLog
from msip_core.runs.executors import LocalExecutor
from msip_core.runs.gpu_memory import estimated_gb, needed_gb, remember
from msip_core.runs.placing import WHOLE, GpuRooms, Wish, choose_gpu
from msip_core.runs.service import RunService
from msip_core.runs.slots import ANY_GPU, compete, room_of, slot_of
from msip_core.runs.state import Action, RunState
from msip_core.runs.supervisor import Supervisor
from msip_core.runs.tight_memory import settled_in, start_again
from msip_core.settings import Settings
from msip_core.ways import Way
from msip_core.workspace import Workspace
from tests.runs.conftest import FAKE, QUICK, history, make_config, wait_for, wait_until

Submit = Callable[..., str]
SLOW = {"batches": 400, "batch_seconds": 0.05}
LISTED = """\
0, GPU-aa11, 570.1, 140000, 139000, 0, 9.0, NVIDIA H200
1, GPU-bb22, 570.1, 140000, 20000, 98, 9.0, NVIDIA H200
2, GPU-cc33, 570.1, 24000, 23000, [N/A], 7.5, Quadro, the old one
"""


def _tool(folder: Path, script: str) -> str:
    folder.mkdir(exist_ok=True)
    tool = folder / "nvidia-smi"
    tool.write_text(f"#!/bin/sh\n{script}\n")
    tool.chmod(0o755)
    return f"{folder}{os.pathsep}{os.environ['PATH']}"


@pytest.fixture
def three(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A computer whose driver's tool lists three GPUs."""
    (tmp_path / "listed").write_text(LISTED)
    monkeypatch.setenv("PATH", _tool(tmp_path / "bin", f"cat {tmp_path / 'listed'}"))
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    monkeypatch.delenv("CUDA_DEVICE_ORDER", raising=False)
    gpus.gpu_count.cache_clear()
    yield
    gpus.gpu_count.cache_clear()


# --- the GPUs of this computer ----------------------------------------------------


def test_gpus_are_read_from_the_drivers_tool(three: None) -> None:
    first, second, third = list_gpus()

    assert (first.device, first.name, first.driver) == ("cuda:0", "NVIDIA H200", "570.1")
    assert first.total_gb == pytest.approx(146.8, abs=0.01)
    assert second.free_gb == pytest.approx(20.97, abs=0.01)
    assert second.busy == pytest.approx(0.98)
    assert (third.name, third.busy, third.has_bf16) == ("Quadro, the old one", None, False)
    assert first.has_bf16


@pytest.mark.parametrize(
    ("visible", "words"),
    [("2,0", ["2", "0"]), ("GPU-bb", ["GPU-bb"]), ("", []), ("1,-1,0", ["1"]), ("0,9,1", ["0"]),
     ("MIG-7", ["MIG-7"])],
)  # fmt: skip
def test_gpus_are_those_that_cuda_shows_this_process(
    three: None, monkeypatch: pytest.MonkeyPatch, visible: str, words: list[str]
) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)

    found = list_gpus()

    assert [gpu.word for gpu in found] == words
    assert [gpu.device for gpu in found] == [f"cuda:{n}" for n in range(len(words))]


def test_a_driver_that_knows_no_capability_is_asked_without(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    old = "0, GPU-aa11, 450.2, 16000, 15000, 3, Tesla, P100"
    script = f'case "$*" in *compute_cap*) exit 2;; esac; echo "{old}"'
    monkeypatch.setenv("PATH", _tool(tmp_path / "bin", script))

    (gpu,) = list_gpus()

    assert (gpu.name, gpu.capability, gpu.has_bf16) == ("Tesla, P100", None, None)


def test_a_tool_without_a_driver_finds_no_gpu(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", _tool(tmp_path / "bin", "exit 9"))
    monkeypatch.setattr(gpus, "_DEVICES", tmp_path)

    assert list_gpus() == ()


def test_without_the_tool_the_device_files_tell_how_many_there_are(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path / "nothing"))
    monkeypatch.setattr(gpus, "_DEVICES", tmp_path)
    for name in ("nvidia3", "nvidia5", "nvidiactl", "nvidia-uvm"):
        (tmp_path / name).touch()

    assert [gpu.device for gpu in list_gpus()] == ["cuda:0", "cuda:1"]


def test_a_worker_sees_its_own_gpu_alone(three: None, monkeypatch: pytest.MonkeyPatch) -> None:
    assert only("cuda:1")["CUDA_VISIBLE_DEVICES"] == "1"
    assert only("cuda:3") == {}
    assert only("cpu") == {}
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "GPU-cc33,GPU-aa11")
    assert only("cuda:1")["CUDA_VISIBLE_DEVICES"] == "GPU-aa11"


@pytest.mark.parametrize(("asked", "device"), [("cuda:2", "cuda:2"), ("auto", "auto")])
def test_milliseconds_are_measured_on_the_gpu_that_the_worker_got(
    three: None, asked: str, device: str
) -> None:
    """Which it calls cuda:0, since it sees no other."""
    given = {"kind": "prune", "dataset": "d", "model": "m", "keep_latency": 0.5}
    config = parse_run_config({**given, "latency_device": asked, "device": device})
    usual = parse_run_config({**given, "device": device})

    inside, _ = settled_in(config, "cuda:2", None)
    on_processor, _ = settled_in(usual, "cuda:2", None)

    assert isinstance(inside, PruneConfig)
    assert isinstance(on_processor, PruneConfig)
    assert inside.latency_way("cuda:0") == Way("cuda:0", "cudagraph")
    assert PruneConfig.model_validate(inside.model_dump()) == inside
    assert on_processor.latency_way("cuda:0") == Way()


def test_auto_is_any_of_several_gpus_and_the_only_one_by_its_name(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for count, slot in ((0, "cpu"), (1, "cuda:0"), (4, ANY_GPU)):
        monkeypatch.setattr(slots, "gpu_count", lambda count=count: count)
        monkeypatch.setattr(slots.platform, "system", lambda: "Linux")
        assert slot_of("auto") == slot
    assert slot_of("cuda:1") == "cuda:1"
    assert compete(ANY_GPU, "cuda:1")
    assert not compete(ANY_GPU, "cpu")
    assert not compete("cuda:0", "cuda:1")
    monkeypatch.setattr(slots, "get_settings", lambda: Settings(gpu_runs=3))
    assert (room_of("cuda:1"), room_of(ANY_GPU)) == (3, 12)


# --- which one a run gets ---------------------------------------------------------


def _gpu(
    index: int, free: float | None = 80.0, total: float | None = 80.0, busy: float | None = 0.0
) -> Gpu:
    return Gpu(index, str(index), total_gb=total, free_gb=free, busy=busy)


ANY = Wish(ANY_GPU, 10.0)


def _chosen(wish: Wish, found: Sequence[Gpu], **ours: Sequence[float]) -> str | None:
    return choose_gpu(wish, found, {f"cuda:{k[1:]}": v for k, v in ours.items()}, most=None)


def test_the_gpu_with_fewest_runs_comes_first_then_the_one_with_most_memory() -> None:
    assert _chosen(ANY, [_gpu(0), _gpu(1)], g0=[10.0]) == "cuda:1"
    assert _chosen(ANY, [_gpu(0, free=60), _gpu(1)], g0=[10.0], g1=[10.0]) == "cuda:1"
    assert _chosen(ANY, [_gpu(0), _gpu(1)]) == "cuda:0"


def test_a_gpu_that_works_for_others_counts_as_busy() -> None:
    assert _chosen(ANY, [_gpu(0, busy=0.9), _gpu(1)]) == "cuda:1"
    assert _chosen(ANY, [_gpu(0, free=70), _gpu(1)]) == "cuda:1"
    # Better beside a run of ours than where there is no memory.
    assert _chosen(ANY, [_gpu(0, free=2), _gpu(1)], g1=[10.0]) == "cuda:1"


def test_a_gpu_takes_runs_until_their_claims_fill_it() -> None:
    found = [_gpu(0)]
    claims: list[float] = []
    while _chosen(ANY, found, g0=claims):
        claims.append(ANY.needs_gb)
    assert len(claims) == 8
    assert _chosen(ANY, [_gpu(0, free=9.0)], g0=[10.0]) is None


def test_a_gpu_without_a_run_of_ours_takes_one_whatever_was_estimated() -> None:
    assert _chosen(Wish(ANY_GPU, 500.0), [_gpu(0)]) == "cuda:0"
    assert _chosen(Wish("cuda:0", 500.0), [_gpu(0, free=None, total=None)]) == "cuda:0"
    assert _chosen(ANY, [_gpu(0, free=None, total=None)], g0=[1.0]) is None


def test_a_run_that_needs_a_gpu_of_its_own_shares_with_nobody() -> None:
    alone = Wish(ANY_GPU, WHOLE)
    assert _chosen(alone, [_gpu(0), _gpu(1)], g0=[1.0]) == "cuda:1"
    assert _chosen(alone, [_gpu(0)], g0=[1.0]) is None
    assert _chosen(ANY, [_gpu(0)], g0=[WHOLE]) is None


def test_a_run_goes_back_to_the_gpu_it_was_on_unless_another_is_less_busy() -> None:
    again = Wish(ANY_GPU, 10.0, before="cuda:1")
    assert _chosen(again, [_gpu(0), _gpu(1, free=79.5)]) == "cuda:1"
    assert _chosen(again, [_gpu(0), _gpu(1)], g1=[10.0]) == "cuda:0"


def test_a_gpu_that_was_asked_for_by_name_is_kept_to() -> None:
    named = Wish("cuda:1", 10.0)
    assert _chosen(named, [_gpu(0), _gpu(1, free=12, busy=1.0)]) == "cuda:1"
    assert _chosen(named, [_gpu(0), _gpu(1)], g1=[75.0]) is None
    assert _chosen(Wish("cuda:7", 1.0), [_gpu(0)]) == "cuda:7"  # its run says that there is none


def test_the_engineer_may_say_how_many_runs_share_a_gpu() -> None:
    assert choose_gpu(Wish(ANY_GPU, 70.0), [_gpu(0)], {"cuda:0": [70.0]}, most=2) == "cuda:0"
    assert choose_gpu(ANY, [_gpu(0)], {"cuda:0": [1.0, 1.0]}, most=2) is None


def test_all_gpus_together_take_no_more_runs_than_there_are_cores(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("msip_core.runs.placing.usable_cores", lambda: 2)
    rooms = GpuRooms(lambda: (_gpu(0),))
    small = Wish(ANY_GPU, 1.0)
    assert rooms.choose(small, {"cuda:0": [1.0]}, most=None, blocked=()) == "cuda:0"
    assert rooms.choose(small, {"cuda:0": [1.0, 1.0]}, most=None, blocked=()) is None


# --- what a run needs ---------------------------------------------------------------


def test_the_estimate_grows_with_batch_and_image_and_shrinks_with_parts(
    workspace: Workspace,
) -> None:
    def gigabytes(parts: int = 1, **changes: object) -> float:
        settings = {"model": "yolov8s.yaml", "batch": 16, "imgsz": 640, **changes}
        return estimated_gb(make_config(workspace, **settings), workspace, parts)

    whole = gigabytes()
    assert whole == pytest.approx(1.0 + 5 * 4 * 0.0111 + 1.5 * 0.45 * 16, rel=0.01)
    assert gigabytes(batch=32) - whole == pytest.approx(1.5 * 0.45 * 16, rel=0.01)
    assert gigabytes(imgsz=320) < 0.4 * whole
    assert gigabytes(parts=2) == pytest.approx(gigabytes(batch=8))
    assert gigabytes(recovery="cwd") - whole == pytest.approx(0.45 * 16, rel=0.01)


def test_what_an_earlier_run_of_the_kind_took_counts_more_than_the_estimate(
    workspace: Workspace, config: PruneConfig
) -> None:
    remember(config, workspace, 1, 5.0)
    remember(config, workspace, 1, 4.0)

    assert needed_gb(config, workspace) == pytest.approx(5.5)
    other = make_config(workspace, batch=8)
    assert needed_gb(other, workspace) == estimated_gb(other, workspace, 1)


# --- whole lives --------------------------------------------------------------------


@pytest.fixture
def lab(
    three: None,
    tmp_path: Path,
    workspace: Workspace,
    service: RunService,
    monkeypatch: pytest.MonkeyPatch,
) -> Iterator[Callable[[], Supervisor]]:
    """Starts supervisors on a computer of three GPUs with many cores."""
    monkeypatch.setattr("msip_core.runs.placing.usable_cores", lambda: 16)
    executor = LocalExecutor(FAKE)
    started: list[Supervisor] = []

    def start() -> Supervisor:
        started.append(Supervisor(workspace, executor, QUICK).start())
        return started[-1]

    yield start
    for supervisor in started:
        supervisor.close()
    for folder in workspace.runs.iterdir():
        executor.stop(folder, force=True)
        executor.exit_code(folder)


def _auto(workspace: Workspace, **changes: object) -> PruneConfig:
    return make_config(workspace, **{"device": "auto", **changes})


def _slots(service: RunService, ids: Sequence[str]) -> list[str]:
    return [service.get(run_id).slot for run_id in ids]


def test_runs_spread_over_all_gpus_and_stay_there_when_the_server_changes(
    lab: Callable[[], Supervisor], service: RunService, workspace: Workspace, submit: Submit
) -> None:
    ids = [submit(_auto(workspace), **SLOW) for _ in range(3)]
    assert set(_slots(service, ids)) == {ANY_GPU}
    first = lab()
    for run_id in ids:
        wait_for(service, run_id, RunState.RUNNING)
    # 1 works for others and has least room, so it comes last.
    assert _slots(service, ids) == ["cuda:0", "cuda:2", "cuda:0"]
    started = [e for e in history(service.run_dir(ids[1])) if e.get("state") == "running"]
    assert started[0]["device"] == "cuda:2"
    assert service.milestones(ids[1])[1].message == "A worker started on cuda:2."

    first.close()
    service.reindex()
    second = lab()
    wait_until(lambda: len(second._watched) == 3, "adoption")
    assert sorted(second._watched.values()) == ["cuda:0", "cuda:0", "cuda:2"]

    service.act(ids[1], Action.PAUSE)
    wait_for(service, ids[1], RunState.PAUSED)
    assert service.get(ids[1]).slot == "cuda:2"
    service.act(ids[1], Action.RESUME)
    wait_for(service, ids[1], RunState.RUNNING)
    assert service.get(ids[1]).slot == "cuda:2"


def test_a_run_that_asked_for_one_gpu_waits_for_it_while_others_are_free(
    lab: Callable[[], Supervisor],
    service: RunService,
    workspace: Workspace,
    submit: Submit,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("msip_core.runs.placing.get_settings", lambda: Settings(gpu_runs=1))
    named = _auto(workspace, device="cuda:2")
    first, second = submit(named, **SLOW), submit(named, **SLOW)
    free = submit(_auto(workspace), **SLOW)
    lab()
    for run_id in (first, free):
        wait_for(service, run_id, RunState.RUNNING)
    assert service.get(second).state is RunState.QUEUED
    assert _slots(service, (first, second, free)) == ["cuda:2", "cuda:2", "cuda:0"]


def test_too_little_memory_beside_others_waits_and_alone_works_in_parts(
    lab: Callable[[], Supervisor], service: RunService, workspace: Workspace, submit: Submit
) -> None:
    named = _auto(workspace, device="cuda:2", imgsz=64, batch=4)
    neighbour = submit(named, **SLOW)
    tight = submit(named, fits_in_parts=2)
    lab()
    wait_until(lambda: _shorts(service, tight) == [(1, True)], "waiting for a GPU of its own")
    wait_for(service, tight, RunState.QUEUED)
    assert service.get(tight).slot == "cuda:2"
    service.act(neighbour, Action.CANCEL)

    wait_for(service, tight, RunState.COMPLETED)

    assert _shorts(service, tight) == [(1, True), (2, True)]
    said = [m.message for m in service.milestones(tight) if m.level == "warning"]
    assert said == [
        "The memory of cuda:2 was too small beside another run: this run waits for a GPU of its "
        "own, and starts again by itself.",
        "The memory of cuda:2 was too small: the run starts again with each batch of 4 images in "
        "2 parts of 2, whose gradients are added, so that the steps of the optimizer stay the "
        "same.",
    ]
    followed = json.loads((service.run_dir(tight) / "followed.json").read_text())
    assert (followed["device"], followed["parts"], followed["micro_batch"]) == ("cuda:0", 2, 2)
    assert followed["visible"] == "2"
    assert service.get(tight).config == named.model_copy(
        update={"name": service.get(tight).name, "dataset_version": 1}
    )


def test_a_run_that_never_fits_fails_after_a_few_tries(
    lab: Callable[[], Supervisor], service: RunService, workspace: Workspace, submit: Submit
) -> None:
    run_id = submit(_auto(workspace, batch=2), fits_in_parts=99)
    lab()
    wait_for(service, run_id, RunState.FAILED)
    assert _shorts(service, run_id) == [(2, True)]
    assert "did not fit into the memory" in (service.get(run_id).error or "")


@pytest.mark.parametrize(
    ("batch", "parts", "then"),
    [(16, 1, 2), (16, 4, 8), (16, 8, None), (6, 2, 6), (7, 1, 7), (1, 1, None)],
)
def test_a_batch_is_halved_three_times_at_most_and_into_equal_parts(
    service: RunService, workspace: Workspace, batch: int, parts: int, then: int | None
) -> None:
    config = _auto(workspace, device="cuda:0", batch=batch)
    run_id = service.submit(config)
    service.store.transition(run_id, RunState.RUNNING, device="cuda:0")
    context = WorkerContext(service.run_dir(run_id), workspace)

    assert start_again(context, config, parts, "cuda:0") == (then is not None)

    assert _shorts(service, run_id) == ([(then, True)] if then else [])
    assert context.log.state() is (RunState.QUEUED if then else RunState.RUNNING)


def test_a_person_who_asked_to_pause_meanwhile_gets_that(
    service: RunService, workspace: Workspace
) -> None:
    config = _auto(workspace, device="cuda:0")
    run_id = service.submit(config)
    service.store.transition(run_id, RunState.RUNNING, device="cuda:0")
    service.act(run_id, Action.PAUSE)

    assert start_again(WorkerContext(service.run_dir(run_id), workspace), config, 1, "cuda:0")

    assert service.get(run_id).state is RunState.PAUSED


def test_on_a_processor_too_little_memory_still_fails_at_once(
    lab: Callable[[], Supervisor], service: RunService, config: PruneConfig, submit: Submit
) -> None:
    run_id = submit(config, fits_in_parts=2)
    lab()
    wait_for(service, run_id, RunState.FAILED)
    assert _shorts(service, run_id) == []


def test_parts_divide_a_batch() -> None:
    with pytest.raises(ConfigError, match="a batch of 16 images cannot be cut into 3 equal parts"):
        parse_run_config({"kind": "prune", "dataset": "d", "model": "m", "parts": 3})


def _shorts(service: RunService, run_id: str) -> list[tuple[int, bool]]:
    log = EventLog(service.run_dir(run_id))
    return [(e["parts"], e["alone"]) for e in log.read() if e["kind"] == "memory" and not e["fits"]]
