"""One zip of a run with everything needed to repeat it, laid out as a small workspace.

    README.txt                      how to open it and how to repeat the run
    runs/<id>/                      settings, provenance, story, log, metrics of each iteration
    models/<id>/                    the model it began with and the model it made
    datasets/<name>/                manifest (hashes, split, scaling), labels, and the images

Unpacked anywhere it opens as a workspace: the index is built from the folders.
"""

from __future__ import annotations

import zipfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import MappingProxyType

from msip_core.events import FinalRecord
from msip_core.options import repeat_command
from msip_core.runs.executors import HEARTBEAT_FILE, PLACE_FILE, STOP_FILE, WORKER_FILE
from msip_core.runs.provenance import model_source
from msip_core.runs.store import RunRow
from msip_core.workspace import Workspace, atomic_path

# Weights of single iterations and optimizer states are made again by repeating the run.
_LEFT_OUT_SUFFIXES = frozenset({".pt", ".npz", ".lock", ".npy"})
_OF_THE_PROCESS = frozenset({WORKER_FILE, STOP_FILE, HEARTBEAT_FILE, PLACE_FILE})
_PACKED = frozenset({".png", ".jpg", ".jpeg", ".pt", ".onnx", ".npz"})  # gain nothing by deflate

_README = """\
{name} ({run_id}), a run of MSIP Lab {version}.

This folder is a small workspace. To look at the run, unpack it and open it:

    MSIP_WORKSPACE=. python -m streamlit run app.py

To repeat the run exactly (same settings, same seed, same split), press "Repeat" on its page, or

    {command}

provenance.json names the versions and the computer it was made on.
{images}"""


def export_run(
    workspace: Workspace,
    row: RunRow,
    final: FinalRecord | None,
    out_zip: Path,
    *,
    with_images: bool = True,
    texts: Mapping[str, str] = MappingProxyType({}),
) -> Path:
    """Write the zip (to a temporary name, then renamed) and return its path.

    Args:
        texts: path in the zip -> content of more files, such as cards of the models.
    """
    with (
        atomic_path(out_zip) as temporary,
        zipfile.ZipFile(temporary, "w", zipfile.ZIP_DEFLATED, strict_timestamps=False) as archive,
    ):
        archive.writestr("README.txt", _readme(row, with_images))
        for file in _files(workspace, row, final, with_images):
            packed = file.suffix.lower() in _PACKED
            archive.write(
                file,
                file.relative_to(workspace.root),
                zipfile.ZIP_STORED if packed else zipfile.ZIP_DEFLATED,
            )
        for name, content in texts.items():
            archive.writestr(name, content)
        _add_foreign_weights(archive, model_source(row.config))
    return out_zip


def _readme(row: RunRow, with_images: bool) -> str:
    from msip_core import __version__

    images = (
        ""
        if with_images
        else "\nThe images are not in here: put them back into datasets/<name>/images; "
        "dataset.json holds the sha256 of each.\n"
    )
    return _README.format(
        name=row.name,
        run_id=row.id,
        version=__version__,
        images=images,
        command=repeat_command(row.config, row.id),
    )


def _files(
    workspace: Workspace, row: RunRow, final: FinalRecord | None, with_images: bool
) -> Iterator[Path]:
    for file in _below(workspace.run_dir(row.id)):
        hidden = file.name.startswith(".") or file.name in _OF_THE_PROCESS
        if file.suffix not in _LEFT_OUT_SUFFIXES and not hidden:
            yield file
    models = {model_source(row.config), final.model_id if final else ""}
    models.add(getattr(row.config, "baseline", None) or "")
    for model_id in sorted(m for m in models if m and not m.endswith((".pt", ".yaml", ".yml"))):
        if "/" not in model_id:  # a step of a run has its weights there
            yield from _below(workspace.model_dir(model_id))
    if row.config.dataset:
        yield from _dataset_files(workspace, row.config.dataset, with_images)


def _dataset_files(workspace: Workspace, name: str, with_images: bool) -> Iterator[Path]:
    folder = workspace.dataset_dir(name)
    for file in _below(folder):
        if file.suffix in (".cache", ".lock"):
            continue  # Ultralytics' own, made again; held while labels are saved
        if with_images or file.relative_to(folder).parts[0] != "images":
            yield file


def _below(folder: Path) -> list[Path]:
    return sorted(p for p in folder.rglob("*") if p.is_file() and not p.is_symlink())


def _add_foreign_weights(archive: zipfile.ZipFile, source: str) -> None:
    """A run that began from a file outside the workspace takes the file along."""
    if source.endswith(".pt") and Path(source).is_file():
        archive.write(source, f"weights/{Path(source).name}", zipfile.ZIP_STORED)
