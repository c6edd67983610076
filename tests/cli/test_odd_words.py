"""Odd words are one sentence and code 2; what a verb may not write to is left as it is."""

from __future__ import annotations

import json
import os
import stat
from pathlib import Path

import pytest

from msip_core.changes import read_run_config, read_settings
from msip_core.cli.targets import file_target, folder_target
from msip_core.config import MAX_SEED, parse_run_config
from msip_core.errors import ConfigError, InputError
from msip_core.studies.plan import MAX_RUNS, parse_plan, read_plan
from msip_core.workspace import Workspace
from tests.cli.conftest import Verb
from tests.drawn import copy_example

ODD = [
    "",
    "-1",
    "nan",
    "1e400",
    "9" * 400,
    "a\nb",
    "x" * 5000,
    "\x1b[31m",
    "½",
    "²",
    "\udcff",
    "a\0",
]
PRUNE = ("prune", "--detach", "--data", "d", "--model", "m")


def _is_one_sentence(code: int, err: str) -> None:
    assert code == 2
    assert 1 <= len(err.strip().splitlines()) <= 10
    assert len(err) < 3000
    assert "Traceback" not in err
    assert "Something went wrong" not in err
    assert "\x1b" not in err


@pytest.mark.parametrize("word", ODD, ids=lambda word: ascii(word)[:12])
@pytest.mark.parametrize(
    "words",
    [
        (*PRUNE, "--seed"), (*PRUNE, "--keep-macs"), (*PRUNE, "--set"), (*PRUNE, "--imgsz"),
        ("data", "import", "/nowhere", "--name"), ("data", "show"), ("runs", "show"),
        ("runs", "export"), ("models", "show"), ("study", "show"), ("study", "run"),
        ("data", "import", "/nowhere", "--name", "a", "--pixel-size"),
        ("data", "import", "/nowhere", "--name", "a", "--seed"),
        ("predict", "/nowhere.png", "--model", "m", "--out", "o", "--conf"),
        ("export",),
    ],
    ids=lambda words: " ".join(words[-2:]),
)  # fmt: skip
def test_odd_words_are_one_sentence(msip: Verb, words: tuple[str, ...], word: str) -> None:
    said = msip(*words, word)
    _is_one_sentence(said.code, said.err)


@pytest.mark.parametrize(
    ("option", "value"),
    [("--conf", "nan"), ("--conf", "-0.1"), ("--conf", "1.5"), ("--iou", "inf"), ("--imgsz", "31"),
     ("--imgsz", "9" * 30), ("--pixel-size", "nan"), ("--pixel-size", "0")],
)  # fmt: skip
def test_numbers_out_of_range_are_refused_before_anything_is_loaded(
    msip: Verb, tmp_path: Path, option: str, value: str
) -> None:
    said = msip("predict", "/nowhere.png", "--model", "m", "--out", tmp_path / "o", option, value)
    _is_one_sentence(said.code, said.err)
    assert option in said.err
    assert not (tmp_path / "o").exists()


@pytest.mark.parametrize("place", ["~nobody-of-that-name/x", "LOOP"])
@pytest.mark.parametrize(
    "words",
    [
        ("data", "import", "PLACE", "--name", "n"),
        ("train", "--detach", "--data", "example", "--weights", "PLACE.pt"),
        ("prune", "--detach", "--data", "example", "--model", "PLACE.pt"),
        ("study", "run", "PLACE.yaml", "--detach"),
        ("study", "run", "table-3-1", "--weights", "PLACE.pt", "--detach"),
        ("predict", "PLACE", "--model", "PLACE.pt", "--out", "out"),
        ("plate", "PLACE", "--model", "PLACE.pt", "--detach"),
        ("export", "PLACE.pt", "--format", "onnx"),
    ],
    ids=lambda words: " ".join(words[:2]),
)
def test_a_path_that_leads_nowhere_is_one_sentence(
    msip: Verb, workspace: Workspace, tmp_path: Path, words: tuple[str, ...], place: str
) -> None:
    copy_example(workspace, images=12, size=64)
    for end in ("", ".pt", ".yaml"):
        (tmp_path / f"loop{end}").symlink_to(tmp_path / f"loop{end}")
    there = place.replace("LOOP", str(tmp_path / "loop"))
    said = msip(*(word.replace("PLACE", there) for word in words))
    _is_one_sentence(said.code, said.err)


