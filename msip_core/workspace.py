"""The workspace: where everything lies, and how a file is written so it is never half there.

    <workspace>/
      lab.sqlite                     index
      datasets/<name>/               images/ labels/ masks/ splits/ data.yaml dataset.json
                                     summary.json .title
                                     versions/<n>/ (corrections of the labels)
      models/<id>/                   model.pt (opens in stock Ultralytics) model.json speed.json,
                                     work.pt (pruned: C2f_v2, fp32)
      runs/<id>/                     config.json provenance.json events.jsonl log.txt
                                     iterations/<k>/ search/ model/
      cache/<key>/                   results of interactive jobs, by content (`cache.ContentStore`)
            statistics-<key>/        what a calibration pass found, shared by runs that begin alike
            fit-<key>/               a pre-training, shared likewise
            scores-<key>/            what a preview of a run looked at
            speeds-wanted/           models that are still to be timed

The folder is the truth; the index can be rebuilt from it (`runs reindex`).
"""

from __future__ import annotations

import atexit
import errno
import json
import math
import os
import re
import secrets
import shutil
import stat
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from msip_core.errors import DiskFullError, InputError, MsipError, NotFoundError, WorkError
from msip_core.messages import mark, message_of, msg, stored
from msip_core.processors import PASSIVE, usable_cores

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
# What a disk says that takes no file of that size (FAT), is broken, or was unplugged.
DISK_FAULTS = (errno.EFBIG, errno.EIO, errno.ESTALE, errno.ENODEV, errno.ENOTCONN)
_UPLOAD = re.compile(r"upload-[0-9a-f]{16}")
STUDY = "study"  # what ids of studies, and so of their runs, begin with
_OF_STUDY = re.compile(rf"({STUDY}-\d{{12}}-[0-9a-f]{{4,8}})-.+")


def uploads_named(config: Path) -> frozenset[str]:
    """Folders of uploads that a run's settings name; none where they cannot be read."""
    try:
        return frozenset(_UPLOAD.findall(config.read_text(encoding="utf-8", errors="replace")))
    except OSError:
        return frozenset()


class _Below:
    """A path inside a workspace, as a property of it."""

    def __init__(self, name: str) -> None:
        self._name = name

    def __get__(self, workspace: Workspace, _owner: type[Workspace]) -> Path:
        return workspace.root / self._name


@dataclass(frozen=True, slots=True)
class Workspace:
    """Paths inside one workspace folder; the only place that knows the layout."""

    root: Path
    index_path = _Below("lab.sqlite")
    datasets = _Below("datasets")
    models = _Below("models")
    runs = _Below("runs")
    studies = _Below("studies")
    cache = _Below("cache")
    uploads = _Below("uploads")

    @classmethod
    def open(cls, root: Path | str) -> Workspace:
        """Open a workspace, making its folders where they are missing.

        One that cannot be written (a read-only disk) opens all the same if it is whole.

        Raises:
            InputError: there can be no workspace at that place.
            DiskFullError: its folders cannot be made, the disk is full.
        """
        try:
            workspace = cls(Path(root).expanduser().resolve())
            for folder in ("datasets", "models", "runs", "studies", "cache", "uploads"):
                if not (workspace.root / folder).is_dir():
                    (workspace.root / folder).mkdir(parents=True, exist_ok=True)
        except (OSError, RuntimeError, ValueError) as error:
            raise _no_workspace(root, error) from error
        return workspace

    @property
    def is_writable(self) -> bool:
        """False for a read-only disk or another person's folder: it can only be looked at."""
        return os.access(self.root, os.W_OK)

    def dataset_dir(self, name: str) -> Path:
        return self.datasets / check_name(name, mark("dataset"))

    def model_dir(self, model_id: str) -> Path:
        return self.models / check_name(model_id, mark("model"))

    def study_dir(self, study_id: str) -> Path:
        return self.studies / check_name(study_id, mark("study"))

    def run_dir(self, run_id: str) -> Path:
        return self.runs / check_name(run_id, mark("run"))

    def clear_upload(self, source: Path) -> None:
        """Remove what a browser uploaded once it was taken in; other sources stay, and what a run
        still looks at."""
        with suppress(ValueError):  # it lies elsewhere
            place = source.resolve().relative_to(self.uploads.resolve())
            if place.parts and place.parts[0] not in self.held_uploads():
                shutil.rmtree(self.uploads / place.parts[0], ignore_errors=True)

    def held_uploads(self) -> frozenset[str]:
        """Folders of uploads that the settings of a run name: a count shows its images again."""
        configs = self.runs.glob("[!.]*/config.json")
        return frozenset(name for path in configs for name in uploads_named(path))

    def isolate_libraries(self) -> None:
        """Keep settings, caches and downloads of the libraries inside the workspace.

        Must run before ultralytics or matplotlib is imported: both read these once.
        """
        home = self.root / "libraries"
        if not self.is_writable:  # to look only: a folder that ends with us
            home = Path(tempfile.mkdtemp(prefix="msip-libraries-"))
            atexit.register(shutil.rmtree, home, ignore_errors=True)
        (home / "ultralytics").mkdir(parents=True, exist_ok=True)
        (home / "matplotlib").mkdir(parents=True, exist_ok=True)
        os.environ["YOLO_CONFIG_DIR"] = str(home / "ultralytics")
        os.environ["MPLCONFIGDIR"] = str(home / "matplotlib")
        os.environ["YOLO_AUTOINSTALL"] = "false"
        os.environ["YOLO_OFFLINE"] = "true"  # else it asks a name server at every import
        os.environ["YOLO_VERBOSE"] = "false"
        # CUDA counts GPUs as the driver's tool does (msip_core.gpus), not the fastest first.
        os.environ.setdefault("CUDA_DEVICE_ORDER", "PCI_BUS_ID")
        # Ultralytics would set 1 for this process and all that it starts.
        os.environ.setdefault("OMP_NUM_THREADS", str(usable_cores()))
        for name, value in PASSIVE.items():
            os.environ.setdefault(name, value)
        os.environ["ORT_DISABLE_TELEMETRY"] = "1"  # ONNX Runtime reports to its maker otherwise


