"""`data import / example / list / show`: micrographs and labels into the workspace."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from msip_core.cli.console import ProgressLines, table
from msip_core.cli.verbs import Answer, Session, verb
from msip_core.config import MAX_SEED, ImageRecipe, ImportConfig, SplitConfig
from msip_core.data.dataset import Dataset, list_datasets, open_dataset
from msip_core.data.manifest import Problem
from msip_core.data.readiness import PARTS, Readiness, is_few
from msip_core.errors import ConfigError

app = typer.Typer(name="data", help="Images and labels.", no_args_is_help=True)
SHOWN = 20  # names in the text; the document has all


def parse_class_map(words: list[str]) -> dict[str, str | None]:
    """`["cyst=no_crypt,late=crypt", "debris="]` -> old name to new name; an empty new name drops.

    Raises:
        ConfigError: a part without "=", or an old name that is given twice.
    """
    pairs: dict[str, str | None] = {}
    for part in ",".join(words).split(","):
        if not part.strip():
            continue
        old, equals, new = (piece.strip() for piece in part.partition("="))
        if not equals or not old:
            raise ConfigError(
                f"'{part}' does not map a class: write --map old=new, or old= to drop a class."
            )
        if old in pairs:
            raise ConfigError(f"The class '{old}' is mapped twice.")
        pairs[old] = new or None
    return pairs


def sort_words(words: list[str], maps: list[str]) -> tuple[Path, list[str]]:
    """The source and all pairs of the class map, from the words that belong to no option.

    `--map` takes one word; those that follow it (`--map cyst=no_crypt late=crypt`) are pairs too.

    Raises:
        ConfigError: no source is left, or two.
    """
    pairs = [w for w in words if maps and "=" in w and not Path(w).exists()]
    sources = [w for w in words if w not in pairs]
    if len(sources) != 1:
        found = ", ".join(f"'{word}'" for word in sources) or "none"
        raise ConfigError(
            f"One folder or zip is imported at a time, and these were given: {found}. Pairs of "
            "classes go behind --map (old=new); names with spaces go in quotation marks."
        )
    return Path(sources[0]), [*maps, *pairs]


@verb(app, "import")
def import_(
    session: Session,
    *,
    path: Annotated[
        list[str],
        typer.Argument(
            metavar="PATH",
            help="Folder or zip with micrographs and labels: YOLO, COCO, VOC, CSV, labelme, CVAT, "
            "VIA, QuPath, Label Studio, or masks.",
        ),
    ],
    name: Annotated[str, typer.Option(help="Name of the dataset in the workspace.")],
    map_: Annotated[
        list[str] | None,
        typer.Option("--map", metavar="OLD=NEW …", help="Rename or merge classes; OLD= drops one."),
    ] = None,
    pixel_size: Annotated[
        float | None, typer.Option(metavar="UM", help="Micrometres per pixel, if files do not say.")
    ] = None,
    scale: Annotated[
        Literal["dataset", "image"],
        typer.Option(help="Deep images: the same two grey values for all, or each by its own."),
    ] = "dataset",
    normalise: Annotated[
        bool, typer.Option(help="Stretch the contrast of 8-bit images too.")
    ] = False,
    clahe: Annotated[bool, typer.Option(help="Adaptive histogram equalisation.")] = False,
    channel: Annotated[
        str | None,
        typer.Option(
            metavar="N|NAME",
            help="Of files with several channels: its number (from 1) or name.",
            show_default="the one in transmitted light, if names tell",
        ),
    ] = None,
    test_fraction: Annotated[float, typer.Option(help="Share of images kept for the test.")] = 0.2,
    val_fraction: Annotated[float, typer.Option(help="Share of train kept for validation.")] = 0.1,
    seed: Annotated[int, typer.Option(min=0, max=MAX_SEED, help="Of the split.")] = 0,
    group: Annotated[
        str | None,
        typer.Option(
            metavar="REGEX",
            help="First group of this expression in a file name is its plate, well or donor; "
            "'' turns grouping off.",
            show_default="found by itself",
        ),
    ] = None,
    keep_split: Annotated[
        bool, typer.Option(help="Use the train/val/test folders of the source.")
    ] = False,
) -> Answer:
    """Bring in a folder or zip of micrographs with their labels."""
    from msip_core.data.importing import import_dataset

    source, maps = sort_words(path, map_ or [])
    config = ImportConfig(
        source=source,
        name=name,
        class_map=parse_class_map(maps),
        pixel_size_um=pixel_size,
        recipe=ImageRecipe(
            scope=scale,
            normalise=normalise,
            clahe=clahe,
            channel=(channel or "").strip() or None,
        ),
        split=SplitConfig(
            test_fraction=test_fraction,
            val_fraction=val_fraction,
            seed=seed,
            group_pattern=group,
            keep_existing=keep_split,
        ),
    )  # fmt: skip
    return describe(import_dataset(session.workspace, config, ProgressLines()))


@verb(app, "example")
def example(
    session: Session,
    name: Annotated[str, typer.Option(help="Name of the dataset in the workspace.")] = "example",
    images: Annotated[int, typer.Option(min=4, max=100_000)] = 24,
    size: Annotated[int, typer.Option(min=64, max=4096, help="Side of an image in pixels.")] = 256,
    seed: Annotated[int, typer.Option(min=0, max=MAX_SEED)] = 0,
) -> Answer:
    """Draw organoids by computer, with boxes, outlines and crypts known."""
    from msip_core.data.synthetic import import_example

    return describe(import_example(session.workspace, name, images=images, size=size, seed=seed))


@verb(app, "list")
def list_(session: Session) -> Answer:
    """Datasets of the workspace."""
    found = list_datasets(session.workspace)
    rows = [
        (
            d.name,
            d.images,
            sum(d.boxes.values()),
            ", ".join(d.classes),
            d.missing if not d.ready else "yes, but too few" if d.concerns else "yes",
        )
        for d in found
    ]
    return Answer(
        {"datasets": [d.model_dump(mode="json") for d in found]},
        table(("dataset", "images", "boxes", "classes", "ready"), rows),
    )


@verb(app, "show")
def show(session: Session, name: str) -> Answer:
    """What came in: images, boxes per class, split, and what was skipped or repaired and why."""
    return describe(open_dataset(session.workspace, name))


def describe(dataset: Dataset) -> Answer:
    """One dataset as a document and as text."""
    ready = dataset.readiness()
    report = dataset.report
    objects, concerns = dataset.objects(), dataset.concerns()
    split = {name: len(dataset.split(name)) for name in ("train", "val", "test")}
    document: dict[str, Any] = {
        "name": dataset.name,
        "images": len(dataset.images),
        "classes": list(dataset.classes),
        "boxes": report.boxes,
        "split": split,
        "pixel_size_um": dataset.pixel_size_um,
        "ready": ready.ready,
        "missing": ready.missing,
        "objects": objects,
        "concerns": list(concerns),
        "content_hash": dataset.content_hash,
        "report": report.model_dump(mode="json"),
        "path": str(dataset.root),
    }
    lines = [
        f"{dataset.name}: {report.headline()}",
        "split: "
        + ", ".join(f"{number} {name}" for name, number in split.items())
        + (f"; {report.grouping}" if report.grouping else ""),
        "pixel size: "
        + (f"{dataset.pixel_size_um} micrometres" if dataset.pixel_size_um else "not known"),
        *report.notes,
        *_named("left out", report.skipped),
        *_named("mended", report.repaired),
        *_by_part(objects),
        *(f"  careful: {concern}" for concern in concerns if ready.ready),
        _verdict(ready, concerns),
    ]
    return Answer(document, "\n".join(lines))


def _by_part(objects: Mapping[str, Mapping[str, int]]) -> list[str]:
    """Boxes of each class in each part; those that are too few are marked."""
    if not objects:
        return []
    rows = [
        (name, *(f"{n[part]}{' (too few)' if is_few(part, n[part]) else ''}" for part in PARTS))
        for name, n in objects.items()
    ]
    return table(("boxes of class", *PARTS), rows).splitlines()


def _verdict(ready: Readiness, concerns: Sequence[str]) -> str:
    if not ready.ready:
        return f"Not ready: {ready.missing}"
    if concerns:
        return "Can be trained on, but too few or too uneven to rely on: see above."
    return "Ready to train on."


def _named(what: str, problems: Sequence[Problem]) -> list[str]:
    lines = [f"  {what}: {problem.file}: {problem.what}" for problem in problems[:SHOWN]]
    more = len(problems) - SHOWN
    return [*lines, f"  … and {more} more {what} (all with --json)"] if more > 0 else lines
