"""A count told and written down: its wells as text, tables, workbook, report, pictures."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from msip_core.cli.asking import short_names
from msip_core.cli.console import ProgressLines, say, table
from msip_core.cli.plate_options import LabelFiles, Results
from msip_core.cli.targets import file_target, folder_target
from msip_core.cli.verbs import Answer
from msip_core.errors import DatasetError
from msip_core.plates import folder
from msip_core.plates.analysis import Asked
from msip_core.plates.book import said, write_book, write_csvs
from msip_core.plates.label_files import write_labels
from msip_core.plates.methods import settings_of
from msip_core.plates.outcome import analysis_of
from msip_core.plates.overlays import drawn_on, objects_by_image, pictures_again
from msip_core.plates.report import write_report
from msip_core.plates.rows import Counting, ImageRow, well_cells, well_columns
from msip_core.runs.service import RunService
from msip_core.runs.state import RunState
from msip_core.views.pictures import save_png
from msip_core.workspace import Workspace

_LINES = 40  # of wells, in the text; the tables have all
_FAILED = 10  # files that could not be read, likewise


def tell(workspace: Workspace, run_id: str, results: Results, labels: LabelFiles) -> Answer:
    """Write tables, workbook and report of a count, and say what holds for its wells."""
    row = RunService(workspace).get(run_id)
    run_dir = workspace.run_dir(run_id)
    config = folder.read_config(run_dir)
    out = folder_target(results.out or run_dir / "tables")
    asked = Asked(control=results.control, margin=results.margin)
    found = analysis_of(workspace, run_dir, asked)
    files = write_csvs(found, out, comma=results.decimal_comma)
    settings = settings_of(config)
    files["workbook"] = write_book(found, out / "plate.xlsx", settings)
    files["report"] = write_report(found, out / "report.html", settings, row.name)
    seen = [image for image in found.counting.images if sum(image.counts.values())]
    if drawn := seen[: results.pictures]:
        files["pictures"] = draw(workspace, run_dir, found.counting, drawn, out / "pictures")
    files |= write_label_files(workspace, run_dir, found.counting, labels, out)
    both = {"model": found.counting, "baseline": found.baseline}
    document = {
        "id": run_id,
        "state": row.state.value,
        "done": found.counting.done,
        "wells_taken": found.counting.wells_taken,
        "um_per_px_known": found.counting.um_per_px_known,
        "models": {role: _numbers(one) for role, one in both.items() if one is not None},
        "said": said(found),
        "sheet_problems": [{"row": p.row, "what": p.what} for p in found.problems],
        "failed": [
            {"image": image.image, "reason": image.reason}
            for image in found.counting.images
            if image.state == "failed"
        ],
        "artifacts": {name: str(path) for name, path in files.items()},
    }
    text = _text(found.counting, document, out)
    return Answer(document, text, int(row.state is RunState.FAILED))


def _numbers(counting: Counting) -> dict[str, Any]:
    return {
        "model": counting.model,
        "name": counting.name,
        "classes": list(counting.classes),
        "images": sum(image.state != "failed" for image in counting.images),
        "empty": sum(image.state == "empty" for image in counting.images),
        "failed": sum(image.state == "failed" for image in counting.images),
        "objects": len(counting.objects),
        "wells": [well_cells(well) for well in counting.wells],
    }


def draw(
    workspace: Workspace, run_dir: Path, counting: Counting, images: Sequence[ImageRow], to: Path
) -> Path:
    """Pictures of these images with their objects; one that cannot be drawn is said."""
    objects = objects_by_image(counting.objects)
    names = short_names([Path(image.image) for image in images])
    again = pictures_again(workspace, run_dir, images)
    for name, (image, field) in zip(names, again, strict=True):
        try:
            drawn = drawn_on(field, objects.get(image.image, ()), counting.classes)
        except DatasetError as error:
            say(f"No picture of {image.image}: {error.message}")
        else:
            save_png(to / f"{name}.png", drawn)
    return to


def write_label_files(
    workspace: Workspace, run_dir: Path, counting: Counting, asked: LabelFiles, out: Path
) -> dict[str, Path]:
    """The objects in the format that was asked for."""
    if asked.labels is None:
        return {}
    target = file_target(out / f"labels-{asked.labels}.zip", ".zip")
    write_labels(
        workspace, run_dir, counting, asked.labels, target,
        with_images=not asked.labels_only, progress=ProgressLines(),
    )  # fmt: skip
    return {"labels": target}


def _text(counting: Counting, document: dict[str, Any], out: Path) -> str:
    """The wells, then everything that a reader of the numbers must know."""
    wells = counting.wells
    shown = [c for c in well_columns(counting.classes) if c not in ("plate", "well", "time")]
    rows = [well_cells(well) for well in wells[:_LINES]]
    lines = [table(tuple(shown), [tuple(row.get(c, "") for c in shown) for row in rows])]
    if len(wells) > _LINES:
        lines.append(f"… and {len(wells) - _LINES} more in wells.csv")
    if not counting.done:
        lines.append(
            f"Not done: {len(counting.images)} of {counting.total} images are counted so far."
        )
    lines += [counting.wells_taken, *document["said"]]
    lines += [f"Sample sheet: {one['what']}" for one in document["sheet_problems"][:_FAILED]]
    return "\n".join([*lines, *remarks(counting), f"Tables are in {out}"])


def remarks(counting: Counting) -> list[str]:
    """What a reader of the numbers must know of how they came to be."""
    lines = []
    if not counting.um_per_px_known:
        lines.append(
            "The size of a pixel is not known for all images: sizes in µm are given where it is; "
            "--pixel-size gives it for all."
        )
    if not counting.sizes_known:
        lines.append(
            "It is not known how large objects were when this model learned: check on pictures "
            "that it finds objects of this size."
        )
    images = counting.images
    lines += [f"Warning: {line}" for line in _told((one.note, one.image) for one in images)]
    lines += _told((one.tiles, one.image) for one in images)
    failed = [image for image in counting.images if image.state == "failed"]
    lines += [f"Not read: {one.image}: {one.reason}" for one in failed[:_FAILED]]
    if len(failed) > _FAILED:
        lines.append(f"… and {len(failed) - _FAILED} more that could not be read (images.csv)")
    return lines


def _told(said: Iterable[tuple[str, str]]) -> list[str]:
    """What was said of images (sentence, image): each sentence once, with the images it is of."""
    images: dict[str, list[str]] = {}
    for sentence, image in said:
        if sentence:
            images.setdefault(sentence, []).append(image)
    more = {s: f" and {len(names) - 1} more" if names[1:] else "" for s, names in images.items()}
    return [f"{names[0]}{more[s]}: {s}" for s, names in list(images.items())[:_FAILED]]