def check_room(root: Path, needed: float, what: str) -> None:
    """See that there is room for what is about to begin, while nothing is lost yet.

    Args:
        root: of the workspace.
        needed: bytes.
        what: begins, such as "A run".

    Raises:
        DiskFullError: with both numbers.
    """
    free = shutil.disk_usage(root).free
    if free < needed:
        raise DiskFullError(
            "{what} needs at least {needed:.1f} GB of free disk, and there are {free:.1f} GB in "
            "{root}: delete old runs or choose another workspace.",
            what=what,
            needed=needed / 1e9,
            free=free / 1e9,
            root=root,
        )


def _no_workspace(root: Path | str, error: Exception) -> MsipError:
    number = error.errno if isinstance(error, OSError) else None
    if isinstance(error, FileExistsError) and Path(error.filename).parent.is_dir():
        return InputError(
            "{part} is a file, and the workspace needs a folder there: move or rename it.",
            part=error.filename,
        )
    if number == errno.ENOTDIR and Path(root).expanduser().is_file():
        number = errno.EEXIST
    shown = str(root) if len(str(root)) <= 200 else f"{str(root)[:200]}…"
    if number in (errno.ENOSPC, errno.EDQUOT):
        return DiskFullError(
            "The disk that holds {shown} is full: delete old runs or files there, or choose "
            "another workspace (--workspace, MSIP_WORKSPACE).",
            shown=shown,
        )
    what = {
        errno.EEXIST: msg("it is a file, not a folder"),
        errno.ENOTDIR: msg("a part of the path is a file"),
        errno.ENAMETOOLONG: msg("the name is too long"),
        errno.EROFS: msg("the disk is read-only"),
    }.get(
        number or 0, (error.strerror if isinstance(error, OSError) else None) or message_of(error)
    )
    return InputError(
        "{shown} cannot be a workspace: {what}. Choose a folder that can be written "
        "(--workspace, MSIP_WORKSPACE).",
        shown=shown,
        what=what,
    )


def check_name(name: str, what: str) -> str:
    """Return `name` if it can be a folder name, else say so."""
    if not _NAME.fullmatch(name) or ".." in name:
        raise InputError(
            "'{name}' cannot be a {what} name: use up to 64 letters, digits, '.', '_' or '-', "
            "beginning with a letter or digit.",
            name=name,
            what=what,
        )
    return name


def taken_away(folder: Path) -> Path:
    """A folder under a hidden name, for who deletes it: others meet the whole of it or nothing.

    Raises:
        NotFoundError: somebody else has just deleted it.
        InputError: a part of it cannot be deleted, so that all of it stays.
    """
    as_we_act = os.access in os.supports_effective_ids
    for at in (folder, *(Path(at, name) for at, names, _ in os.walk(folder) for name in names)):
        ours = os.access(at, os.R_OK | os.W_OK | os.X_OK, effective_ids=as_we_act)
        if not ours and os.path.lexists(at) and not at.is_symlink():
            raise InputError(
                "'{name}' cannot be deleted and was left as it is: {at} belongs to somebody else. "
                "Ask them, or change its rights.",
                name=folder.name,
                at=at,
            )
    gone = folder.with_name(f".deleted-{folder.name}-{secrets.token_hex(3)}")
    try:
        folder.rename(gone)
    except FileNotFoundError:
        raise deleted_meanwhile(folder.name) from None
    return gone


