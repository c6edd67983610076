"""The store of what was computed: whole or not there, whoever is killed, full or in a hurry."""

from __future__ import annotations

import errno
import json
import logging
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pydantic import RootModel

import msip_core
from msip_core import cache as cache_module
from msip_core.arrays import ARRAYS
from msip_core.cache import ContentStore, Form, draft, is_kept, key_of, trim
from msip_core.questions.base import form_of


class Document(RootModel[dict[str, Any]]):
    """An answer of any content."""


ANSWER = form_of(Document)
GONE = 999_999_999  # no process has this number
DAY = 86400.0

# Writes values of two files that must agree, over and over, and reads them in between.
RACER = """
import random, sys
from pathlib import Path
from msip_core.cache import ContentStore, Form

def write(folder, value):
    (folder / "one").write_text(value)
    (folder / "two").write_text(value)

def read(folder):
    one, two = (folder / "one").read_text(), (folder / "two").read_text()
    assert one == two == "x" * 50_000, "half a value"
    return one

store = ContentStore(Path(sys.argv[1]), Form(write, read))
print("ready", flush=True)
while True:
    store.get_or_make(f"value-{random.randrange(4)}", lambda: "x" * 50_000)
"""


def filled(cache: Path, key: str, *, size: int = 1000, days_ago: float = 0.0) -> None:
    with draft(cache, key) as folder:
        (folder / "data").write_bytes(b"x" * size)
    seen = time.time() - days_ago * DAY
    os.utime(cache / key / "result.json", (seen, seen))


def test_a_value_is_made_once_and_read_back(tmp_path: Path) -> None:
    store, made = ContentStore(tmp_path, ARRAYS), []

    def make() -> dict[str, np.ndarray]:
        made.append(1)
        return {"scores": np.arange(5.0), "empty": np.zeros((0, 3), np.float32)}

    first, second = store.get_or_make("k", make), store.get_or_make("k", make)

    assert made == [1]
    for name, values in first.items():
        np.testing.assert_array_equal(second[name], values)
        assert second[name].dtype == values.dtype


def test_every_document_is_read_back_as_it_was(tmp_path: Path) -> None:
    store, rng = ContentStore(tmp_path, ANSWER), random.Random(0)

    def value(depth: int) -> object:
        leaves = [None, True, -1, 0.1 + 0.2, "", "Größe µm 细胞", "\x00\\/", 10**30]
        kinds = [
            lambda: rng.choice(leaves),
            lambda: [value(depth - 1) for _ in range(3)],
            lambda: {f"k{n}": value(depth - 1) for n in range(3)},
        ]
        return rng.choice(kinds if depth else kinds[:1])()

    for n in range(100):
        document = Document({"answer": value(3)})
        store.keep(f"d{n}", document)
        assert store.get(f"d{n}") == document


