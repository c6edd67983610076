"""`data …`: micrographs and labels in and out, datasets renamed and deleted; see `correcting` for
`versions` and `correct`."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from msip_core.cli.console import ProgressLines, table
from msip_core.cli.correcting import correct, named, parse_class_map, versions
from msip_core.cli.deleting import Yes, delete_for_good
from msip_core.cli.plate_options import LabelForm
from msip_core.cli.targets import file_target
from msip_core.cli.verbs import Answer, Session, verb
from msip_core.config import MAX_SEED, ImageRecipe, ImportConfig, SplitConfig
from msip_core.data.dataset import Dataset, list_datasets, open_dataset
from msip_core.data.readiness import PARTS, Readiness, is_few
from msip_core.errors import ConfigError

if TYPE_CHECKING:
    from msip_core.data.export import Predictions

app = typer.Typer(name="data", help="Images and labels.", no_args_is_help=True)


def sort_words(words: list[str], maps: list[str]) -> tuple[Path, list[str]]:
    """The source and all pairs of the class map, from the words that belong to no option.

    `--map` takes one word; those that follow it (`--map cyst=no_crypt late=crypt`) are pairs too.

    Raises:
        ConfigError: no source is left, or two.
    """
    pairs = [w for w in words if maps and "=" in w and not Path(w).exists()]
    sources = [w for w in words if w not in pairs]
    if len(sources) != 1 or not sources[0].strip():  # "" would be the folder one stands in
        found = ", ".join(f"'{word}'" for word in sources) or "none"
        raise ConfigError(
            "One folder or zip is imported at a time, and these were given: {found}. Pairs of "
            "classes go behind --map (old=new); names with spaces go in quotation marks.",
            found=found,
        )
    return Path(sources[0]), [*maps, *pairs]


@dataclass(frozen=True, slots=True)
class Reading:
    """How files become images and boxes."""

    map_: Annotated[
        list[str] | None,
        typer.Option("--map", metavar="OLD=NEW …", help="Rename or merge classes; OLD= drops one."),
    ] = None
    pixel_size: Annotated[
        float | None, typer.Option(metavar="UM", help="Micrometres per pixel, if files do not say.")
    ] = None
    scale: Annotated[
        Literal["dataset", "image"],
        typer.Option(help="Deep images: the same two grey values for all, or each by its own."),
    ] = "dataset"
    normalise: Annotated[
        bool,
        typer.Option(help="Stretch the contrast of 8-bit images too."),
    ] = False
    clahe: Annotated[bool, typer.Option(help="Adaptive histogram equalisation.")] = False
    channel: Annotated[
        str | None,
        typer.Option(
            metavar="N|NAME",
            help="Of files with several channels: its number (from 1) or name.",
            show_default="the one in transmitted light, if names tell",
        ),
    ] = None
    stack: Annotated[
        str,
        typer.Option(
            metavar="sharpest|max|min|middle|N",
            help="Of several z planes of a field: the sharpest, a projection, or one by number.",
        ),
    ] = "sharpest"
    every: Annotated[
        int | None,
        typer.Option(
            min=1,
            metavar="N",
            help="Of several time points: each Nth as an image of its own.",
            show_default="the first of a file; files of their own all",
        ),
    ] = None

    def recipe(self) -> ImageRecipe:
        channel = (self.channel or "").strip() or None
        return ImageRecipe(
            scope=self.scale, normalise=self.normalise, clahe=self.clahe, channel=channel
        )


@dataclass(frozen=True, slots=True)
class Splitting:
    """Which images are for training, validation and test."""

    test_fraction: Annotated[float, typer.Option(help="Share of images kept for the test.")] = 0.2
    val_fraction: Annotated[float, typer.Option(help="Share of train kept for validation.")] = 0.1
    seed: Annotated[int, typer.Option(min=0, max=MAX_SEED, help="Of the split.")] = 0
    group: Annotated[
        str | None,
        typer.Option(
            metavar="REGEX",
            help="First group of this expression in a file name is its plate, well or donor; "
            "'' turns grouping off.",
            show_default="found by itself",
        ),
    ] = None
    keep_split: Annotated[
        bool, typer.Option(help="Use the train/val/test folders of the source.")
    ] = False

    def config(self) -> SplitConfig:
        return SplitConfig(
            test_fraction=self.test_fraction,
            val_fraction=self.val_fraction,
            seed=self.seed,
            group_pattern=self.group,
            keep_existing=self.keep_split,
        )


@verb(app, "import")
def import_(
    session: Session,
    *,
    path: Annotated[
        list[str],
        typer.Argument(
            metavar="PATH",
            help="Folder or zip with micrographs and labels: YOLO, COCO, VOC, CSV, labelme, CVAT, "
            "VIA, QuPath, Label Studio, napari, DOTA, or masks.",
        ),
    ],
    name: Annotated[str, typer.Option(help="Name of the dataset in the workspace.")],
    reading: Reading,
    split: Splitting,
) -> Answer:
    """Bring in a folder or zip of micrographs with their labels."""
    from msip_core.data.importing import import_dataset
    from msip_core.data.stacks import parse_stack

    source, maps = sort_words(path, reading.map_ or [])
    config = ImportConfig(
        source=source,
        name=name,
        class_map=parse_class_map(maps),
        pixel_size_um=reading.pixel_size,
        stack=parse_stack(reading.stack),
        every=reading.every,
        recipe=reading.recipe(),
        split=split.config(),
    )
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


@verb(app, "export")
def export(
    session: Session,
    *,
    name: str,
    out: Annotated[Path, typer.Option(metavar="FILE.zip", help="The zip to write.")],
    format_: Annotated[LabelForm, typer.Option("--format", help="Format of the labels.")] = "yolo",
    model: Annotated[
        str | None,
        typer.Option(
            help="Write what this model finds, with scores, instead of the labels: a model of the "
            "workspace, a .pt file, or RUN/STEP."
        ),
    ] = None,
    conf: Annotated[
        float, typer.Option(min=0, max=1, help="Lowest score of a box that the model finds.")
    ] = 0.25,
    labels_only: Annotated[bool, typer.Option("--labels-only", help="Without the images.")] = False,
) -> Answer:
    """Write a dataset as a zip that other programs, and `data import`, read."""
    from msip_core.data.export import export_dataset
    from msip_core.data.export_formats import FORMATS

    target = file_target(out, ".zip")
    dataset = open_dataset(session.workspace, name)
    written = export_dataset(
        dataset,
        format_,
        target,
        predictions=_predictions(session, dataset, model, conf) if model else None,
        with_images=not labels_only,
        progress=ProgressLines(),
    )
    lines = [
        f"{FORMATS[format_].title}: {written.images} images, {written.boxes} boxes, "
        f"{written.outlines} with outlines, in {target}"
    ]
    if written.images < len(dataset.images):
        lines.append(
            f"Images that nobody has labelled were left out: {len(dataset.images) - written.images}"
        )
    if written.without_outline:
        lines.append(
            f"Outlines that differ from their boxes were left out: {written.without_outline} (this "
            "format has one or the other; YOLO, COCO and VOC have both)."
        )
    return Answer(written.model_dump(mode="json"), "\n".join(lines))


def _predictions(session: Session, dataset: Dataset, model: str, conf: float) -> Predictions:
    """What a model finds on all images of a dataset."""
    from msip_core.cli.asking import ask, model_source
    from msip_core.data.export import Predictions
    from msip_core.questions.detecting import Predict
    from msip_core.questions.sources import DatasetImage

    workspace = session.isolated_workspace()
    images = tuple(DatasetImage(dataset=dataset.name, image=one.id) for one in dataset.images)
    with tempfile.TemporaryDirectory(prefix="predict-", dir=workspace.cache) as folder:
        question = Predict(model=model_source(workspace, model), images=images, conf=conf)
        result = ask(workspace, question, Path(folder))
    return Predictions(
        model=Path(model).stem if model.endswith(".pt") else model,
        conf=conf,
        classes=result.classes,
        found={image.id: image.detections for image in result.images},
    )


@verb(app, "rename")
def rename(session: Session, name: str, title: str) -> Answer:
    """Show a dataset under another title; its name stays, since settings of runs hold it."""
    from msip_core.data.writing import rename_dataset

    kept = rename_dataset(session.workspace, name, title)
    return Answer({"name": name, "title": kept}, f"The dataset '{name}' is shown as '{kept}'.")


verb(app, "versions")(versions)
verb(app, "correct")(correct)


@verb(app, "delete")
def delete(session: Session, name: str, yes: Yes = False) -> Answer:
    """Remove a dataset for good; runs, models and studies that were made with it stay."""
    from msip_core.studies.dependants import delete_unused, dependants_of

    workspace = session.workspace
    return delete_for_good(
        "dataset",
        name,
        dependants_of(workspace, name),
        lambda: delete_unused(workspace, name),
        yes=yes,
    )


def describe(dataset: Dataset) -> Answer:
    """One dataset as a document and as text."""
    ready = dataset.readiness()
    report = dataset.report
    objects, concerns = dataset.objects(), dataset.concerns()
    split = {name: len(dataset.split(name)) for name in ("train", "val", "test")}
    document: dict[str, object] = {
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
        _parts(split, report.grouping, new=dataset.unlabelled),
        "pixel size: "
        + (f"{dataset.pixel_size_um} micrometres" if dataset.pixel_size_um else "not known"),
        *report.notes,
        *named("chosen", report.chosen),
        *named("left out", report.skipped),
        *named("mended", report.repaired),
        *_by_part(objects),
        *(f"  careful: {concern}" for concern in concerns if ready.ready),
        _verdict(dataset, ready, concerns),
    ]
    return Answer(document, "\n".join(lines))


def _parts(split: Mapping[str, int], grouping: str, *, new: bool) -> str:
    """How many images each part has; new images are in none."""
    if new:
        return grouping
    counted = ", ".join(f"{number} {name}" for name, number in split.items())
    return "; ".join(filter(None, (f"split: {counted}", grouping)))


def _by_part(objects: Mapping[str, Mapping[str, int]]) -> list[str]:
    """Boxes of each class in each part; those that are too few are marked."""
    if not objects:
        return []
    rows = [
        (name, *(f"{n[part]}{' (too few)' if is_few(part, n[part]) else ''}" for part in PARTS))
        for name, n in objects.items()
    ]
    return table(("boxes of class", *PARTS), rows).splitlines()


def _verdict(dataset: Dataset, ready: Readiness, concerns: Sequence[str]) -> str:
    if dataset.unlabelled:
        return str(ready.missing)
    if dataset.document.doubts() and ready.ready:
        return "Can be trained on, but look at the images that are named above first."
    if not ready.ready:
        return f"Not ready: {ready.missing}"
    if concerns:
        return "Can be trained on, but too few or too uneven to rely on: see above."
    return "Ready to train on."
