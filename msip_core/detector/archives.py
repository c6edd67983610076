"""A .pt file as data: a zip around one pickle and the tensors' numbers, opened once.

All sizes are checked against the length of the file before anything is read, so a small file can
claim no memory; what is scanned, hashed and read is the same open file, never its name again.
"""

from __future__ import annotations

import hashlib
import math
import struct
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from io import BufferedReader
from pathlib import Path
from typing import Any

import torch

from msip_core.detector.pickles import (
    ALLOWED,
    PLAIN,
    BrokenPickleError,
    HiddenNameError,
    Machine,
    Made,
    Name,
    Stored,
    TensorRef,
    is_foreign_model,
)
from msip_core.errors import CheckpointError, NotFoundError, UnsafeCheckpointError, WrongModelError
from msip_core.messages import msg

_MAX_PICKLE = 8 * 2**20  # bytes; that of a YOLOv8x with its optimizer has 0.4 MB
_MAX_PICKLES = 16  # one after the other in a file that is no zip; PyTorch wrote five
_MAX_ENTRIES = 50_000
_OUR_NAMES = frozenset({"model.pt", "work.pt", "cut.pt", "pruned.pt", "state.pt"})
_MAX_DEPTH = 40  # of containers in containers
_DTYPES = {
    "torch.FloatStorage": torch.float32, "torch.HalfStorage": torch.float16,
    "torch.BFloat16Storage": torch.bfloat16, "torch.DoubleStorage": torch.float64,
    "torch.LongStorage": torch.int64, "torch.IntStorage": torch.int32,
    "torch.ShortStorage": torch.int16, "torch.CharStorage": torch.int8,
    "torch.ByteStorage": torch.uint8, "torch.BoolStorage": torch.bool,
}  # fmt: skip
_ZIP_ERRORS = (
    zipfile.BadZipFile, NotImplementedError, RuntimeError, ValueError, EOFError, struct.error,
    zlib.error, OSError, KeyError, IndexError, OverflowError,
)  # fmt: skip


