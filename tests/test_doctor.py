"""What `doctor` says of the GPUs of a computer, made up here."""

from __future__ import annotations

import pytest

from msip_core import doctor
from msip_core.doctor import examine
from msip_core.gpus import Gpu
from msip_core.workspace import Workspace

GPUS = (
    Gpu(0, "0", "NVIDIA H200", "570.1", 150.8, 149.5, 0.0, 9.0),
    Gpu(1, "1", "Tesla P100", "570.1", 17.1, 2.0, 1.0, 6.0),
)


def _said(
    workspace: Workspace, monkeypatch: pytest.MonkeyPatch, torch: str | None, onnx: str | None
) -> dict[str, tuple[str, str]]:
    monkeypatch.setattr(doctor, "list_gpus", lambda: GPUS)
    monkeypatch.setattr(doctor, "_ask", lambda library, _: torch if library == "torch" else onnx)
    return {f.what: (f.level, f.found) for f in examine(workspace).findings}


def test_every_gpu_is_named_with_driver_memory_and_bfloat16(
    workspace: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    said = _said(
        workspace, monkeypatch, "12.8 2", "TensorrtExecutionProvider CUDAExecutionProvider"
    )
    assert said["GPU cuda:0"] == (
        "ok",
        "NVIDIA H200, driver 570.1, 149.5 of 150.8 GB free, bfloat16 native",
    )
    assert said["GPU cuda:1"][0] == "note"
    assert "2.0 of 17.1 GB free, no native bfloat16" in said["GPU cuda:1"][1]
    assert said["torch on GPUs"] == ("ok", "CUDA 12.8, sees 2 of them")
    assert said["ONNX Runtime on GPUs"] == ("ok", "has CUDA and TensorRT")


def test_a_torch_without_cuda_beside_a_gpu_is_a_problem(
    workspace: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    said = _said(workspace, monkeypatch, "None 0", "CPUExecutionProvider")
    assert said["torch on GPUs"][0] == "problem"
    assert "built without CUDA" in said["torch on GPUs"][1]
    assert said["ONNX Runtime on GPUs"][0] == "note"
    assert "lacks CUDA and TensorRT" in said["ONNX Runtime on GPUs"][1]


def test_libraries_are_asked_in_a_process_of_their_own() -> None:
    assert doctor._ask("math", "6 * 7") == "42"
    assert doctor._ask("os", "os.abort()") is None
