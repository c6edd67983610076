"""Weights that somebody brought: pickles that run code, sizes that lie, objects that are none."""

from __future__ import annotations

import io
import pickle
import random
import struct
import zipfile
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from typing import Any

from tests.campaign import mutate
from tests.campaign.case import Case
from tests.campaign.lab import Lab

_KEYS = ("model", "ema", "train_args", "epoch", "optimizer", "version", "date", "updates")
_ATTRIBUTES = ("names", "yaml", "args", "stride", "nc", "model", "save", "task", "inplace",
               "training", "_modules", "_parameters", "_buffers", "criterion")  # fmt: skip


def cases(lab: Lab, count: int) -> Iterator[Case]:
    for name, code in _payloads().items():
        for how in ("alone", "before", "after"):
            yield _case(lab, f"{name}, {how}", lambda c, p=code, h=how: _planted(lab, p, h))
    for name, data in _lies(lab).items():
        yield _case(lab, name, lambda chance, d=data: d())
    for key in _KEYS:
        for node in (*mutate.NODES[:12], "tensor", "itself"):
            yield _case(lab, f"{key} is {node!r:.30}", lambda c, k=key, v=node: _entry(lab, k, v))
    for name in _ATTRIBUTES:
        for node in mutate.NODES[:10]:
            what = f"model.{name} is {node!r:.30}"
            yield _case(lab, what, lambda c, k=name, v=node: _attribute(lab, k, v))
    for number in range(count):
        yield _case(lab, f"mutant {number}", lambda chance: _mutant(lab, chance))


def _case(lab: Lab, what: str, data: Callable[[random.Random], bytes]) -> Case:
    def make(place: Path, chance: random.Random) -> list[str]:
        (place / "brought.pt").write_bytes(data(chance))
        return ["predict", str(lab.image), "--model", str(place / "brought.pt"),
                "--out", str(place / "out"), "--imgsz", "64"]  # fmt: skip

    return Case("weights", what, make)


# --- code ------------------------------------------------------------------------------------


def _payloads() -> dict[str, bytes]:
    """Pickle programs that call os.system, past scanners that read the last two strings."""
    text = lambda s: b"\x8c" + bytes([len(s)]) + s  # noqa: E731 - SHORT_BINUNICODE
    call = text(b"touch CANARY") + b"\x85R"
    decoy = text(b"torch") + text(b"float32")
    return {
        "GLOBAL": b"cos\nsystem\n" + call,
        "INST": b"(" + text(b"touch CANARY") + b"ios\nsystem\n",
        "OBJ": b"(cos\nsystem\n" + text(b"touch CANARY") + b"o",
        "STACK_GLOBAL": text(b"os") + text(b"system") + b"\x93" + call,
        "decoys popped": text(b"os") + text(b"system") + decoy + b"00\x93" + call,
        "decoys behind a mark": text(b"os") + text(b"system") + b"(" + decoy + b"1\x93" + call,
        "from the memo": text(b"os") + b"q\x60" + text(b"system") + b"q\x61" + b"00" + decoy
        + b"00h\x60h\x61\x93" + call,
        "doubled": text(b"os") + text(b"system") + decoy + b"00" + b"\x93" + b"2" + b"0" + call,
        "getattr": b"cbuiltins\ngetattr\ncos\n__dict__\n" + text(b"system") + b"\x86R",
        "builtins.exec": b"cbuiltins\nexec\n" + text(b"open('CANARY','w')") + b"\x85R",
        "a module inside torch": b"ctorch.serialization\nos.system\n" + call,
        "numpy": b"cnumpy.testing._private.utils\nrunstring\n" + text(b"1") + b"\x85R",
        "an extension": b"\x82\x01" + call,
        "persistent": b"Pos.system\n0",
        "a state that is set": b"ctorch.nn.modules.container\nSequential\n)\x81}" + text(b"a")
        + b"cos\nsystem\nsb",
        "a new object": b"csubprocess\nPopen\n" + text(b"touch CANARY") + b"\x85\x81",
    }  # fmt: skip


def _planted(lab: Lab, payload: bytes, how: str) -> bytes:
    """The payload as the whole pickle of a checkpoint, before the genuine one, or behind it."""
    genuine = _parts(lab)["data.pkl"]
    if how == "alone":
        return _rebuilt(lab, b"\x80\x04" + payload + b".")
    if how == "before":
        return _rebuilt(lab, genuine[:2] + payload + b"0" + genuine[2:])
    return _rebuilt(lab, genuine[:-1] + payload + b"0.")


