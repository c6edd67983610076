"""A count in its run's folder, analysed: rows of both models, the sample sheet, labels."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

from msip_core.config import CountConfig
from msip_core.data.dataset import open_dataset
from msip_core.plates import folder
from msip_core.plates.analysis import Asked, PlateAnalysis, analyse
from msip_core.plates.sheet import SampleSheet, parse_sheet, read_sheet
from msip_core.workspace import Workspace, atomic_path


def analysis_of(workspace: Workspace, run_dir: Path, asked: Asked | None = None) -> PlateAnalysis:
    """Everything that is said about the count so far.

    Raises:
        InputError: the sheet or what is asked cannot be used.
        NotFoundError: nothing is counted yet.
    """
    roles = folder.roles(run_dir)
    config = folder.read_config(run_dir)
    return analyse(
        folder.read(run_dir, "model"),
        baseline=folder.read(run_dir, "baseline") if "baseline" in roles else None,
        sheet=kept_sheet(run_dir),
        truth=labels_of(workspace, config),
        asked=asked,
    )


def is_here(workspace: Workspace, dataset: str) -> bool:
    """Whether the dataset of a count was not deleted since."""
    return (workspace.dataset_dir(dataset) / "dataset.json").is_file()


def sheet_path(run_dir: Path) -> Path | None:
    """The sample sheet that lies with a run."""
    return next(iter(sorted(run_dir.glob(f"{folder.SHEET}.*"))), None)


def kept_sheet(run_dir: Path) -> SampleSheet | None:
    """The sample sheet of a run; None without one."""
    path = sheet_path(run_dir)
    return read_sheet(path) if path is not None else None


def keep_sheet(run_dir: Path, content: bytes, name: str) -> None:
    """Let this sheet be the one of the count, in place of the one before.

    Raises:
        InputError: it cannot be read as a sample sheet; the one before stays.
    """
    parse_sheet(content, name)
    before = sheet_path(run_dir)
    path = run_dir / f"{folder.SHEET}{Path(name).suffix.lower() or '.csv'}"
    with atomic_path(path) as temporary:
        temporary.write_bytes(content)
    if before is not None and before != path:
        before.unlink(missing_ok=True)


def labels_of(workspace: Workspace, config: CountConfig) -> dict[str, dict[str, int]] | None:
    """Labelled objects of each image that somebody has labelled, by the labels of now; None where
    there are none, or no dataset any more: what was counted can be read without it."""
    if not config.dataset or not is_here(workspace, config.dataset):
        return None
    dataset = open_dataset(workspace, config.dataset)
    labelled = dataset.document.labelled
    records = labelled if config.part == "all" else dataset.split(config.part)
    found = {}
    for record in records:
        counts = Counter(box.cls for box in dataset.boxes(record))
        found[record.id] = {name: counts[n] for n, name in enumerate(dataset.classes)}
    return found if any(sum(counts.values()) for counts in found.values()) else None