def test_a_key_holds_the_program_the_meaning_and_every_ingredient(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    asked = [("shap", {"a": 1, "b": 2}), ("shap", {"a": 1, "b": 3}), ("compare", {"a": 1, "b": 2}),
             ("shap", {"a": 1}, {"b": 2}), ("shap", {"a": "1", "b": 2})]  # fmt: skip
    keys = [key_of(*question) for question in asked]
    assert len(set(keys)) == len(keys)
    assert {len(key) for key in keys} == {40}
    assert key_of("shap", {"b": 2, "a": 1}) == keys[0]

    monkeypatch.setitem(cache_module._MEANING, "shap", 99)
    assert key_of(*asked[0]) != keys[0]
    assert key_of(*asked[2]) == keys[2]
    monkeypatch.setattr(msip_core, "__version__", "99")
    assert key_of(*asked[2]) != keys[2]


@pytest.mark.parametrize("damage", [b"", b"text", b"PK\x03\x04cut", None])
def test_a_damaged_value_is_made_anew_and_the_log_says_so(
    tmp_path: Path, damage: bytes | None, caplog: pytest.LogCaptureFixture
) -> None:
    store = ContentStore(tmp_path, ARRAYS)
    store.keep("k", {"a": np.ones(3)})
    if damage is None:
        (tmp_path / "k" / "arrays.npz").unlink()
    else:
        (tmp_path / "k" / "arrays.npz").write_bytes(damage)

    assert store.get_or_make("k", lambda: {"a": np.zeros(3)})["a"].sum() == 0

    assert "made anew" in caplog.text
    again = store.get("k")
    assert again is not None
    assert again["a"].sum() == 0
    assert [p.name for p in tmp_path.iterdir()] == ["k"]


def test_a_key_of_an_address_reaches_and_removes_nothing_outside_the_cache(tmp_path: Path) -> None:
    cache, mine = tmp_path / "cache", tmp_path / "mine"
    for folder in (cache, mine):
        folder.mkdir()
        (folder / cache_module.MARK).write_text("no answer")
    for key in ("../mine", str(mine), "x/../../mine", "..", ".", "", "a\0", "k" * 5000):
        assert not is_kept(cache, key)
        assert ContentStore(cache, ARRAYS).get(key) is None
    assert sorted(p.name for p in tmp_path.rglob("*")) == ["cache", "mine", *["result.json"] * 2]


def test_on_a_full_disk_the_value_is_given_but_not_kept_and_the_log_says_why(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    def full(folder: Path, value: str) -> None:
        (folder / "half").write_text(value[:2])
        raise OSError(errno.ENOSPC, "No space left on device")

    store = ContentStore(tmp_path, Form(full, lambda folder: (folder / "half").read_text()))

    assert store.get_or_make("k", lambda: "value") == "value"

    assert "No space left on device" in caplog.text
    assert not list(tmp_path.iterdir())


@pytest.mark.skipif(os.name == "nt", reason="Windows has no such limit")
def test_big_values_of_every_form_are_given_where_no_file_can_grow(tmp_path: Path) -> None:
    """A limit of 20 kB a file stands for a full disk: writing fails in the libraries themselves."""
    code = (
        "import resource, signal, sys\nfrom pathlib import Path\nimport numpy as np, torch\n"
        "from msip_core.arrays import ARRAYS\nfrom msip_core.cache import ContentStore\n"
        "from tests.test_cache import ANSWER, Document\n"
        "from msip_core.detector.fit_state import FITS, FitState\n"
        "signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, 20_000))\n"
        "cache = Path(sys.argv[1])\n"
        "fit = FitState('k', best={'w': torch.zeros(100_000)})\n"
        "for name, form, value in (('a', ARRAYS, {'n': np.ones(100_000)}),\n"
        "                          ('b', ANSWER, Document({'text': 'x' * 100_000})),\n"
        "                          ('c', FITS, fit)):\n"
        "    assert ContentStore(cache, form).get_or_make(name, lambda: value) is value\n"
        "    assert ContentStore(cache, form).get(name) is None\n"
    )
    done = subprocess.run([sys.executable, "-c", code, str(tmp_path)], capture_output=True,
                          text=True, check=False, timeout=100)  # fmt: skip

    assert done.returncode == 0, done.stderr
    assert not list(tmp_path.iterdir())


@pytest.mark.skipif(os.name == "nt", reason="needs kill -9")
def test_kills_in_the_middle_and_many_at_once_never_show_half_a_value(tmp_path: Path) -> None:
    """Three processes make and read the same values; they are killed, the values thrown away."""
    cache, rng = tmp_path / "cache", random.Random(1)

    def start() -> subprocess.Popen[str]:
        process = subprocess.Popen(
            [sys.executable, "-c", RACER, str(cache)],
            text=True,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        return process

    racers = [start() for _ in range(3)]
    until = time.monotonic() + 4
    while time.monotonic() < until:
        time.sleep(rng.uniform(0, 0.02))
        trim(cache, limit=0)  # all go: they are made again and again
        if rng.random() < 0.03:
            racers[0].send_signal(signal.SIGKILL)
            assert "half a value" not in racers[0].communicate()[1]
            racers = [*racers[1:], start()]
    for racer in racers:
        assert racer.poll() is None, racer.communicate()[1]
        racer.kill()
        assert "half a value" not in racer.communicate()[1]
    trim(cache)
    assert all(is_kept(cache, folder.name) for folder in cache.iterdir())


def test_the_first_of_two_that_make_the_same_stays(tmp_path: Path) -> None:
    with draft(tmp_path, "k") as slow:
        (slow / "who").write_text("second")
        with draft(tmp_path, "k") as fast:
            (fast / "who").write_text("first")

    assert (tmp_path / "k" / "who").read_text() == "first"
    assert [p.name for p in tmp_path.iterdir()] == ["k"]


def test_work_that_fails_leaves_nothing(tmp_path: Path) -> None:
    with pytest.raises(KeyError), draft(tmp_path, "k") as folder:  # noqa: PT012
        (folder / "half").write_text("half")
        raise KeyError("layer")

    assert not list(tmp_path.iterdir())


def test_what_was_looked_at_longest_ago_goes_first(tmp_path: Path) -> None:
    for age, name in enumerate(("new", "old", "oldest")):
        filled(tmp_path, name, days_ago=age)
    ContentStore(tmp_path, Form(lambda *_: None, lambda folder: folder.name)).get("oldest")

    trim(tmp_path, limit=2500)

    assert sorted(p.name for p in tmp_path.iterdir()) == ["new", "oldest"]


def test_what_nobody_looked_at_for_half_a_year_goes_and_other_files_stay(tmp_path: Path) -> None:
    filled(tmp_path, "spring", days_ago=181)
    filled(tmp_path, "autumn", days_ago=60)
    (tmp_path / "speeds-wanted").mkdir()
    (tmp_path / "layer-times-1.json").write_text("[]")
    (tmp_path / "compute.log").write_text("")

    trim(tmp_path)

    names = sorted(p.name for p in tmp_path.iterdir())
    assert names == ["autumn", "compute.log", "layer-times-1.json", "speeds-wanted"]


def test_a_clock_that_is_set_makes_nothing_old(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    filled(tmp_path, "today", days_ago=0)
    draft_of_ours = tmp_path / f".k.{os.getpid()}-0a"
    draft_of_ours.mkdir()
    later = time.time() + 365 * DAY
    monkeypatch.setattr(time, "time", lambda: later)

    trim(tmp_path)

    assert sorted(p.name for p in tmp_path.iterdir()) == [draft_of_ours.name, "today"]


def test_drafts_of_the_dead_and_forgotten_ones_go_and_those_of_the_living_stay(
    tmp_path: Path,
) -> None:
    mine, forgotten = tmp_path / f".k.{os.getpid()}-0a", tmp_path / f".k.{os.getpid()}-0b"
    strange = tmp_path / ".nfs.99999999999999999999-0a"
    for folder in (mine, forgotten, strange, tmp_path / f".k.{GONE}-0a", tmp_path / f".k.{GONE}"):
        folder.mkdir()
    os.utime(forgotten, (time.time() - 2 * DAY,) * 2)

    trim(tmp_path)

    assert sorted(tmp_path.iterdir()) == sorted([mine, strange])


def test_whoever_keeps_something_trims_now_and_then(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = ContentStore(tmp_path, ANSWER)
    monkeypatch.setattr(cache_module, "_trimmed", {})
    filled(tmp_path, "old", days_ago=200)
    assert is_kept(tmp_path, "old")  # trimmed before it was there
    store.keep("a", Document({}))
    assert is_kept(tmp_path, "old")  # not again within ten minutes

    cache_module._trimmed[tmp_path] -= 601
    store.keep("b", Document({}))

    assert sorted(p.name for p in tmp_path.iterdir()) == ["a", "b"]


@pytest.mark.skipif(os.name == "nt" or os.geteuid() == 0, reason="root may write everywhere")
def test_a_workspace_that_can_only_be_read_still_gives_what_it_keeps(tmp_path: Path) -> None:
    store = ContentStore(tmp_path, ANSWER)
    store.keep("k", Document({"a": 1}))
    tmp_path.chmod(0o500)
    try:
        assert store.get("k") == Document({"a": 1})
        assert store.get_or_make("new", lambda: Document({"b": 2})) == Document({"b": 2})
    finally:
        tmp_path.chmod(0o700)


def test_an_answer_lies_where_the_pages_read_it(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.WARNING)
    ContentStore(tmp_path, ANSWER).keep("k", Document({"heat": "heat.npz"}))

    assert json.loads((tmp_path / "k" / "result.json").read_text("utf-8")) == {"heat": "heat.npz"}
    assert not caplog.text
