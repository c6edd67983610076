"""The libraries are quiet: no network, no telemetry, nothing in the home, no lost threads."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
import torch

from msip_core.detector.cost import count_cost
from msip_core.detector.devices import describe_device, resolve_device
from msip_core.detector.library import copy_model, threads_kept
from msip_core.errors import ConfigError
from tests.fresh import run_fresh
from tests.importance.kit import thin_detector

SCRIPT = """
import json, os, socket, sys
def refused(*_, **__):
    raise OSError("a name server was asked")
socket.getaddrinfo = socket.socket.connect = refused
from pathlib import Path
from msip_core.workspace import Workspace
workspace = Workspace.open("ws")
workspace.isolate_libraries()
from msip_core.detector.build import build_model
from msip_core.detector.latency import measure_latency
from msip_core.ways import Way
from ultralytics.utils import SETTINGS
from ultralytics.utils.events import events
import openvino
measure_latency({"a": build_model("yolov8n.yaml", ("a",))}, 32, [Way(format="onnx")], runs=1)
print(json.dumps({
    "threads": os.environ.get("OMP_NUM_THREADS"), "sync": SETTINGS["sync"],
    "events": events.enabled, "telemetry": sys.modules.get("openvino_telemetry"),
    "streamlit": "streamlit" in sys.modules,
}))
"""


@pytest.fixture(scope="module")
def quiet(tmp_path_factory: pytest.TempPathFactory) -> tuple[dict, Path, str]:
    folder = tmp_path_factory.mktemp("quiet")
    (folder / "home").mkdir()
    dropped = ("OMP_NUM_THREADS", "YOLO_", "MPLCONFIGDIR", "XDG_", "ORT_", "MSIP_")
    home, source = str(folder / "home"), str(Path(__file__).parents[2])
    said = run_fresh(SCRIPT, cwd=folder, without=dropped, HOME=home, PYTHONPATH=source)
    return json.loads(said.splitlines()[-1]), folder, said


def test_telemetry_is_off(quiet):
    said, _, _ = quiet

    assert not said["sync"]
    assert not said["events"]
    assert said["telemetry"] is None


def test_nothing_is_written_to_the_home(quiet):
    _, folder, _ = quiet

    assert list((folder / "home").rglob("*")) == []
    assert (folder / "ws" / "libraries" / "ultralytics").is_dir()


def test_nothing_is_printed_beside_the_answer(quiet):
    assert len(quiet[2].splitlines()) == 1


def test_child_processes_keep_the_cores(quiet):
    assert int(quiet[0]["threads"]) >= 1
    assert (quiet[0]["threads"] == "1") == (os.cpu_count() == 1)


def test_the_number_of_threads_is_given_back():
    before = torch.get_num_threads()

    with threads_kept():
        torch.set_num_threads(before + 1)

    assert torch.get_num_threads() == before


# --- devices ------------------------------------------------------------------


def test_auto_takes_the_gpu_where_there_is_one(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)

    assert resolve_device("auto") == "cuda:0"
    assert resolve_device("1") == resolve_device("CUDA:1") == "cuda:1"
    assert resolve_device("cuda") == "cuda:0"
    assert resolve_device("cpu") == "cpu"
    with pytest.raises(ConfigError, match="there is: cpu, cuda:0, cuda:1"):
        resolve_device("cuda:2")


@pytest.mark.parametrize("name", ["cuda:x", "gpu", "cuda:0", ""])
def test_a_device_that_is_not_there_is_named(name, monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 0)

    with pytest.raises(ConfigError, match="there is: cpu"):
        resolve_device(name)


def test_a_device_is_described_with_its_memory():
    device = describe_device("cpu")

    assert (device.kind, device.device) == ("cpu", "cpu")
    assert 0 < device.free_gb <= device.total_gb
    assert device.name


def test_a_copy_is_equal_and_shares_nothing_but_what_modules_share_with_each_other():
    model = thin_detector(0.125).to(memory_format=torch.channels_last)
    model.model[0].conv.weight.requires_grad_(False)
    model.model[1].conv.weight = model.model[3].conv.weight  # tied
    model.model[0].bn.running_mean = torch.zeros(100)[: len(model.model[0].bn.running_mean)]
    twin = copy_model(model)

    theirs = dict(model.named_parameters(remove_duplicate=False)) | dict(model.named_buffers())
    ours = dict(twin.named_parameters(remove_duplicate=False)) | dict(twin.named_buffers())
    places = {tensor.untyped_storage().data_ptr() for tensor in theirs.values()}
    assert ours.keys() == theirs.keys()
    for name, tensor in ours.items():
        assert type(tensor) is type(theirs[name])
        assert torch.equal(tensor, theirs[name])
        assert tensor.stride() == theirs[name].stride()
        assert tensor.requires_grad == theirs[name].requires_grad
        assert not tensor.numel() or tensor.untyped_storage().data_ptr() not in places
    assert twin.model[1].conv.weight is twin.model[3].conv.weight


def test_counting_leaves_the_model_and_says_the_same_again():
    model = thin_detector(0.125)
    before = {name: set(vars(module)) for name, module in model.named_modules()}
    costs = {count_cost(model, 64) for _ in range(2)}

    assert len(costs) == 1
    assert {name: set(vars(module)) for name, module in model.named_modules()} == before
