"""`predict`: what a model finds on micrographs, counted per image and per well."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, NamedTuple

import cv2
import numpy as np
import typer
from numpy.typing import NDArray

from msip_core.boxes import Detection
from msip_core.cli.asking import do_job, image_files, model_source, short_names
from msip_core.cli.console import table
from msip_core.cli.targets import folder_target
from msip_core.cli.verbs import Answer, Session
from msip_core.config import ImageRecipe
from msip_core.data.fields import FieldPlane, choose_planes, parse_plane
from msip_core.data.grouping import find_groups
from msip_core.data.importing import VENDOR_SUFFIXES
from msip_core.data.micrographs import read_micrograph
from msip_core.data.names import ImageName, read_names
from msip_core.data.previews import is_named_preview
from msip_core.data.wells import Well, place_wells, wells_taken
from msip_core.errors import NotFoundError
from msip_core.views import counting, tables
from msip_core.views.counting import CountedImage
from msip_core.views.pictures import draw_boxes
from msip_core.workspace import atomic_path, write_text

_LINES = 10  # of files left out, in the text; the document has all


class LeftOut(NamedTuple):
    """A file that is not among the images, and why."""

    file: Path
    what: str


def predict(
    session: Session,
    *,
    paths: Annotated[list[Path], typer.Argument(help="Micrographs, or folders of them.")],
    model: Annotated[str, typer.Option(help="A model of the workspace, a .pt file, or RUN/STEP.")],
    out: Annotated[Path, typer.Option(help="Folder for the results.")],
    conf: Annotated[float, typer.Option(min=0, max=1, help="Lowest score of a box.")] = 0.25,
    iou: Annotated[
        float,
        typer.Option(min=0, max=1, help="Of two boxes that overlap more, the better stays."),
    ] = 0.7,
    imgsz: Annotated[
        int | None, typer.Option("--imgsz", min=32, max=4096, show_default="the model's")
    ] = None,
    pixel_size: Annotated[
        float | None,
        typer.Option(metavar="UM", min=1e-6, help="Micrometres per pixel: sizes in both."),
    ] = None,
    group: Annotated[
        str | None,
        typer.Option(metavar="REGEX", help="Its first group names the well in a file name."),
    ] = None,
    channel: Annotated[
        str | None,
        typer.Option(
            metavar="N|NAME",
            help="Channel of files and fields with several: its number (from 1) or name.",
            show_default="the model's, else the one in transmitted light",
        ),
    ] = None,
    plane: Annotated[
        str | None,
        typer.Option(
            metavar="N",
            help="Plane of a field that is counted: 3 or z3, t2 for a time point, z3,t2 for both.",
            show_default="the sharpest z, the first time point",
        ),
    ] = None,
) -> Answer:
    """Boxes, overlays, and counts per image and well (CSV); of a z-stack one plane counts."""
    out, wish = folder_target(out), parse_plane(plane)
    channel = (channel or "").strip() or None
    workspace = session.isolated_workspace()
    files, left_out = _micrographs(paths, out)
    sources = _sources(files)
    names = read_names(sources)
    asked = [
        {"path": str(file), "channel": channel if name.channel is None else None}
        | ({"z": wish.z} if wish.z is not None and name.z is None else {})
        for file, name in zip(files, names)
    ]
    find_groups(sources, group)  # a pattern that is none is said before the work
    params: dict[str, Any] = {
        **model_source(workspace, model),
        "images": asked,
        "conf": conf,
        "iou": iou,
        "imgsz": imgsz,
        "pixel_size_um": pixel_size,
        "keep_going": True,
    }
    result = do_job(workspace, "predict", params, out)
    read = [i for i, image in enumerate(result["images"]) if "problem" not in image]
    left_out += [
        LeftOut(files[i], image["problem"])
        for i, image in enumerate(result["images"])
        if "problem" in image
    ]
    seen = _Seen(
        [files[i] for i in read],
        [sources[i] for i in read],
        [asked[i] for i in read],
        [result["images"][i] for i in read],
    )
    planes = choose_planes(
        seen.sources,
        [names[i] for i in read],
        [image["sharpness"] for image in seen.images],
        wish,
        channel,
    )
    counted, wells_sentence = _counted(seen, [names[i] for i in read], planes, group)
    classes = result["classes"]
    written = _write(out, counted, classes, pixel_size)
    recipe = ImageRecipe.model_validate(result["recipe"]) if result["recipe"] else None
    for file, item, how in zip(seen.files, counted, seen.asked):
        # Scaled as the model saw it, with the numbers of the CSV.
        path = out / "overlays" / f"{item.image}.png"
        _write_overlay(path, _pixels(file, how, recipe), item, classes)
    document = {
        "model": model,
        "classes": classes,
        "imgsz": result["imgsz"],
        "sizes_known": result["sizes_known"],
        "wells": wells_sentence,
        "images": [
            {"id": item.image, "file": str(file), "width": image["width"],
             "height": image["height"], "detections": image["detections"],
             "size_warning": image["size_warning"], "note": image["note"],
             "doubt": image["doubt"], "well": item.group, "plane": item.plane,
             "counted": item.counted, "why": item.why}
            for item, file, image in zip(counted, seen.files, seen.images)
        ],
        "left_out": [{"file": str(file), "what": what} for file, what in left_out],
        "artifacts": {name: str(path) for name, path in written.items()}
        | {"overlays": str(out / "overlays")},
    }  # fmt: skip
    return Answer(document, _text(counted, document, left_out, out))


class _Seen(NamedTuple):
    """The images that could be read, side by side."""

    files: list[Path]
    sources: list[str]
    asked: list[dict[str, Any]]
    images: list[dict[str, Any]]


def _micrographs(paths: Sequence[Path], out: Path) -> tuple[list[Path], list[LeftOut]]:
    """The images there, without those that an earlier prediction wrote, and what is none."""
    left_out: list[LeftOut] = []
    files = []
    given = {path.expanduser().resolve() for path in paths}
    found = [f for f in image_files(paths) if f in given or not f.is_relative_to(out / "overlays")]
    for file in found:
        if is_named_preview(file.name) and file not in given:
            left_out.append(LeftOut(file, "is named as a preview or thumbnail"))
        else:
            files.append(file)
    for path in (path for path in given if path.is_dir()):
        left_out += [
            LeftOut(file, "this kind of file is not read: export it as TIFF")
            for file in sorted(path.rglob("*"))
            if file.name.lower().endswith(VENDOR_SUFFIXES)
        ]
    if not files:
        raise NotFoundError(f"No micrograph there: {left_out[0].file} {left_out[0].what}.")
    return files, left_out


def _sources(files: Sequence[Path]) -> list[str]:
    """Paths from the folder that holds them all, its own name included: it may name a plate."""
    common = Path(os.path.commonpath([file.parent for file in files]))
    return [file.relative_to(common.parent).as_posix() for file in files]


def _counted(
    seen: _Seen, names: Sequence[ImageName], planes: Sequence[FieldPlane], pattern: str | None
) -> tuple[list[CountedImage], str]:
    """Every image with its well, and what was taken for wells."""
    wells: list[Well | None]
    if pattern is not None:
        grouping = find_groups(seen.sources, pattern)
        wells, sentence = [Well("", group) for group in grouping.groups], grouping.sentence
        labels = list(grouping.groups)
    else:
        wells = place_wells(names, sure=False)
        labels = [well.label if well else name.field for well, name in zip(wells, names)]
        sentence = wells_taken(names) or (
            "File names show no wells: every field has a row of its own. If several are of one "
            "well, say with --group what names it."
        )
    counted = [
        CountedImage(
            image=short,
            group=label,
            detections=[Detection.model_validate(found) for found in image["detections"]],
            plate=well.plate if well else "",
            well=well.name if well else "",
            plane=name.plane,
            counted=plane.counted,
            why=plane.why,
            note=" ".join(filter(None, (image["size_warning"], _doubt(image["doubt"])))),
        )
        for short, label, image, well, name, plane in zip(
            short_names(seen.files), labels, seen.images, wells, names, planes
        )
    ]
    return counted, sentence


def _doubt(text: str | None) -> str | None:
    return f"This file {text}." if text else None


def _write(
    out: Path, counted: list[CountedImage], classes: list[str], pixel_size: float | None
) -> dict[str, Path]:
    rows = {
        "boxes": tables.detection_rows(counted, classes, pixel_size),
        "counts": counting.count_rows(counted, classes),
        "wells": counting.well_rows(counted, classes),
    }
    for name, table_rows in rows.items():
        write_text(out / f"{name}.csv", tables.to_csv(table_rows))
    return {name: out / f"{name}.csv" for name in rows}


def _pixels(file: Path, how: dict[str, Any], recipe: ImageRecipe | None) -> NDArray[np.uint8]:
    """The plane and channel that the model was shown."""
    if how["channel"]:
        recipe = (recipe or ImageRecipe()).model_copy(update={"channel": how["channel"]})
    return read_micrograph(file, recipe, z=how.get("z")).pixels


def _write_overlay(
    path: Path, pixels: NDArray[np.uint8], item: CountedImage, classes: list[str]
) -> None:
    drawn = draw_boxes(pixels, item.detections, classes)
    with atomic_path(path) as temporary:
        cv2.imwrite(str(temporary), cv2.cvtColor(drawn, cv2.COLOR_RGB2BGR))


def _text(
    counted: Sequence[CountedImage],
    document: dict[str, Any],
    left_out: Sequence[LeftOut],
    out: Path,
) -> str:
    """The counts, then everything that a reader of the numbers must know."""
    classes: list[str] = document["classes"]
    shown = ["image", "group", *classes, "total"]
    planes = any(item.why for item in counted)
    rows = [
        {key: row[key] for key in [*shown, *(["plane", "counted"] if planes else [])]}
        for row in counting.count_rows(counted, classes)
    ]
    lines = [table(tuple(rows[0]), [tuple(row.values()) for row in rows])]
    if planes:
        fields = sum(item.counted for item in counted)
        lines.append(
            f"Planes of one field are counted once: {fields} of {len(counted)} images go into "
            "wells.csv; counts.csv says which and why."
        )
    lines.append(document["wells"])
    notes: dict[str, list[str]] = {}
    for item in counted:
        if item.note:
            notes.setdefault(item.note, []).append(item.image)
    for note, images in list(notes.items())[:_LINES]:
        more = f" and {len(images) - 1} more" if len(images) > 1 else ""
        lines.append(f"Warning: {images[0]}{more}: {note}")
    if not document["sizes_known"]:
        lines.append(
            "It is not known how large objects were when this model learned: check on the overlays "
            "that it finds objects of this size."
        )
    lines += [f"Left out: {file}: {what}" for file, what in left_out[:_LINES]]
    if len(left_out) > _LINES:
        lines.append(f"… and {len(left_out) - _LINES} more left out (all with --json)")
    return "\n".join([*lines, f"Overlays and CSV files are in {out}"])