def test_an_unknown_part_of_a_dataset_lists_those_there_are(msip: Verb) -> None:
    said = msip("compare", "--baseline", "a", "--pruned", "b", "--data", "d", "--split", "nope")
    _is_one_sentence(said.code, said.err)
    assert "'nope' is not one of 'train', 'val', 'test'" in said.err


# --- settings -------------------------------------------------------------------


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        ("[" * 100_000, "nested too deeply"),
        ('{"seed": ' + "9" * 5000 + "}", "settings"),
        ("[]", "holds no settings"),
        ("", "cannot be read"),
        (b"\xff{}", "not text"),
        ("x" * 5_000_000, "larger than 4 MB"),
    ],
)
def test_a_config_that_is_none_is_one_sentence(
    tmp_path: Path, content: str | bytes, reason: str
) -> None:
    path = tmp_path / "c.json"
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(ConfigError, match=reason) as caught:
        read_run_config(path)
    assert len(caught.value.message) < 1500


@pytest.mark.parametrize("place", ["/dev/zero", "/etc", "/nowhere.json"])
def test_a_config_is_read_from_files_alone(place: str) -> None:
    with pytest.raises(ConfigError, match="cannot be read"):
        read_run_config(Path(place))


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
def test_a_config_is_read_in_the_encodings_of_editors(tmp_path: Path, encoding: str) -> None:
    path = tmp_path / "c.json"
    value = {"kind": "prune", "dataset": "d", "model": "m", "name": "Krypten µ"}
    path.write_bytes(json.dumps(value, ensure_ascii=False).encode(encoding))
    assert read_run_config(path).name == "Krypten µ"


@pytest.mark.parametrize(
    ("setting", "value"),
    [
        ("name", "a\0"), ("name", "\ud800"), ("name", "x" * 10_000_000), ("seed", MAX_SEED + 1),
        ("keep_macs", float("nan")), ("imgsz", float("inf")), ("seed", [1] * 1_000_000),
        ("finetune", {"lr0": float("inf")}), ("device", "cpu\0"),
    ],
    ids=lambda value: str(value)[:10],
)  # fmt: skip
def test_a_setting_that_nothing_can_have_is_one_sentence(setting: str, value: object) -> None:
    with pytest.raises(ConfigError) as caught:
        parse_run_config({"kind": "prune", "dataset": "d", "model": "m", setting: value})
    assert setting in caught.value.message
    assert len(caught.value.message) < 1500


@pytest.mark.parametrize("change", ["=1", ".=1", "a..b=1", "a", ".".join("a" * 9) + "=1"])
def test_a_change_without_a_name_is_refused(change: str) -> None:
    with pytest.raises(ConfigError, match="is no setting"):
        read_settings([change])


def test_a_change_below_a_value_is_refused() -> None:
    with pytest.raises(ConfigError, match="was given a value"):
        read_settings(["a=1", "a.b=2"])


# --- plans ----------------------------------------------------------------------

_PLAN = {"name": "a", "dataset": "d", "rows": [{"key": "l2", "label": "L2", "settings": {}}]}


