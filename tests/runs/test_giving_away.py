"""What a run gives to others: the promised JSON, a zip that repeats it, what it was made with."""

from __future__ import annotations

import json
import zipfile
from collections.abc import Callable
from pathlib import Path

from msip_core.runs.provenance import record_provenance
from msip_core.runs.service import RunService
from msip_core.runs.state import RunState
from msip_core.runs.supervisor import Supervisor
from msip_core.workspace import Workspace, write_json
from tests.runs.conftest import make_config, wait_for


def test_the_document_of_a_run_holds_what_design_promises(
    supervisor: Supervisor, service: RunService, submit: Callable[..., str]
) -> None:
    run_id = submit()
    wait_for(service, run_id, RunState.COMPLETED)
    document = service.summary_document(run_id)
    assert {"id", "state", "method", "config", "baseline", "iterations", "final", "artifacts"} <= (
        document.keys()
    )
    measured = {"map50", "map50_95", "macs", "params", "size_mb", "latency_ms"}
    assert measured <= document["baseline"].keys()
    assert measured | {"macs_ratio"} <= document["final"].keys()
    first = document["iterations"][0]
    assert {"index", "macs", "params", "map50_before", "map50_after", "layers"} <= first.keys()
    assert set(first["seconds"]) == {"importance", "pruning", "evaluation", "finetuning"}
    assert (document["state"], document["method"]) == ("completed", "msip")
    assert document["baseline"]["latency_ms"] is None
    assert Path(document["artifacts"]["provenance"]).is_file()
    json.dumps(document, allow_nan=False)


def test_a_queued_run_has_a_document_too(service: RunService) -> None:
    run_id = service.submit(make_config(service.workspace))
    document = service.summary_document(run_id)
    assert (document["baseline"], document["iterations"], document["final"]) == (None, [], None)


def test_the_zip_of_a_run_opens_as_a_workspace_and_repeats(
    supervisor: Supervisor, service: RunService, submit: Callable[..., str], tmp_path: Path
) -> None:
    workspace = service.workspace
    images = workspace.dataset_dir("drawn") / "images"
    images.mkdir()
    (images / "a.png").write_bytes(b"pixels")
    (workspace.dataset_dir("drawn") / "labels.cache").write_bytes(b"theirs")
    write_json(workspace.model_dir("made-by-fake") / "model.json", {})
    (workspace.model_dir("made-by-fake") / "model.pt").write_bytes(b"weights")
    run_id = submit()
    wait_for(service, run_id, RunState.COMPLETED)
    zipped = service.export(run_id, tmp_path / "run.zip")
    with zipfile.ZipFile(zipped) as archive:
        names = set(archive.namelist())
        archive.extractall(tmp_path / "unpacked")
    assert {
        "README.txt", f"runs/{run_id}/config.json", f"runs/{run_id}/provenance.json",
        f"runs/{run_id}/events.jsonl", f"runs/{run_id}/iterations/1/metrics.json",
        "models/made-by-fake/model.pt", "datasets/drawn/dataset.json",
        "datasets/drawn/images/a.png", "weights/baseline.pt",
    } <= names  # fmt: skip
    assert not any(name.endswith((".lock", ".cache", "heartbeat")) for name in names)
    other = RunService(Workspace.open(tmp_path / "unpacked"))
    assert other.get(run_id).state is RunState.COMPLETED
    assert [r.index for r in other.iterations(run_id)] == [1, 2]
    assert other.repeat(run_id)

    card = {"models/made-by-fake/README.md": "# A model"}
    small = service.export(run_id, tmp_path / "small.zip", with_images=False, texts=card)
    with zipfile.ZipFile(small) as archive:
        assert "datasets/drawn/images/a.png" not in archive.namelist()
        assert "sha256" in archive.read("README.txt").decode()
        assert archive.read("models/made-by-fake/README.md") == b"# A model"


def test_provenance_says_what_changed_between_two_attempts(
    service: RunService, tmp_path: Path
) -> None:
    config = make_config(service.workspace, seed=3)
    assert record_provenance(tmp_path, config, service.workspace) == []
    first = json.loads((tmp_path / "provenance.json").read_text())
    assert first["seed"] == 3
    assert first["versions"]["torch"]
    assert first["hardware"]["threads"] >= 1
    assert len(first["dataset"]["manifest_sha256"]) == 64
    assert len(first["model"]["sha256"]) == 64
    write_json(service.workspace.dataset_dir("drawn") / "dataset.json", {"name": "other"})
    first["versions"]["torch"] = "1.0"
    write_json(tmp_path / "provenance.json", first)
    changes = record_provenance(tmp_path, config, service.workspace)
    assert len(changes) == 2
    assert changes[0].startswith("torch was 1.0 when this run began")
    assert changes[1].startswith("The dataset was changed")
    assert len(json.loads((tmp_path / "provenance.json").read_text())["attempts"]) == 2
