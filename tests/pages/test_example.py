"""The example comes once, into an empty workspace, and never back after it was deleted."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import time
from pathlib import Path

import pytest
from pydantic import RootModel

from msip_core import example
from msip_core.cache import ContentStore, trim
from msip_core.data.dataset import list_datasets
from msip_core.example import install_example, unpack
from msip_core.language import read_catalog
from msip_core.models import list_models
from msip_core.questions.base import form_of
from msip_core.runs.service import RunService
from msip_core.workspace import Workspace, write_json
from tests.fresh import ROOT
from tests.pages.lab_samples import fill


class Numbers(RootModel[dict[str, int]]):
    """An answer."""


@pytest.fixture(scope="module")
def assets(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """assets/example as the product ships it: the folders of a workspace, without its index."""
    made = Workspace.open(tmp_path_factory.mktemp("made") / "workspace")
    fill(made)
    target = tmp_path_factory.mktemp("assets") / "example"
    for kind in ("datasets", "models", "runs"):
        shutil.copytree(made.root / kind, target / kind)
    return target


def test_an_empty_workspace_gets_everything_and_the_runs_are_listed(
    workspace: Workspace, assets: Path
) -> None:
    assert install_example(workspace, assets)

    assert [item.name for item in list_datasets(workspace)] == ["example"]
    assert len(list_models(workspace)) == 2
    assert RunService(workspace).count() == 2
    assert not [path for path in workspace.root.rglob(".*") if path.is_dir()]


def test_the_answers_of_an_old_release_are_as_new_as_the_copy(
    workspace: Workspace, assets: Path, tmp_path: Path
) -> None:
    shutil.copytree(assets, tmp_path / "released")
    answer = tmp_path / "released" / "cache" / "a1" / "result.json"
    write_json(answer, {"a": 1})
    answer.chmod(0o444)
    os.utime(answer, (1e9, 1e9))

    install_example(workspace, tmp_path / "released")
    trim(workspace.cache)

    assert ContentStore(workspace.cache, form_of(Numbers)).get("a1") == Numbers({"a": 1})
    assert os.access(workspace.cache / "a1" / "result.json", os.W_OK)


def test_it_happens_once(workspace: Workspace, assets: Path) -> None:
    install_example(workspace, assets)

    assert not install_example(workspace, assets)


def test_a_deleted_example_does_not_come_back(workspace: Workspace, assets: Path) -> None:
    install_example(workspace, assets)
    for folder in (workspace.datasets, workspace.models, workspace.runs):
        for item in folder.iterdir():
            shutil.rmtree(item)

    assert not install_example(workspace, assets)
    assert list_datasets(workspace) == []


def test_a_workspace_with_own_work_is_left_alone(workspace: Workspace, assets: Path) -> None:
    (workspace.datasets / "mine").mkdir()

    assert not install_example(workspace, assets)
    assert [path.name for path in workspace.datasets.iterdir()] == ["mine"]


def test_a_product_without_assets_starts_empty(workspace: Workspace, tmp_path: Path) -> None:
    assert not install_example(workspace, tmp_path / "nothing")
    # The example may still come with a later version: nothing was decided yet.
    assert not (workspace.root / ".example").exists()


def test_a_copy_that_was_cut_off_is_finished_at_the_next_start(
    workspace: Workspace, assets: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real, calls = example._settle, []

    def cut(source: Path, target: Path) -> None:
        calls.append(source)
        if len(calls) == 3:
            raise KeyboardInterrupt
        real(source, target)

    monkeypatch.setattr(example, "_settle", cut)
    with pytest.raises(KeyboardInterrupt):
        install_example(workspace, assets)
    monkeypatch.setattr(example, "_settle", real)

    assert install_example(workspace, assets)
    assert RunService(workspace).count() == 2


def test_the_shipped_pack_lies_over_the_folders_and_only_asked_for_kinds_come(
    tmp_path: Path,
) -> None:
    unpack(ROOT / "assets" / "example", tmp_path / "all")
    unpack(ROOT / "assets" / "example", tmp_path / "some", ["models"])

    assert [p.name for p in (tmp_path / "some").iterdir()] == ["models"]
    for folder in ("all", "some"):
        models = sorted((tmp_path / folder / "models").glob("*/model.pt"))
        assert len(models) == 2
        assert all((path.parent / "model.json").is_file() for path in models)
        assert min(path.stat().st_mtime for path in models) > time.time() - 600
    data = tmp_path / "all" / "datasets" / "example"
    document = json.loads((data / "dataset.json").read_text("utf-8"))
    for image in document["images"]:
        assert hashlib.sha256((data / image["file"]).read_bytes()).hexdigest() == image["sha256"]


def test_what_the_report_of_the_shipped_images_says_is_read_in_chinese_too(tmp_path: Path) -> None:
    unpack(ROOT / "assets" / "example", tmp_path, kinds=["datasets"])
    told = json.loads((tmp_path / "datasets" / "example" / "dataset.json").read_text("utf-8"))
    catalog = read_catalog("zh_CN")

    said = (told["report"]["grouping"], *told["report"]["notes"])

    assert said == example.SAID
    assert all(catalog.get(text).string for text in said)