class Archive:
    """One open .pt file.

    Attributes:
        name: of the file, for sentences.
        value: what the pickle holds: plain containers, `Made`, `TensorRef`.
    """

    def __init__(self, file: BufferedReader, name: str, allowed: frozenset[str]) -> None:
        self.name, self._file = name, file
        self._storages: dict[Stored, torch.Tensor] = {}
        self._shared: dict[int, Any] = {}  # containers that several others hold, by identity
        try:
            self._zip = zipfile.ZipFile(file) if zipfile.is_zipfile(file) else None
        except _ZIP_ERRORS as error:
            raise self._damaged() from error
        if self._zip is None:
            self._refuse_bare(allowed)
        self._entries = self._checked_entries()
        self._root, data = self._pickle()
        self.value = self._worked_out(data, allowed)

    def sha256(self) -> str:
        """SHA-256 of the open file, as hexadecimal text."""
        self._file.seek(0)
        return hashlib.file_digest(self._file, "sha256").hexdigest()

    def tensor(self, ref: TensorRef) -> torch.Tensor:
        """The tensor, with the strides it was written with; equal storages are shared."""
        reach = ref.offset + 1 + sum((n - 1) * s for n, s in zip(ref.size, ref.stride, strict=True))
        count = math.prod(ref.size)
        if len(ref.size) > 8 or count > ref.stored.count or (count and reach > ref.stored.count):
            raise self._damaged()
        return self._storage(ref.stored).as_strided(ref.size, ref.stride, ref.offset)

    def plain(self, value: Any = None) -> Any:
        """`value` (default: the whole content) with its tensors, where nothing else is in it.

        Raises:
            CheckpointError: it holds more than tensors in plain containers.
        """
        return self._plain(self.value if value is None else value, 0)

    def _plain(self, value: Any, depth: int) -> Any:
        if depth > _MAX_DEPTH or isinstance(value, Made | Name | Stored):
            raise self._damaged()
        if isinstance(value, TensorRef):
            return self.tensor(value)
        if not isinstance(value, dict | list | tuple):
            return value
        if id(value) not in self._shared:
            self._shared[id(value)] = (
                {key: self._plain(item, depth + 1) for key, item in value.items()}
                if isinstance(value, dict)
                else type(value)(self._plain(item, depth + 1) for item in value)
            )
        return self._shared[id(value)]

    def _storage(self, stored: Stored) -> torch.Tensor:
        if stored not in self._storages:
            dtype = _DTYPES.get(stored.dtype)
            entry = self._entries.get(f"{self._root}data/{stored.key}")
            if dtype is None or entry is None or stored.count * dtype.itemsize != entry.file_size:
                raise self._damaged()
            # A clone: numbers lie where PyTorch lays them, at addresses its kernels like.
            data = bytearray(self._read(entry))
            held = torch.frombuffer(data, dtype=dtype).clone() if data else torch.empty(0).to(dtype)
            self._storages[stored] = held
        return self._storages[stored]

    def _checked_entries(self) -> dict[str, zipfile.ZipInfo]:
        """The entries by name, if PyTorch can have written them: stored as they are, each once."""
        assert self._zip is not None
        infos = self._zip.infolist()
        length = self._file.seek(0, 2)
        if any(info.flag_bits & 1 for info in infos):
            raise CheckpointError(
                "{name} is encrypted: give the .pt file without a password.", name=self.name
            )
        if any(info.compress_type != zipfile.ZIP_STORED for info in infos):
            raise CheckpointError(
                "{name} was packed anew, in a way that PyTorch does not read: give the .pt "
                "file as training wrote it.",
                name=self.name,
            )
        entries = {info.filename: info for info in infos}
        if (
            len(entries) != len(infos)
            or len(infos) > _MAX_ENTRIES
            or sum(info.file_size for info in infos) > length
            or any(info.file_size != info.compress_size for info in infos)
        ):
            raise self._damaged()
        return entries

    def _pickle(self) -> tuple[str, bytes]:
        """The folder that the archive keeps everything in, and its pickle."""
        found = [n for n in self._entries if n == "data.pkl" or n.endswith("/data.pkl")]
        if not found:
            raise CheckpointError(
                "{name} is not a weights file that PyTorch wrote.", name=self.name
            )
        root = found[0].removesuffix("data.pkl")
        if f"{root}constants.pkl" in self._entries:
            raise CheckpointError(
                "{name} is a TorchScript export: give the .pt file that training wrote.",
                name=self.name,
            )
        order = self._entries.get(f"{root}byteorder")
        entry = self._entries[found[0]]
        if len(found) > 1 or entry.file_size > _MAX_PICKLE or root.count("/") > 1:
            raise self._damaged()
        if order is not None and (order.file_size > 16 or self._read(order) != b"little"):
            raise self._damaged()
        return root, self._read(entry)

    def _read(self, entry: zipfile.ZipInfo) -> bytes:
        assert self._zip is not None
        try:
            return self._zip.read(entry)
        except _ZIP_ERRORS as error:
            raise self._damaged() from error

    def _worked_out(self, data: bytes, allowed: frozenset[str]) -> Any:
        machine = Machine()
        try:
            value, _ = machine.run(data)
        except BrokenPickleError as error:
            self._refuse(machine, allowed)
            raise self._damaged() from error
        except HiddenNameError as error:
            raise self._hidden() from error
        self._refuse(machine, allowed)
        return value

    def _refuse_bare(self, allowed: frozenset[str]) -> None:
        """Raise: a file that is no zip. Its names are read first, to say what is dangerous."""
        self._file.seek(0)
        data = self._file.read(_MAX_PICKLE)
        machine, place = Machine(), 0
        try:
            for _ in range(_MAX_PICKLES):
                if place < len(data):
                    _, place = machine.run(data, place)
        except BrokenPickleError:
            pass  # not a pickle, or one that ends in numbers: what was named so far is known
        except HiddenNameError as error:
            raise self._hidden() from error
        self._refuse(machine, allowed)
        if not data:
            raise CheckpointError("{name} is empty: copy or download it again.", name=self.name)
        if machine.names and place:
            raise CheckpointError(
                "{name} is in PyTorch's old format, or a plain pickle: open and "
                "save it with a newer Ultralytics.",
                name=self.name,
            )
        raise CheckpointError(
            "{name} is not a readable weights file: it may be cut off, or not a .pt file at all.",
            name=self.name,
        )

    def _refuse(self, machine: Machine, allowed: frozenset[str]) -> None:
        """Raise if there are names beyond those that are allowed, or models to be constructed."""
        strangers = machine.names - allowed
        dangerous = sorted(name for name in strangers if not is_foreign_model(name))
        dangerous += sorted(machine.constructed & allowed)
        if dangerous:
            raise UnsafeCheckpointError(
                "{name} was refused: loading it would run '{dangerous}', which no "
                "detector needs. Nothing of it was run. Use weights from a source you trust.",
                name=self.name,
                dangerous=dangerous[0][:80],
            )
        if strangers:
            name = min(strangers, key=_how_telling).rpartition(".")[2]
            if name == "getattr":
                raise WrongModelError(fused_sentence(self.name))
            raise WrongModelError(
                "{name} is not a YOLOv8 detector: it holds '{held}'. Give a .pt file of "
                "YOLOv8 n, s, m, l or x, trained to detect boxes and not fused.",
                name=self.name,
                held=name[:80],
            )

    def _hidden(self) -> UnsafeCheckpointError:
        return UnsafeCheckpointError(
            "{name} was refused: loading it would run something that it does not name. "
            "Nothing of it was run. Use weights from a source you trust.",
            name=self.name,
        )

    def _damaged(self) -> CheckpointError:
        return CheckpointError(
            "{name} is damaged: its parts do not fit together. Copy or download it again.",
            name=self.name,
        )


@contextmanager
def opened(path: Path, allowed: frozenset[str] = ALLOWED) -> Iterator[Archive]:
    """Open a .pt file, once, as data.

    Args:
        allowed: names that its pickle may hold; PLAIN for tensors in plain containers.

    Raises:
        NotFoundError: no such file.
        UnsafeCheckpointError: the file asks for something outside the allow-list.
        WrongModelError: it holds another kind of model.
        CheckpointError: it cannot be read.
    """
    if not path.is_file():
        raise NotFoundError("There is no weights file {path}.", path=path)
    try:
        file = path.open("rb")
    except OSError as error:
        raise CheckpointError(
            "{name} cannot be opened: {why}.", name=path.name, why=error.strerror
        ) from error
    with file:
        yield Archive(file, _shown(path), allowed)


def _shown(path: Path) -> str:
    """Its name; of files that are many by the same name, also the folders."""
    return "/".join(path.parts[-3:]) if path.name in _OUR_NAMES else path.name


def read_plain(path: Path) -> Any:
    """The content of a file of ours that holds only tensors in plain containers (see `opened`)."""
    with opened(path, PLAIN) as archive:
        return archive.plain()


def fused_sentence(name: str) -> str:
    return msg(
        "{name} was fused for deployment and cannot be worked on: give the .pt file that training "
        "wrote.",
        name=name,
    )


def _how_telling(name: str) -> tuple[int, str]:
    """Order of names by how well they say which model a file holds."""
    homes = ("ultralytics.nn.tasks.", "ultralytics.nn.modules.head.", "ultralytics.")
    return next((n for n, home in enumerate(homes) if name.startswith(home)), len(homes)), name