def deleted_meanwhile(name: str) -> NotFoundError:
    """What is said of a dataset, model or run that somebody else has just deleted."""
    return NotFoundError("'{name}' was deleted meanwhile.", name=name)


def clear_away(gone: Path) -> None:
    """Remove a folder that was `taken_away`.

    Raises:
        WorkError: the disk keeps some of it.
    """
    try:
        with suppress(OSError):  # who was just writing into it may have put a file there, or taken
            shutil.rmtree(gone)
        if gone.exists():
            shutil.rmtree(gone)
    except OSError as error:
        raise WorkError(
            "It is deleted, but the disk keeps files of it in {gone} ({why}): remove that folder.",
            gone=gone,
            why=error.strerror or error,
        ) from error


def folders_in(place: Path) -> list[Path]:
    """The folders in one of the workspace's, readable or not, without what is hidden."""
    return sorted(p for p in place.iterdir() if p.name[0] != "." and p.is_dir())


def holds_something(folder: Path) -> bool:
    """Whether there is a folder with a file in it, or one that cannot be looked into."""
    try:
        return any(folder.iterdir())
    except OSError:
        return folder.is_dir()


def tiles_folder(workspace: Workspace, dataset: str) -> Path:
    """Where the tiles of a dataset's large fields lie (msip_core.data.cut)."""
    return workspace.cache / "tiles" / check_name(dataset, "dataset")


def new_id(prefix: str) -> str:
    """An id that sorts by time: prefix-yymmddhhmmss-xxxxxxxx.

    Older ids have four hexadecimal digits: two of one second were once alike in a test run.
    """
    return f"{prefix}-{time.strftime('%y%m%d%H%M%S')}-{secrets.token_hex(4)}"


def study_of(run_id: str) -> str | None:
    """The study that a run belongs to, by its id `<study>-<row>-s<seed>`; None for other runs."""
    found = _OF_STUDY.fullmatch(run_id)
    return found[1] if found else None


@contextmanager
def whole_folder(place: Path) -> Iterator[Path]:
    """A hidden folder to fill, which becomes `place` if all went well; else nothing stays.

    Named like an import that is not ready: `doctor --repair` clears away what nobody finishes.
    """
    draft = place.with_name(f".building-{place.name}-{os.getpid()}-{secrets.token_hex(3)}")
    draft.mkdir(parents=True)
    try:
        yield draft
        draft.rename(place)
    finally:
        shutil.rmtree(draft, ignore_errors=True)


@contextmanager
def atomic_path(path: Path, *, makes_folder: bool = True) -> Iterator[Path]:
    """Yield a temporary name beside `path`; rename it to `path` only if all went well."""
    if makes_folder:
        path.parent.mkdir(parents=True, exist_ok=True)
    # The number of the process tells `doctor --repair` which of these nobody finishes any more.
    mark = f"{os.getpid()}-{secrets.token_hex(4)}"
    temporary = path.with_name(f".{path.stem}.{mark}{path.suffix}")
    try:
        yield temporary
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def write_text(path: Path, text: str, *, makes_folder: bool = True) -> None:
    """Write text so that a reader sees the old file or the new one, never half of it."""
    with (
        atomic_path(path, makes_folder=makes_folder) as temporary,
        temporary.open("w", encoding="utf-8") as file,
    ):
        file.write(text)
        file.flush()
        os.fsync(file.fileno())


def write_json(path: Path, value: Any) -> None:
    """Write a JSON document atomically."""
    write_text(path, json_text(value))


def json_text(value: Any) -> str:
    return json.dumps(stored(value), indent=2, ensure_ascii=False) + "\n"


def rewrite(path: Path, text: str) -> None:
    """Write a file of what is there: who deletes it meanwhile shall not find a part of it again.

    Raises:
        NotFoundError: somebody else has just deleted it.
    """
    try:
        write_text(path, text, makes_folder=False)
    except FileNotFoundError:
        raise deleted_meanwhile(path.parent.name) from None


def without_nan(value: Any) -> Any:
    """NaN is no JSON; a number that is not one was not measured."""
    if isinstance(value, dict):
        return {key: without_nan(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [without_nan(item) for item in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value


def plain_bytes(path: Path) -> bytes:
    """The content of a plain file: a pipe or a device has no end, and whoever opens it waits.

    Raises:
        OSError: it is none (IsADirectoryError), or cannot be read.
    """
    if not stat.S_ISREG(path.stat().st_mode):
        raise IsADirectoryError(errno.EISDIR, "it is no plain file", str(path))
    return path.read_bytes()