# --- the container ----------------------------------------------------------------------------


@cache
def _parts(lab: Lab) -> dict[str, bytes]:
    """The entries of the lab's baseline, by their names without the folder in front."""
    path = lab.root / "models" / lab.baseline / "model.pt"
    with zipfile.ZipFile(path) as archive:
        return {name.partition("/")[2]: archive.read(name) for name in archive.namelist()}


def _rebuilt(lab: Lab, pickled: bytes, **changed: bytes) -> bytes:
    data = io.BytesIO()
    with zipfile.ZipFile(data, "w") as archive:
        for name, content in {**_parts(lab), **changed, "data.pkl": pickled}.items():
            archive.writestr(f"archive/{name}", content)
    return data.getvalue()


def _lies(lab: Lab) -> dict[str, Callable[[], bytes]]:
    long = struct.pack("<Q", 4 * 10**9)
    return {
        "nothing": lambda: b"",
        "text": lambda: b"hello",
        "a plain pickle": lambda: pickle.dumps({"model": 1}),
        "a bytearray of 4 GB": lambda: _rebuilt(lab, b"\x80\x05\x96" + long + b"x."),
        "a text of 4 GB": lambda: _rebuilt(lab, b"\x80\x04\x8d" + long + b"x."),
        "a frame of 4 GB": lambda: _rebuilt(lab, b"\x80\x04\x95" + long + b"N."),
        "bytearray(4e9)": lambda: _rebuilt(
            lab, b"\x80\x04cbuiltins\nbytearray\nJ\xff\xff\xff\x7f\x85R."
        ),
        "a number of a million digits": lambda: _rebuilt(
            lab, b"\x80\x04L" + b"9" * 10**6 + b"L\n."
        ),
        "a million marks": lambda: _rebuilt(lab, b"\x80\x04" + b"(" * 10**6 + b"."),
        "a million lists in lists": lambda: _rebuilt(
            lab, b"\x80\x04" + b"]" * 10**6 + b"a" * (10**6 - 1) + b"."
        ),
        "a memo of 2**31": lambda: _rebuilt(lab, b"\x80\x04Nr\xff\xff\xff\x7f."),
        "a pickle of 300 MB of zeros": lambda: _packed({"archive/data.pkl": bytes(300 * 2**20)}),
        "a pickle of 300 MB of text": lambda: _packed({"archive/data.pkl": _large_text()}),
        "a storage of 400 MB of zeros": lambda: _packed(
            {f"archive/{n}": d for n, d in _parts(lab).items()}
            | {"archive/data/0": bytes(400 * 2**20)}
        ),
        "no pickle": lambda: _packed({"archive/version": b"3"}),
        "two pickles": lambda: _packed({"a/data.pkl": b"N.", "b/data.pkl": b"N."}),
        "torch script": lambda: _packed({"archive/constants.pkl": b"N.", "archive/code/x.py": b""}),
    }


def _packed(files: dict[str, bytes]) -> bytes:
    data = io.BytesIO()
    with zipfile.ZipFile(data, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return data.getvalue()


def _large_text() -> bytes:
    size = 300 * 2**20
    return b"\x80\x04X" + struct.pack("<I", size) + b"a" * size + b"."


# --- objects ----------------------------------------------------------------------------------


def _document(lab: Lab) -> dict[str, Any]:
    from msip_core.detector.checkpoints import load_model

    model = load_model(lab.root / "models" / lab.baseline / "model.pt")
    return {"model": model, "ema": None, "epoch": -1, "optimizer": None,
            "train_args": {"imgsz": 64}, "version": "8.4.0",
            "date": "2026-01-01", "updates": 0}  # fmt: skip


def _saved(document: object) -> bytes:
    import torch

    data = io.BytesIO()
    torch.save(document, data)
    return data.getvalue()


def _entry(lab: Lab, key: str, node: object) -> bytes:
    import torch

    document = _document(lab)
    document[key] = {"tensor": torch.zeros(3), "itself": document}.get(str(node), node)
    return _saved(document)


def _attribute(lab: Lab, name: str, node: object) -> bytes:
    document = _document(lab)
    document["model"].__dict__[name] = node
    return _saved(document)


def _mutant(lab: Lab, chance: random.Random) -> bytes:
    pickled = _parts(lab)["data.pkl"]
    if chance.random() < 0.6:
        return _rebuilt(lab, mutate.bytes_(pickled, chance))
    return mutate.bytes_(_rebuilt(lab, pickled), chance)
