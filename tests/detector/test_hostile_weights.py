"""Weights files are worked out, never run; and a small file can claim no memory and no time."""

from __future__ import annotations

import ast
import struct
import time
import tracemalloc
import zipfile
from pathlib import Path

import pytest
import torch
from torch import nn

from msip_core.cache import ContentStore
from msip_core.detector.archives import opened, read_plain
from msip_core.detector.build import add_upload
from msip_core.detector.c2f import to_c2f_v2
from msip_core.detector.checkpoints import load_model, read_weights, save_work
from msip_core.detector.export import export_module
from msip_core.detector.fit_state import FITS, FitState, read_state, write_state
from msip_core.detector.library import copy_model
from msip_core.detector.pickles import PLAIN
from msip_core.errors import CheckpointError, ConfigError, UnsafeCheckpointError
from msip_core.example import unpack
from msip_core.questions.contents import sha256_of
from tests.detector.conftest import outputs, pruned_model, thin_model
from tests.detector.hostile import Runs, archive, call, text

ROOT = Path(__file__).resolve().parents[2]
WAYS = tuple(call(Path("x")))
P4 = b"\x80\x04"
FLOATS = b"ctorch\nFloatStorage\n"
REBUILD = b"ctorch._utils\n_rebuild_tensor_v2\n"


@pytest.mark.parametrize("packed", [True, False], ids=["in an archive", "bare"])
@pytest.mark.parametrize("way", WAYS)
def test_no_way_of_calling_runs_anything(tmp_path, way, packed):
    proof, path = tmp_path / "proof", tmp_path / "evil.pt"
    pickled = call(proof)[way]
    path.write_bytes(archive(pickled) if packed else pickled)

    for trusted in (False, True):  # nor is a file that somebody calls trusted
        with pytest.raises(UnsafeCheckpointError, match=r"evil\.pt was refused"):
            load_model(path, trusted=trusted)

    assert not proof.exists()


@pytest.mark.parametrize("way", WAYS)
def test_a_state_of_training_runs_nothing_either(tmp_path, way):
    proof, path = tmp_path / "proof", tmp_path / "state.pt"
    path.write_bytes(archive(call(proof)[way]))

    with pytest.raises(UnsafeCheckpointError, match=r"state\.pt was refused.*delete the folder"):
        read_state(path, "key")

    assert not proof.exists()


def test_a_kept_fit_that_holds_a_pickle_counts_as_none(tmp_path):
    kept = ContentStore(tmp_path / "cache", FITS)
    kept.keep("fit-1", FitState("key", 2))
    before = kept.get("fit-1")
    state = tmp_path / "cache" / "fit-1" / "state.pt"
    state.write_bytes(archive(call(tmp_path / "proof")["GLOBAL"]))

    assert before is not None
    assert before.epochs_done == 2
    assert kept.get("fit-1") is None
    assert not (tmp_path / "proof").exists()


def test_a_model_is_never_constructed_from_what_a_file_says(tmp_path):
    path = tmp_path / "evil.pt"
    made = b"cultralytics.nn.tasks\nDetectionModel\n}" + text("nc") + b"K\x01s\x85R"
    path.write_bytes(archive(P4 + b"}" + text("model") + made + b"s."))

    with pytest.raises(UnsafeCheckpointError, match="DetectionModel"):
        load_model(path)


