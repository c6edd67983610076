"""Words follow the classes of the dataset: glands and cells are not called organoids."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from msip_core.workspace import Workspace
from pages.kit.classes import are_organoids
from tests.pages.conftest import Open, no_crash, words
from tests.pages.lab_samples import add_model


@pytest.mark.parametrize(
    ("classes", "organoids"),
    [
        (("crypt", "no_crypt"), True),
        (("Cyst", "late"), True),
        (("intestinal organoid",), True),
        (("gland",), False),
        (("nucleus", "debris"), False),
        ((), False),
    ],
)
def test_classes_tell_whether_objects_are_organoids(
    classes: tuple[str, ...], organoids: bool
) -> None:
    assert are_organoids(classes) is organoids


def _glands(workspace: Workspace) -> None:
    """The lab's dataset and models, about glands."""
    folder = workspace.dataset_dir("example")
    for name in ("dataset.json", "summary.json"):
        text = (folder / name).read_text(encoding="utf-8")
        document = json.loads(text.replace('"no_crypt"', '"benign"').replace('"crypt"', '"gland"'))
        document["drawn"] = False
        _write(folder / name, document)
    for model in ("baseline-1", "pruned-1"):
        path = workspace.model_dir(model) / "model.json"
        card = json.loads(path.read_text(encoding="utf-8"))
        _write(path, {**card, "classes": ["gland", "benign"]})


def _write(path: Path, document: object) -> None:
    path.write_text(json.dumps(document), encoding="utf-8")


@pytest.mark.parametrize("page", ["data", "correct", "models", "new", "runs", "compare", "look"])
def test_no_page_calls_glands_organoids(
    workspace: Workspace, full: str, open_page: Open, page: str
) -> None:
    _glands(workspace)
    test = open_page(page)
    no_crash(test)
    everything = "\n".join(
        [
            words(test),
            *(str(one.label) for kind in ("metric", "button", "slider") for one in test.get(kind)),
            *(str(one.proto) for one in test.get("bidi_component")),
            *(str(getattr(one.proto, "caption", "")) for one in test.get("imgs")),
        ]
    )
    assert "rganoid" not in everything
    if page == "compare":
        assert "Objects" in everything


# --- a detector of other classes ------------------------------------------------------


def test_a_detector_of_other_classes_is_led_to_training_with_its_weights(
    workspace: Workspace, full: str, open_page: Open
) -> None:
    coco = ("person", "bicycle", "car")
    add_model(
        workspace, "coco", name="YOLOv8n of COCO", kind="uploaded", classes=coco, dataset=None
    )

    test = open_page("models", model="coco")

    links = {link.proto.label: link.proto for link in test.get("page_link")}
    assert "Next: make it lighter" not in links
    step = links["Next: train it on your images"]
    assert f"{step.page}?{step.query_string}" == "models?view=train&weights=coco"
    trained = open_page("models", view="train", weights="coco")
    assert trained.selectbox("train:weights").value == "coco"


def test_a_baseline_of_these_classes_is_led_to_pruning(full: str, open_page: Open) -> None:
    test = open_page("models", model="baseline-1")

    assert "Next: make it lighter" in [link.proto.label for link in test.get("page_link")]


def test_a_detector_of_other_classes_is_no_detector_for_these_images(
    workspace: Workspace, full: str, open_page: Open
) -> None:
    for model in ("baseline-1", "pruned-1"):
        (workspace.model_dir(model) / "model.json").unlink()
    add_model(workspace, "coco", kind="uploaded", classes=("person",), dataset=None)

    test = open_page("start")

    assert "A detector that is not pruned yet." in words(test)
    links = {link.proto.label: link.proto.query_string for link in test.get("page_link")}
    assert links["Open detector"] == "view=train&dataset=example"
