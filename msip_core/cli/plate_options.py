"""What can be said to `plate` and `predict`, beside the source and the models."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from msip_core.bounded import at_home
from msip_core.cli.asking import model_source
from msip_core.config import CountConfig, parse_run_config
from msip_core.counts import usual_name
from msip_core.data.grouping import find_groups
from msip_core.data.stacks import parse_stack
from msip_core.data.tiling import MOST_OVERLAP, parse_tiles
from msip_core.errors import NotFoundError
from msip_core.plates.analysis import MARGIN
from msip_core.questions.sources import RunStep
from msip_core.workspace import Workspace

LabelForm = Literal["yolo", "coco", "voc", "cvat", "label-studio", "geojson", "csv"]
ImageSize = Annotated[
    int | None, typer.Option("--imgsz", min=32, max=4096, show_default="the model's")
]
Iou = Annotated[
    float, typer.Option(min=0, max=1, help="Of two boxes that overlap more, the better stays.")
]


@dataclass(frozen=True, slots=True)
class Looking:
    """How the models look."""

    conf: Annotated[float, typer.Option(min=0, max=1, help="Lowest score of an object.")] = 0.25
    iou: Iou = 0.7
    one_class: Annotated[
        bool,
        typer.Option(
            "--one-class/--all-classes",
            help="An object counts in one class, the likelier; or in every class it was found in.",
        ),
    ] = True
    imgsz: ImageSize = None
    tiles: Annotated[
        str,
        typer.Option(
            metavar="auto|never|SIZE",
            help="Large fields in tiles: where objects would come out smaller than in training, "
            "never, or always of SIZE pixels.",
        ),
    ] = "auto"
    overlap: Annotated[
        float | None,
        typer.Option(
            min=0,
            max=MOST_OVERLAP,
            help="Of two tiles, as a share of their side.",
            show_default="what most of the training's objects need",
        ),
    ] = None
    batch: Annotated[int, typer.Option(min=1, max=1024, help="Images at once, on a GPU.")] = 16
    device: Annotated[str, typer.Option(help="auto, cpu, cuda:0.")] = "auto"


@dataclass(frozen=True, slots=True)
class Files:
    """What is taken of the files."""

    part: Annotated[
        str, typer.Option(metavar="all|train|val|test", help="Of a dataset, which images.")
    ] = "all"
    pixel_size: Annotated[
        float | None,
        typer.Option(metavar="UM", min=1e-6, help="Micrometres per pixel, whatever files say."),
    ] = None
    channel: Annotated[
        str | None,
        typer.Option(
            metavar="N|NAME",
            help="Of files and fields with several.",
            show_default="the one in transmitted light",
        ),
    ] = None
    stack: Annotated[
        str,
        typer.Option(
            metavar="WAY", help="Of a z-stack: sharpest, middle, max, min, or a plane's number."
        ),
    ] = "sharpest"
    every: Annotated[
        int | None,
        typer.Option(metavar="N", min=1, help="Every n-th time point.", show_default="the first"),
    ] = None
    group: Annotated[
        str | None,
        typer.Option(metavar="REGEX", help="Its first group names the well in a file name."),
    ] = None


@dataclass(frozen=True, slots=True)
class Results:
    """What is made of the count."""

    out: Annotated[
        Path | None, typer.Option(help="Folder for tables and pictures.", show_default="the run's")
    ] = None
    sample_sheet: Annotated[
        Path | None,
        typer.Option(help="Table (CSV, Excel) of conditions, doses and replicates by well."),
    ] = None
    control: Annotated[
        str | None,
        typer.Option(
            metavar="CONDITION",
            help="Of the sample sheet: the others are compared with it.",
            show_default="the one that is named so",
        ),
    ] = None
    margin: Annotated[
        float,
        typer.Option(
            min=0, max=1, help="Largest difference of crypt fractions that is the same biology."
        ),
    ] = MARGIN
    decimal_comma: Annotated[
        bool, typer.Option("--decimal-comma", help="CSV with semicolons and decimal commas.")
    ] = False
    pictures: Annotated[
        int, typer.Option(min=0, help="Draw so many micrographs with numbered objects.")
    ] = 0


@dataclass(frozen=True, slots=True)
class LabelFiles:
    """What is written of the objects for other programs."""

    labels: Annotated[
        LabelForm | None,
        typer.Option(
            help="A zip with the objects in this label format too, with their scores.",
            show_default="none",
        ),
    ] = None
    labels_only: Annotated[
        bool,
        typer.Option("--labels-only", help="Label files without the images that were looked at."),
    ] = False


def count_config(
    workspace: Workspace, place: Path | str, settings: dict[str, Any], asked: tuple[Looking, Files]
) -> CountConfig:
    """The settings of a count; what lies on disk counts more than a dataset of that name."""
    looking, files = asked
    if not str(place).strip():  # a variable of a script that is not set: not the current folder
        raise NotFoundError("There is nothing at {path}.", path="''")
    path = at_home(place)
    if path.exists() or not (workspace.datasets / str(place) / "dataset.json").is_file():
        source = {"source": str(path.resolve())}
    else:
        source = {"dataset": str(place)}
    found = {"kind": "count", **source, **settings, **_looking(looking), **_files(files)}
    found["name"] = found.get("name") or usual_name(**source)
    config = parse_run_config(found)
    assert isinstance(config, CountConfig)
    return config


def named_model(workspace: Workspace, words: str) -> str:
    """A model as settings name it, found now and not in a worker later."""
    found = model_source(workspace, words)
    return words if isinstance(found, RunStep) else found.name


def _looking(asked: Looking) -> dict[str, Any]:
    return {
        "conf": asked.conf, "iou": asked.iou, "one_class": asked.one_class,
        "imgsz": asked.imgsz or 0, "batch": asked.batch, "device": asked.device,
        "tiles": parse_tiles(asked.tiles), "tile_overlap": asked.overlap,
    }  # fmt: skip


def _files(asked: Files) -> dict[str, Any]:
    find_groups(["name"], asked.group)  # a pattern that is none is said before the work
    return {
        "part": asked.part,
        "pixel_size_um": asked.pixel_size,
        "channel": (asked.channel or "").strip() or None,
        "stack": parse_stack(asked.stack),
        "every": asked.every,
        "group": asked.group,
    }
