"""`predict`: what a model finds on micrographs, counted per image and per well, at once."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import typer

from msip_core.bounded import real_place
from msip_core.cli.asking import ask, short_names
from msip_core.cli.console import table
from msip_core.cli.plate_options import Files, LabelFiles, Looking, count_config, named_model
from msip_core.cli.targets import folder_target
from msip_core.cli.verbs import Answer, Session
from msip_core.config import CountConfig
from msip_core.data.archive import joined_tree
from msip_core.errors import NotFoundError
from msip_core.plates import folder
from msip_core.plates.rows import Counting, ImageRow
from msip_core.questions.detecting import Count
from msip_core.workspace import Workspace

_LINES = 40  # of images, and of files left out, in the text; tables and document have all


def predict(
    session: Session,
    *,
    paths: Annotated[
        list[str],
        typer.Argument(
            help="Micrographs and folders of them, or a zip, or a dataset of the workspace."
        ),
    ],
    model: Annotated[str, typer.Option(help="A model of the workspace, a .pt file, or RUN/STEP.")],
    out: Annotated[Path, typer.Option(help="Folder for the results.")],
    looking: Looking,
    files: Files,
    label_files: LabelFiles,
) -> Answer:
    """Boxes, overlays, and counts per image and well (CSV), as `plate` counts them; no run."""
    out = folder_target(out)
    workspace = session.isolated_workspace()
    settings = {"model": named_model(workspace, model)}
    several = _on_disk(paths)
    place = joined_tree(several).root if len(several) > 1 else paths[0]
    config = count_config(workspace, place, settings, (looking, files))
    question = Count(config=config, paths=several if len(several) > 1 else ())
    with tempfile.TemporaryDirectory(prefix="predict-", dir=workspace.cache) as place_of_work:
        run_dir = Path(place_of_work)
        ask(workspace, question, run_dir)
        return _tell(workspace, config, run_dir, out, label_files)


def _on_disk(paths: Sequence[str]) -> tuple[Path, ...]:
    """The paths where there are several; one may also be the name of a dataset."""
    found = tuple(real_place(path) for path in paths)
    missing = [path for word, path in zip(paths, found) if not (word.strip() and path.exists())]
    if len(found) > 1 and missing:
        raise NotFoundError("There is nothing at {path}.", path=missing[0])
    return found


def _tell(
    workspace: Workspace, config: CountConfig, run_dir: Path, out: Path, labels: LabelFiles
) -> Answer:
    """Write tables, pictures and label files, and say what holds for the images."""
    from msip_core.cli.plate_tables import draw, remarks, write_label_files  # draw: imported late
    from msip_core.plates.analysis import analyse
    from msip_core.plates.book import write_csvs

    counting, plan = folder.read(run_dir), folder.read_plan(run_dir)
    assert plan is not None
    written = write_csvs(analyse(counting), out)
    seen = [image for image in counting.images if image.state != "failed"]
    written["overlays"] = draw(workspace, run_dir, counting, seen, out / "overlays")
    written |= write_label_files(workspace, run_dir, counting, labels, out)
    left_out = [(one.file, one.what) for one in plan.left_out]
    left_out += [(one.image, one.reason) for one in counting.images if one.state == "failed"]
    document = {
        "model": config.model,
        "classes": list(counting.classes),
        "imgsz": folder.read_facts(run_dir).models["model"].imgsz,
        "sizes_known": counting.sizes_known,
        "wells": counting.wells_taken,
        "images": _image_documents(counting, seen),
        "left_out": [{"file": file, "what": what} for file, what in left_out],
        "artifacts": {name: str(path) for name, path in written.items()},
    }
    text = [_table(counting, seen), counting.wells_taken, *plan.notes, *remarks(counting)]
    text += [f"Left out: {one.file}: {one.what}" for one in plan.left_out[:_LINES]]
    if len(plan.left_out) > _LINES:
        text.append(f"… and {len(plan.left_out) - _LINES} more left out (all with --json)")
    return Answer(document, "\n".join([*text, f"Overlays and CSV files are in {out}"]))


def _image_documents(counting: Counting, seen: Sequence[ImageRow]) -> list[dict[str, Any]]:
    from msip_core.plates.overlays import detections, objects_by_image

    objects = objects_by_image(counting.objects)
    return [
        {
            "id": name, "image": one.image, "width": one.width, "height": one.height,
            "um_per_px": one.um_per_px, "plate": one.plate, "well": one.well, "state": one.state,
            "chosen": one.chosen, "note": one.note, "tiles": one.tiles,
            "detections": [
                d.model_dump() for d in detections(objects.get(one.image, ()), counting.classes)
            ],
        }
        for name, one in zip(short_names([Path(one.image) for one in seen]), seen, strict=True)
    ]  # fmt: skip


def _table(counting: Counting, seen: Sequence[ImageRow]) -> str:
    rows = [
        (one.image, " ".join(filter(None, (one.plate, one.well))) or one.series,
         *(one.counts[name] for name in counting.classes), sum(one.counts.values()))
        for one in seen[:_LINES]
    ]  # fmt: skip
    more = f"\n… and {len(seen) - _LINES} more in images.csv" if len(seen) > _LINES else ""
    return table(("image", "well", *counting.classes, "total"), rows) + more