def test_our_own_files_hold_tensors_in_plain_containers_and_nothing_else(tmp_path):
    model = pruned_model()
    save_work(model, tmp_path / "work.pt")
    optimizer = torch.optim.SGD(model.parameters(), 0.1, momentum=0.9)
    sum(p.sum() for p in model.parameters()).backward()
    optimizer.step()
    state = FitState("k", 3, 1.5, False, dict(model.state_dict()), ema_updates=7,
                     optimizer=optimizer.state_dict(), metrics={"map50": 0.1})  # fmt: skip
    write_state(tmp_path / "state.pt", state)

    for name in ("work.pt", "state.pt"):
        with opened(tmp_path / name, PLAIN):
            torch.load(tmp_path / name, weights_only=True)
    again = read_state(tmp_path / "state.pt", "k")

    assert again is not None
    assert again.metrics == state.metrics
    assert (again.epochs_done, again.seconds, again.ema_updates) == (3, 1.5, 7)
    assert list(again.model or ()) == list(model.state_dict())
    for name, value in model.state_dict().items():
        assert torch.equal((again.model or {})[name], value)
    momenta = [row["momentum_buffer"] for row in (again.optimizer or {})["state"].values()]
    assert all(map(torch.equal, momenta, [r["momentum_buffer"] for r in
                                          optimizer.state_dict()["state"].values()]))  # fmt: skip
    assert (again.optimizer or {})["param_groups"] == optimizer.state_dict()["param_groups"]


def test_networks_of_older_workspaces_open_to_the_last_bit_without_being_unpickled(
    tmp_path, monkeypatch
):
    model = pruned_model()
    torch.save(
        {"epoch": -1, "model": copy_model(model), "ema": None, "train_args": {"box": 7.5}},
        tmp_path / "model.pt",
    )
    monkeypatch.setattr(torch, "load", lambda *a, **k: pytest.fail("unpickled"))

    loaded = load_model(tmp_path / "model.pt")

    assert torch.equal(outputs(loaded), outputs(model))
    assert [n for n, _ in loaded.named_modules()] == [n for n, _ in model.named_modules()]


def test_the_shipped_example_opens(tmp_path):
    unpack(ROOT / "assets" / "example", tmp_path, ["models"])
    files = sorted(tmp_path.glob("models/*/*.pt"))

    assert len(files) == 3
    for path in files:
        assert tuple(load_model(path).names.values()) == ("crypt", "no_crypt")


def test_what_a_file_adds_to_modules_does_not_come_along(tmp_path):
    twin = copy_model(thin_model())
    twin.model[0].surprise = "x"
    twin.model[0].conv.forward_hint = [1]
    torch.save({"model": twin, "train_args": {}}, tmp_path / "a.pt")

    loaded = load_model(tmp_path / "a.pt")

    assert not hasattr(loaded.model[0], "surprise")
    assert not hasattr(loaded.model[0].conv, "forward_hint")


def test_code_in_a_description_is_refused_before_anyone_evaluates_it(tmp_path):
    twin = copy_model(thin_model())
    twin.yaml["activation"] = "__import__('os').system('true')"
    torch.save({"model": twin}, tmp_path / "a.pt")

    with pytest.raises(CheckpointError, match=r"a\.pt.*its description holds code"):
        load_model(tmp_path / "a.pt")


# --- sizes ---------------------------------------------------------------------------


def tensor(count: int, size: bytes, stride: bytes, offset: bytes = b"K\x00") -> bytes:
    """A tensor over the numbers in entry "0", as PyTorch pickles it."""
    stored = b"(" + text("storage") + FLOATS + text("0") + text("cpu")
    stored += b"\x8a\x08" + struct.pack("<q", count) + b"tQ"
    return REBUILD + b"(" + stored + offset + size + stride + b"\x89ccollections\nOrderedDict\n)RtR"


def state_of(pickled_tensor: bytes, numbers: bytes = b"\0" * 16, **options) -> bytes:
    return archive(P4 + b"}" + text("key") + pickled_tensor + b"s.", {"0": numbers}, **options)


