"""Predict, compare, explain, export on a small model that has learned nothing: what counts here is
that files, tables and documents agree."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable
from pathlib import Path

import cv2
import pytest

from msip_core.cli.main import main
from msip_core.workspace import Workspace
from tests.cli.conftest import Said
from tests.drawn import copy_example

IMGSZ = 64
COMPARE = ("compare", "--baseline", "one", "--pruned", "two", "--data")


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    """Drawn micrographs "d" and two untrained models, "one" and "two"."""
    from msip_core.detector.build import build_model, register_model

    workspace = Workspace.open(tmp_path_factory.mktemp("look") / "workspace")
    dataset = copy_example(workspace, "d", images=8, size=96)
    for seed, name in enumerate(("one", "two")):
        register_model(
            workspace, build_model("yolov8n.yaml", dataset.classes, seed), name=name,
            kind="baseline", imgsz=IMGSZ, model_id=name, architecture="yolov8n",
            dataset=dataset,
        )  # fmt: skip
    return workspace


Ask = Callable[..., Said]


@pytest.fixture
def ask(lab: Workspace, capfd: pytest.CaptureFixture[str]) -> Ask:
    def run(*words: object) -> Said:
        capfd.readouterr()
        code = main([str(word) for word in words] + ["--json", "--workspace", str(lab.root)])
        out, err = capfd.readouterr()
        return Said(code, out, err)

    return run


@pytest.fixture
def micrographs(lab: Workspace, tmp_path: Path) -> Path:
    """Three files of two wells, outside the workspace."""
    folder = tmp_path / "new"
    folder.mkdir()
    files = sorted((lab.datasets / "d" / "images").iterdir())[:3]
    for file, name in zip(files, ("A01_1.png", "A01_2.png", "B02_1.png")):
        (folder / name).write_bytes(file.read_bytes())
    return folder


def _rows(path: str) -> list[dict[str, str]]:
    with open(path, encoding="utf-8-sig", newline="") as file:
        return list(csv.DictReader(file))


def test_predict_counts_boxes_alike_in_document_tables_and_wells(
    ask: Ask, micrographs: Path, tmp_path: Path
) -> None:
    said = ask(
        "predict", micrographs, "--model", "one", "--out", tmp_path / "out", "--conf", 0.0001,
        "--pixel-size", 2,
    )  # fmt: skip
    assert said.code == 0, said.err
    files = said.document["artifacts"]
    found = {image["id"]: len(image["detections"]) for image in said.document["images"]}
    boxes, counts, wells = (_rows(files[name]) for name in ("objects", "images", "wells"))

    assert sum(found.values()) > 0
    assert {Path(row["image"]).stem: int(row["total"]) for row in counts} == found
    assert {name: sum(r["image"] == f"{name}.png" for r in boxes) for name in found} == found
    assert sum(int(row["objects"]) for row in wells) == sum(found.values())
    diameters = [float(boxes[0][name]) for name in ("diameter_um", "diameter_px")]
    assert diameters[0] == pytest.approx(2 * diameters[1], abs=0.01)
    for name in found:
        assert cv2.imread(f"{files['overlays']}/{name}.png") is not None


def test_predict_takes_a_weights_file_and_single_images(
    ask: Ask, lab: Workspace, micrographs: Path, tmp_path: Path
) -> None:
    said = ask(
        "predict", micrographs / "A01_1.png", "--model", lab.models / "one" / "model.pt",
        "--out", tmp_path / "out", "--imgsz", IMGSZ,
    )  # fmt: skip
    assert said.code == 0, said.err
    assert [image["id"] for image in said.document["images"]] == ["A01_1"]


def test_compare_measures_both_models_on_the_same_images(
    ask: Ask, lab: Workspace, tmp_path: Path
) -> None:
    said = ask(
        "compare", "--baseline", "one", "--pruned", "two", "--data", "d", "--formats", "pytorch",
        "--runs", 5, "--conf", 0.0001, "--out", tmp_path / "out",
    )  # fmt: skip
    assert said.code == 0, said.err
    document = said.document
    assert document["baseline"]["cost"]["macs"] == document["pruned"]["cost"]["macs"] > 0
    assert document["baseline"]["metrics"]["split"] == "test"
    assert {(x["name"], x["format"], x["device"]) for x in document["latency"]} == {
        ("baseline", "pytorch", "cpu"),
        ("pruned", "pytorch", "cpu"),
    }
    kinds = [pair["kind"] for image in document["images"] for pair in image["pairs"]]
    assert {k: kinds.count(k) for k in document["agreement"]} == document["agreement"]
    counts = _rows(document["artifacts"]["counts"])
    assert len(counts) == len(document["images"])
    saved = json.loads(Path(document["artifacts"]["compare"]).read_text(encoding="utf-8"))
    assert saved["agreement"] == document["agreement"]


def test_explain_scores_the_border_of_a_labelled_crypt_and_draws_a_figure(
    ask: Ask, lab: Workspace, tmp_path: Path
) -> None:
    image = sorted((lab.datasets / "d" / "images").iterdir())[0]
    said = ask(
        "explain", image, "--baseline", "one", "--pruned", "two", "--out", tmp_path / "out",
        "--samples", 48, "--features", 8,
    )  # fmt: skip
    assert said.code == 0, said.err
    (found,) = said.document["explained"]
    assert found["baseline"]["cam"]["box"] == found["pruned"]["cam"]["box"]
    assert found["baseline"]["cam"]["scores"]["contour"] == "mask"
    rows = _rows(said.document["artifacts"]["scores"])
    assert [row["model"] for row in rows] == ["baseline", "pruned"]
    pdf = tmp_path / "out" / f"{image.stem}.pdf"
    assert pdf.read_bytes().startswith(b"%PDF")


def test_explain_without_shap_leaves_it_out_everywhere(
    ask: Ask, lab: Workspace, tmp_path: Path
) -> None:
    image = sorted((lab.datasets / "d" / "images").iterdir())[0]
    said = ask(
        "explain", image, "--baseline", "one", "--pruned", "two", "--out", tmp_path / "out",
        "--no-shap", "--method", "eigencam",
    )  # fmt: skip
    assert said.code == 0, said.err
    (found,) = said.document["explained"]
    assert (found["baseline"]["cam"]["method"], "shap" in found["pruned"]) == ("eigencam", False)
    assert not list((tmp_path / "out").rglob("segments.npz"))


def test_export_writes_a_file_named_after_the_model(ask: Ask, tmp_path: Path) -> None:
    said = ask("export", "one", "--format", "onnx", "--out", tmp_path / "files")
    assert said.code == 0, said.err
    path = Path(said.document["path"])
    assert path == tmp_path / "files" / "one.onnx"
    assert [file.name for file in path.parent.iterdir()] == ["one.onnx"]

    import onnxruntime

    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    assert session.get_inputs()[0].shape[-2:] == [IMGSZ, IMGSZ]


@pytest.mark.parametrize(
    ("words", "code", "named"),
    [
        (("export", "one", "--format", "word"), 2, "word"),
        (("export", "nothing"), 2, "nothing"),
        (("predict", "/nowhere", "--model", "one", "--out", "o"), 2, "/nowhere"),
        (("predict", ".", "--model", "gone.pt", "--out", "o"), 2, "gone.pt"),
        (("predict", ".", "--model", "run/two", "--out", "o"), 2, "RUN/STEP"),
        ((*COMPARE, "x"), 2, "x"),
        ((*COMPARE, "d", "--device", "cuda:9"), 2, "There is no device 'cuda:9'"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, tuple) else "",
)
def test_what_is_not_there_is_named(
    ask: Ask,
    words: tuple[str, ...],
    code: int,
    named: str,
    monkeypatch: pytest.MonkeyPatch,
    micrographs: Path,
) -> None:
    monkeypatch.chdir(micrographs)
    said = ask(*words)
    assert said.code == code
    assert named in said.document["error"]


def test_a_model_is_shown_with_what_it_costs(ask: Ask) -> None:
    document = ask("models", "show", "one").document
    assert document["cost"]["imgsz"] == IMGSZ
    assert Path(document["path"]).is_file()
    assert {card["id"] for card in ask("models", "list").document["models"]} == {"one", "two"}


def test_latency_times_one_model_or_two_in_the_ways_asked_for(ask: Ask) -> None:
    alone = ask("latency", "two", "--device", "cpu", "--formats", "pytorch", "--runs", 5)
    both = ask(
        "latency", "two", "--beside", "one", "--device", "cpu", "--formats", "pytorch",
        "--batches", "1,2", "--runs", 5,
    )  # fmt: skip

    assert alone.code == both.code == 0, both.err
    (only,) = alone.document["latency"]
    assert (only["model"], only["device"], only["format"]) == ("two", "cpu", "pytorch")
    assert (only["precision"], only["batch"], only["runs"]) == ("fp32", 1, 5)
    assert only["hardware"]
    assert {(m["model"], m["batch"]) for m in both.document["latency"]} == {
        ("one", 1),
        ("two", 1),
        ("one", 2),
        ("two", 2),
    }
    assert both.document["missing"] == []


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--batches", "1,x"), "takes whole numbers"),
        (("--batches", "0"), "from 1 to 1024"),
        (("--device", "cpu", "--precisions", "fp16"), "a processor only imitates it"),
        (("--device", "cpu", "--formats", "coreml"), "not in 'coreml'"),
        (("--device", "cuda:9"), "There is no device 'cuda:9'"),
    ],
)
def test_a_way_that_cannot_be_measured_is_one_sentence(
    ask: Ask, words: tuple[str, ...], said: str
) -> None:
    answer = ask("latency", "two", *words)

    assert answer.code == 2
    assert said in answer.err