@pytest.mark.parametrize(
    "more",
    [
        {"seeds": list(range(100_000))},
        {"seeds": list(range(MAX_RUNS // 2))},
        {"seeds": [0, MAX_SEED + 1]},
        {
            "seeds": list(range(60)),
            "rows": [{"key": f"r{i}", "label": "x"} for i in range(MAX_RUNS // 50)],
        },
        {"rows": [{"key": f"r{i}", "label": "x"} for i in range(50_000)]},
    ],
    ids=["seeds", "runs", "seed", "rows and seeds", "rows"],
)
def test_a_plan_of_more_runs_than_anybody_waits_for_is_refused(more: dict[str, object]) -> None:
    with pytest.raises(ConfigError) as caught:
        parse_plan(_PLAN | more)
    assert len(caught.value.message) < 1000


def test_a_plan_with_aliases_without_end_is_refused(tmp_path: Path) -> None:
    lines = ["x0: &x0 [v, v, v, v, v, v, v, v]"]
    lines += [f"x{i}: &x{i} [{', '.join([f'*x{i - 1}'] * 8)}]" for i in range(1, 12)]
    path = tmp_path / "p.yaml"
    path.write_text("\n".join(lines) + "\nname: *x11\n")
    with pytest.raises(ConfigError, match="stands for more than"):
        read_plan(path)


# --- where results go ---------------------------------------------------------------


def test_devices_pipes_and_folders_are_no_files_to_write(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    os.symlink("/dev/null", tmp_path / "link.zip")
    for place in (Path("/dev/null"), tmp_path / "pipe", tmp_path / "link.zip"):
        with pytest.raises(InputError, match="device or a pipe"):
            file_target(place)
        with pytest.raises(InputError, match="not a folder"):
            folder_target(place)
    with pytest.raises(InputError, match="is a folder"):
        file_target(tmp_path)
    assert stat.S_ISCHR(Path("/dev/null").stat().st_mode)


def test_a_file_of_another_kind_is_not_replaced(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(InputError, match=r"no \.zip file"):
        file_target(tmp_path / "notes.txt", ".zip")
    (tmp_path / "old.zip").write_bytes(b"PK")
    assert file_target(tmp_path / "old.zip", ".zip") == tmp_path / "old.zip"


@pytest.mark.parametrize("place", ["/proc/x", "/proc/a/b", "/dev/null/x", "n" * 300, "~nobody-x/y"])
def test_places_that_take_nothing_are_named_and_nothing_is_made(place: str) -> None:
    for check in (file_target, folder_target):
        with pytest.raises(InputError):
            check(Path(place))


def test_a_good_place_is_absolute_and_not_made_before_the_work(tmp_path: Path) -> None:
    assert folder_target(tmp_path / "a" / "b") == tmp_path / "a" / "b"
    assert file_target(tmp_path / "a" / "c.csv") == tmp_path / "a" / "c.csv"
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "words",
    [
        ("study", "plan", "table-3-1", "--out"),
        ("runs", "export", "run-1", "--out"),
        ("predict", "x.png", "--model", "m", "--out"),
        ("export", "m", "--out"),
        ("demo", "--out"),
        ("explain", "x.png", "--baseline", "a", "--pruned", "b", "--out"),
        ("compare", "--baseline", "a", "--pruned", "b", "--data", "d", "--out"),
    ],
    ids=lambda words: " ".join(words[:2]),
)
def test_every_verb_refuses_a_device_as_its_target(msip: Verb, words: tuple[str, ...]) -> None:
    said = msip(*words, "/dev/null")
    _is_one_sentence(said.code, said.err)
    assert "/dev/null" in said.err
    assert stat.S_ISCHR(Path("/dev/null").stat().st_mode)


@pytest.mark.parametrize("name", ["crypts.onnx", "BEST.PT", "nets/crypts.safetensors"])
def test_a_file_that_is_no_pt_file_is_called_a_file(
    msip: Verb, workspace: Workspace, tmp_path: Path, name: str
) -> None:
    copy_example(workspace, images=12, size=64)
    said = msip("train", "--detach", "--data", "example", "--weights", str(tmp_path / name))
    _is_one_sentence(said.code, said.err)
    assert "no file whose name ends in .pt" in said.err


def test_a_kind_of_runs_that_there_is_not_is_refused(msip: Verb) -> None:
    said = msip("runs", "list", "--kind", "training")
    _is_one_sentence(said.code, said.err)
    assert "'training' is not one of 'train', 'prune', 'count'" in said.err