LARGE = b"J\xff\xff\xff\x7f"  # 2**31 - 1
BOMBS = {
    "more numbers than there are": state_of(tensor(10**12, LARGE + b"\x85", b"K\x01\x85")),
    "one number as many": state_of(tensor(4, LARGE + b"\x85", b"K\x00\x85")),
    "a view beyond the end": state_of(tensor(4, b"K\x04\x85", b"K\x64\x85")),
    "an offset beyond the end": state_of(tensor(4, b"K\x04\x85", b"K\x01\x85", b"K\x64")),
    "a negative stride": state_of(tensor(4, b"K\x04\x85", b"J\xff\xff\xff\xff\x85")),
    "no such entry": archive(P4 + tensor(4, b"K\x04\x85", b"K\x01\x85") + b"."),
    "zeros packed to nothing": state_of(
        tensor(2**26, LARGE + b"\x85", b"K\x01\x85"), bytes(2**26), compression=zipfile.ZIP_DEFLATED
    ),
    "bytearray of 4 GB": archive(P4 + b"cbuiltins\nbytearray\nJ\x00\x28\x6b\xeeR."),
    "bytearray of 2 GB": archive(P4 + b"cbuiltins\nbytearray\n" + LARGE + b"\x85R."),
    "a string longer than the file": archive(P4 + b"\x8d" + struct.pack("<Q", 2**40) + b"x."),
    "bytes longer than the file": archive(P4 + b"\x8e" + struct.pack("<Q", 2**60) + b"x."),
    "a number longer than the file": archive(P4 + b"\x8b" + struct.pack("<i", 2**31 - 1) + b"1."),
    "a frame longer than the file": archive(P4 + b"\x95" + struct.pack("<Q", 2**50) + b"."),
    "a million empty lists": archive(P4 + b"]0" * 1_000_000 + b"N."),
    "lists of lists of lists": archive(
        P4 + b"]" + b"".join(b"q%c0]h%ch%c\x86a" % (n, n, n) for n in range(1, 60)) + b"."
    ),
    "a list in itself": archive(P4 + b"]q\x01h\x01a."),
    "nothing but marks": archive(P4 + b"(" * 100_000 + b"."),
    "a pickle without an end": archive(P4 + b"N" * 1000),
    "pops from nothing": archive(P4 + b"0000."),
    "a memo that was never written": archive(P4 + b"h\x07."),
}


@pytest.mark.parametrize("kind", BOMBS)
def test_a_small_file_claims_neither_memory_nor_time(tmp_path, kind):
    path = tmp_path / "state.pt"
    path.write_bytes(BOMBS[kind])
    tracemalloc.start()
    begin = time.perf_counter()
    try:
        with pytest.raises(CheckpointError, match=r"state\.pt"):
            read_plain(path)
        with pytest.raises(CheckpointError, match=r"state\.pt"):
            load_model(path)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()

    assert peak < 64 * 2**20
    assert time.perf_counter() - begin < 30


def test_a_network_that_grows_from_layer_to_layer_is_refused_before_it_computes(tmp_path):
    twin = copy_model(thin_model())
    twin.model[0].conv.padding = (60, 60)
    torch.save({"model": twin}, tmp_path / "a.pt")
    with pytest.raises(CheckpointError, match="padded"):
        load_model(tmp_path / "a.pt")

    twin = copy_model(thin_model())
    twin.model[10].scale_factor = 4000.0
    torch.save({"model": twin}, tmp_path / "b.pt")
    with pytest.raises(CheckpointError, match="scale_factor"):
        load_model(tmp_path / "b.pt")

    twin = copy_model(thin_model())
    twin.model[2].m = nn.ModuleList([twin.model[2].m[0]] * 50)
    torch.save({"model": twin}, tmp_path / "c.pt")
    with pytest.raises(CheckpointError, match="layer 2 takes"):
        load_model(tmp_path / "c.pt")


# --- the file scanned is the file opened ------------------------------------------------

ODD_FOLDERS = ("Anna's lab", 'a "quoted" lab', "what? #1 100%25", "组织 ünï $HOME", "a;b&c|d")


@pytest.mark.parametrize("folder", ODD_FOLDERS)
def test_paths_are_taken_as_they_are(tmp_path, workspace, folder):
    model = to_c2f_v2(thin_model())
    place = tmp_path / folder
    save_work(model, place / "it's.pt")

    weights = read_weights(place / "it's.pt")
    card = add_upload(workspace, place / "it's.pt")

    assert torch.equal(outputs(weights.model), outputs(model))
    assert card.origin == {"file": "it's.pt", "sha256": sha256_of(place / "it's.pt")}


