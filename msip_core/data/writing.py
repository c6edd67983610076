"""The files that make a folder of images and labels a dataset."""

from __future__ import annotations

import hashlib
import json
import shutil
import time
from contextlib import nullcontext
from pathlib import Path

from msip_core.config import ImageRecipe, ImportConfig
from msip_core.data.dataset import open_dataset
from msip_core.data.dataset_writer import TakenImage
from msip_core.data.manifest import DatasetDocument, ImageRecord, ImportReport, summarise
from msip_core.data.splitting import SplitPlan
from msip_core.data.training_lists import data_yaml, write_lists
from msip_core.data.versions import saving, settle
from msip_core.errors import DatasetError, NotFoundError
from msip_core.label_versions import VERSIONS
from msip_core.titles import TITLE_FILE, checked_title
from msip_core.workspace import (
    Workspace,
    clear_away,
    rewrite,
    taken_away,
    tiles_folder,
    write_json,
    write_text,
)

WIDEST_PIXEL = 1000.0  # micrometres


def write_dataset(
    folder: Path,
    *,
    config: ImportConfig,
    recipe: ImageRecipe,
    classes: tuple[str, ...],
    taken: list[TakenImage],
    plan: SplitPlan,
    report: ImportReport,
    drawn: bool,
) -> None:
    """Write split lists, data.yaml, dataset.json and summary.json into `folder`."""
    images = tuple(
        ImageRecord(
            id=image.id,
            file=image.file,
            width=image.width,
            height=image.height,
            split=split,
            group=group,
            sha256=image.sha256,
            source=image.source,
            counts={name: image.counts[name] for name in classes if name in image.counts},
            pixel_size_um=image.pixel_size_um,
            labelled=image.labelled,
        )
        for image, split, group in zip(taken, plan.splits, plan.groups, strict=True)
    )
    document = DatasetDocument(
        name=config.name,
        classes=classes,
        recipe=recipe,
        pixel_size_um=config.pixel_size_um or _common_size(taken),
        images=images,
        report=report,
        content_hash=content_hash(classes, recipe, images, [t.label_sha256 for t in taken]),
        created=time.strftime("%Y-%m-%dT%H:%M:%S"),
        drawn=drawn,
    )
    write_lists(folder, document.labelled)
    write_text(folder / "data.yaml", data_yaml(classes, drawn))
    write_json(folder / "summary.json", summarise(document).model_dump(mode="json"))
    write_text(folder / "dataset.json", document.model_dump_json(indent=1) + "\n")


def content_hash(
    classes: tuple[str, ...],
    recipe: ImageRecipe,
    images: tuple[ImageRecord, ...],
    labels: list[str],
) -> str:
    """SHA-256 over everything that a training result depends on, in a fixed order."""
    rows = sorted(
        [image.id, image.split, image.sha256, label]
        for image, label in zip(images, labels, strict=True)
    )
    how = recipe.model_dump(mode="json")
    if recipe.channel is None:  # as it was hashed before a channel could be chosen
        del how["channel"]
    text = json.dumps([list(classes), how, rows])
    return hashlib.sha256(text.encode()).hexdigest()


def set_pixel_size(workspace: Workspace, name: str, micrometres: float | None) -> None:
    """Store how many micrometres one pixel is. No pixel, box or part of the data changes by it,
    so the content hash stays.

    Raises:
        DatasetError: it is not a size; NotFoundError: no such dataset.
    """
    if micrometres is not None and not 0 < micrometres < WIDEST_PIXEL:
        raise DatasetError(
            "{micrometres:g} µm per pixel is no size of a micrograph's pixel: give a number "
            "above 0 and below {widest_pixel:g}.",
            micrometres=micrometres,
            widest_pixel=WIDEST_PIXEL,
        )
    root = open_dataset(workspace, name).root
    with saving(root):  # else a correction that is just being saved would be lost
        document = settle(root).model_copy(update={"pixel_size_um": micrometres})
        write_text(root / "dataset.json", document.model_dump_json(indent=1) + "\n")
        write_json(root / "summary.json", summarise(document).model_dump(mode="json"))


def _common_size(taken: list[TakenImage]) -> float | None:
    sizes = {image.pixel_size_um for image in taken}
    return sizes.pop() if len(sizes) == 1 else None


def folder_of(workspace: Workspace, name: str) -> Path:
    """Where a dataset lies, damaged or not.

    Raises:
        NotFoundError: there is none of that name.
    """
    folder = workspace.dataset_dir(name)
    if not folder.is_dir():
        raise NotFoundError(
            "There is no dataset '{name}' in {root}.", name=name, root=workspace.root
        )
    return folder


def rename_dataset(workspace: Workspace, name: str, title: str) -> str:
    """Give a dataset a title, and return it as it is kept. Its name stays: it is its folder's, and
    runs, models and studies hold it.

    Raises:
        NotFoundError: there is no such dataset; InputError: it can be no title.
    """
    folder, wanted = folder_of(workspace, name), checked_title(title)
    rewrite(folder / TITLE_FILE, wanted + "\n")
    return wanted


def delete_dataset(workspace: Workspace, name: str) -> None:
    """Remove a dataset. Runs and models that were made from it keep their own records.

    Raises:
        NotFoundError: there is none of that name.
    """
    folder = folder_of(workspace, name)
    corrected = (folder / VERSIONS).is_dir()
    with saving(folder) if corrected else nullcontext():  # who saves would leave half of it here
        gone = taken_away(folder)
    shutil.rmtree(tiles_folder(workspace, name), ignore_errors=True)  # mostly there are none
    clear_away(gone)
