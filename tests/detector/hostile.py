"""Pickles that run something when a loader believes them, in every way that a pickle can call."""

from __future__ import annotations

import io
import os
import pickle
import struct
import zipfile
from pathlib import Path
from typing import Any

import numpy as np


class Runs:
    """Unpickling it creates a file."""

    def __init__(self, proof: Path) -> None:
        self.proof = proof

    def __reduce__(self) -> Any:
        return os.system, (f"touch '{self.proof}'",)


def archive(pickled: bytes, numbers: dict[str, bytes] | None = None, **options: Any) -> bytes:
    """A .pt file around a pickle, laid out as PyTorch does."""
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", **options) as file:
        file.writestr("archive/data.pkl", pickled)
        file.writestr("archive/byteorder", b"little")
        file.writestr("archive/version", b"3\n")
        for name, data in (numbers or {}).items():
            file.writestr(f"archive/data/{name}", data)
    return packed.getvalue()


def text(word: str) -> bytes:
    """Opcode that pushes a string."""
    data = word.encode()
    return b"X" + struct.pack("<I", len(data)) + data


def call(proof: Path) -> dict[str, bytes]:
    """One pickle for each way to call os.system, by name."""
    order = text(f"touch '{proof}'")
    system = text("posix") + text("system")
    protocol = b"\x80\x04"
    decoys = text("torch") + text("Size")
    return {
        **{f"protocol {n}": pickle.dumps(Runs(proof), protocol=n) for n in range(6)},
        "GLOBAL": b"cposix\nsystem\n" + order + b"\x85R.",
        "INST": b"(S\"touch '" + str(proof).encode() + b"'\"\niposix\nsystem\n.",
        "OBJ": b"(cposix\nsystem\n" + order + b"o.",
        "STACK_GLOBAL": protocol + system + b"\x93" + order + b"\x85R.",
        "decoys popped": protocol + system + decoys + b"00" + b"\x93" + order + b"\x85R.",
        "decoys popped by mark": protocol + system + b"(" + decoys + b"1\x93" + order + b"\x85R.",
        "decoys in a tuple": protocol + system + decoys + b"\x860\x93" + order + b"\x85R.",
        "names from the memo": protocol + text("posix") + b"q\x050" + text("system") + b"q\x060"
        + decoys + b"00h\x05h\x06\x93" + order + b"\x85R.",
        "names stored twice": protocol + text("torch") + b"q\x010" + text("posix") + b"q\x010h\x01"
        + text("system") + b"\x93" + order + b"\x85R.",
        "a name duplicated": protocol + text("posix") + b"20" + text("system") + b"\x93" + order
        + b"\x85R.",
        "NEWOBJ": protocol + system + b"\x93" + order + b"\x85\x81.",
        "NEWOBJ_EX": protocol + system + b"\x93" + order + b"\x85}\x92.",
        "BUILD": protocol + b"cbuiltins\nprint\n" + system + b"\x93" + order + b"\x85Rb.",
        "hidden behind numbers": protocol + b"K\x010" * 50 + system + b"\x93" + order + b"\x85R0N.",
        "in what breaks off": protocol + system + b"\x93" + order + b"\x85R",
        "called from a call": protocol + b"cbuiltins\ngetattr\n" + b"cos\npath\n" + text("os")
        + b"\x86Rcbuiltins\ngetattr\n0" + order + b"\x85R.",
        "extension": protocol + b"\x82\x01" + order + b"\x85R.",
        "computed module": protocol + b"ccollections\nOrderedDict\n)R" + text("system") + b"\x93"
        + order + b"\x85R.",
        "computed function": protocol + b"ccollections\nOrderedDict\n)R" + order + b"\x85R.",
    }  # fmt: skip


def object_arrays(proof: Path) -> bytes:
    """A .npz whose array is a pickle."""
    packed = io.BytesIO()
    np.savez(packed, scores=np.array([Runs(proof)], dtype=object))
    return packed.getvalue()