def test_a_path_with_an_apostrophe_does_not_open_the_file_beside_it(tmp_path):
    """Ultralytics strips quotation marks, and would open the file of that other name."""
    proof = tmp_path / "proof"
    torch.save({"model": Runs(proof)}, tmp_path / "its.pt")
    save_work(thin_model(), tmp_path / "it's.pt")

    assert len(load_model(tmp_path / "it's.pt").names) == 2
    assert not proof.exists()


@pytest.mark.filterwarnings("ignore:.*torch.jit:FutureWarning")
def test_exports_are_made_from_and_into_such_a_folder(tmp_path):
    place = tmp_path / "Anna's lab? #1"
    model = thin_model()
    save_work(model, place / "it's.pt")

    made = export_module(
        load_model(place / "it's.pt"), "torchscript", place / "it's.torchscript", 64
    )

    images = torch.rand(1, 3, 64, 64)
    found = torch.jit.load(made)(images)
    torch.testing.assert_close(found, outputs(model, images), rtol=1e-4, atol=1e-3)


@pytest.mark.parametrize(("side", "near"), [(100, 96), (1, 32), (0, 32), (-64, 32), (650, 640)])
@pytest.mark.parametrize("form", ["ultralytics", "onnx", "torchscript"])
def test_a_size_that_cannot_be_built_in_is_refused_with_the_nearest(tmp_path, form, side, near):
    save_work(thin_model(), tmp_path / "a.pt")

    with pytest.raises(ConfigError, match=f"{side} px.*multiple of 32 px. {near} px is the near"):
        export_module(load_model(tmp_path / "a.pt"), form, tmp_path / "b", side)

    assert sorted(p.name for p in tmp_path.iterdir()) == ["a.pt"]


# --- the sources -------------------------------------------------------------------------


# It pickles between the server and a child that the server started, over a private pipe. Ray itself
# carries Python between computers of one cluster, which trust one another (README); what a run
# wrote comes as bytes of files and is read as any other file.
_OWN_PIPE = "msip_core/runs/far/bridge.py"


def _forgotten(function: ast.FunctionDef) -> list[ast.arg]:
    """The arguments that a function deletes before it does anything else."""
    documented = ast.get_docstring(function) is not None
    first = next(iter(function.body[documented:]), None)
    if not isinstance(first, ast.Delete):
        return []
    gone = {name.id for name in first.targets if isinstance(name, ast.Name)}
    return [one for one in (*function.args.args, *function.args.kwonlyargs) if one.arg in gone]


def test_no_source_of_ours_unpickles_anything():
    forbidden = {"trusted", "weights_only", "attempt_load_one_weight", "torch_safe_load"}
    asked: list[str] = []
    forgotten: set[int] = set()
    for path in sorted((ROOT / "msip_core").rglob("*.py")):
        if path == ROOT / _OWN_PIPE:
            continue
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            where = f"{path.relative_to(ROOT)}:{getattr(node, 'lineno', 0)}"
            if isinstance(node, ast.FunctionDef):  # a word that is thrown away decides nothing
                forgotten |= {id(one) for one in _forgotten(node)}
            if (
                isinstance(node, ast.arg | ast.keyword)
                and node.arg in forbidden
                and id(node) not in forgotten
            ):
                asked.append(f"{where} {node.arg}")
            if isinstance(node, ast.keyword) and node.arg == "allow_pickle":
                assert getattr(node.value, "value", None) is False, where
            if isinstance(node, ast.Attribute) and node.attr in ("load", "loads", "Unpickler"):
                assert ast.unparse(node.value) not in ("torch", "pickle", "joblib", "dill"), where
            if isinstance(node, ast.Import | ast.ImportFrom):
                names = {alias.name for alias in node.names} | {getattr(node, "module", "")}
                assert not names & {"pickle", "cloudpickle", "dill", "joblib", "shelve"}, where

    assert asked == []
