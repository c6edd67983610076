"""Which pictures a count looks at, and of which plate, well and field each of them is.

Only names and headers are read. What lies in one field is counted once: of planes in files of
their own one is chosen, of time points the first, unless every n-th is asked for.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from contextlib import nullcontext
from pathlib import Path, PurePosixPath
from typing import NamedTuple

from msip_core import confined
from msip_core.config import CountConfig
from msip_core.data.archive import FileTree, open_tree
from msip_core.data.dataset import open_dataset
from msip_core.data.fields import fields_of, numeric
from msip_core.data.grouping import find_groups
from msip_core.data.image_name import ImageName
from msip_core.data.importing import unread
from msip_core.data.manifest import Problem
from msip_core.data.names import read_names
from msip_core.data.outlines import MaskIndex, is_image
from msip_core.data.pictures import Picture, Wish, plan_pictures
from msip_core.data.previews import without_previews
from msip_core.data.staging import load_readers
from msip_core.data.taking import TreeFiles
from msip_core.data.wells import Well, place_wells, wells_taken
from msip_core.errors import DatasetError
from msip_core.events import Record
from msip_core.messages import Telling, Words, joined, mark, msg
from msip_core.views.wording import plural
from msip_core.workspace import Workspace

_NO_WELLS = mark(
    "File names show no wells: images are summed by their folder. If several are of one well, say "
    "with a group pattern what names it."
)


class Item(Record, Telling):
    """One picture to be counted.

    Attributes:
        name: by which tables call it: its path in the source, or its id in the dataset.
        file: the image file, below the source or the dataset's folder; "" for a `picture`.
        picture: planes to choose from, where one file is not one picture.
        um_per_px: as the dataset knows it.
        problem: why it cannot be read; nothing of it is tried then.
        note: what was decided about it.
    """

    name: str
    plate: str = ""
    well: str = ""
    field: str = ""
    time: str = ""
    series: str = ""
    file: str = ""
    picture: Picture | None = None
    um_per_px: float | None = None
    problem: Words | None = None
    note: Words = ""

    @property
    def first(self) -> str:
        """The file that is opened first for it."""
        return self.picture.planes[0].file if self.picture else self.file or self.name


class CountPlan(Record, Telling):
    """Everything that is counted, in this order.

    Attributes:
        label: name of the source.
        wells: what was taken for wells, in a sentence.
        left_out: files that are no micrograph of their own (masks, previews, copies).
    """

    label: str
    items: tuple[Item, ...]
    wells: Words = ""
    notes: tuple[Words, ...] = ()
    left_out: tuple[Problem, ...] = ()


def wish_of(config: CountConfig) -> Wish:
    """What is wanted of files with several planes."""
    return Wish(channel=config.channel, stack=config.stack, every=config.every)


def plan_count(
    workspace: Workspace, config: CountConfig, folder: Path, tree: FileTree | None = None
) -> CountPlan:
    """Look through the source.

    Args:
        folder: for files of a zip that must be unpacked to be read.
        tree: what of the source's folder is looked at, where that is not all.

    Raises:
        NotFoundError, DatasetError: no such source, or no micrograph in it.
        ConfigError: the group pattern is none.
    """
    if config.source is None:
        return _of_dataset(workspace, config)
    find_groups(["name"], config.group)
    source = config.source
    with open_tree(source) if tree is None else nullcontext(tree) as found:
        load_readers(found)
        text = confined.run(lambda _: _of_tree(found, source, config, folder).model_dump_json())
    return CountPlan.model_validate_json(text)


# --- sources -------------------------------------------------------------------


def _of_dataset(workspace: Workspace, config: CountConfig) -> CountPlan:
    dataset = open_dataset(workspace, config.dataset, config.dataset_version)
    records = dataset.images if config.part == "all" else dataset.split(config.part)
    if not records:
        raise DatasetError(
            "'{name}' has no image in its part '{part}'.", name=dataset.name, part=config.part
        )
    items = [
        Item(name=r.id, file=r.file, um_per_px=r.pixel_size_um or dataset.pixel_size_um)
        for r in dataset.images
    ]
    # All names together tell what a word in them means, whichever part is counted.
    plan = _placed(dataset.name, items, [record.source for record in dataset.images], config)
    part = {record.id for record in records}
    return plan.model_copy(update={"items": tuple(i for i in plan.items if i.name in part)})


def _of_tree(tree: FileTree, source: Path, config: CountConfig, folder: Path) -> CountPlan:
    images, previews = without_previews(tree, [name for name in tree.names if is_image(name)])
    masks = MaskIndex(tree, images)
    label = tree.label.removesuffix(".zip")
    images, made = _without_versions(label, masks.images)
    doubles = _doubles(tree, images)
    images = [name for name in images if name not in doubles]
    files = TreeFiles(source, tree, folder)
    plan = plan_pictures(tree, wish_of(config), files.path, lambda _: (set(), images))
    used = set(plan.used)
    items = [Item(name=name, file=name) for name in images if name not in used]
    items += [Item(name=picture.name, picture=picture) for picture in plan.pictures]
    bad = [*plan.problems, *(p for p in tree.refused if is_image(p.file)), *unread(tree)]
    items += _failed(bad)
    items += _forgotten(images, used, plan.pictures, {p.file for p in bad}, config)
    if not items:
        raise DatasetError(
            "{label} holds no PNG, JPEG, BMP, TIFF or microscope file "
            "(other files: {n}): choose the folder or zip with the images.",
            label=tree.label,
            n=len(tree.names),
        )
    items.sort(key=lambda item: item.name)
    single = len(tree.names) == 1 and tree.names[0] == tree.label
    sources = [item.name if single else f"{label}/{item.name}" for item in items]
    placed = _placed(label, items, sources, config)
    others = (*previews, *masks.problems, *made, *doubles.values(), *placed.left_out)
    return placed.model_copy(update={"notes": tuple(tree.notes), "left_out": others})


def _doubles(tree: FileTree, images: Sequence[str]) -> dict[str, Problem]:
    """`a (1).tif` that is `a.tif` once more, byte by byte; else it is a picture of its own."""
    there, found = set(images), {}
    for name in images:
        path = PurePosixPath(name)
        other = str(path.with_name(re.sub(r"[-_ ]*\(\d+\)$", "", path.stem) + path.suffix))
        if other == name or other not in there or tree.size(name) != tree.size(other):
            continue
        if tree.read(name) == tree.read(other):
            what = msg("is the same file as {other}, which is counted", other=other)
            found[name] = Problem(file=name, what=what)
    return found


def _without_versions(label: str, images: Sequence[str]) -> tuple[list[str], list[Problem]]:
    """Micrographs, and what was made of others of them, which would be counted twice."""
    names = read_names([f"{label}/{image}" for image in images])
    made = [
        Problem(
            file=image,
            what=msg(
                "'{word}' in its name tells that it shows a field again that is counted: count it "
                "in a folder of its own if you want it instead",
                word=name.version,
            ),
        )
        for image, name in zip(images, names, strict=True)
        if name.version
    ]
    return [image for image, n in zip(images, names, strict=True) if not n.version], made


def _failed(problems: Sequence[Problem]) -> list[Item]:
    """An item a file, with all that is wrong with it."""
    whats: dict[str, list[str]] = {}
    for problem in problems:
        whats.setdefault(problem.file, []).append(problem.what)
    return [Item(name=name, problem="; ".join(what)) for name, what in whats.items()]


def _forgotten(
    images: Sequence[str],
    used: set[str],
    pictures: Sequence[Picture],
    bad: set[str],
    config: CountConfig,
) -> list[Item]:
    """Fields of which no picture was made, since none of their files is of the channel asked."""
    shown = {plane.file for picture in pictures for plane in picture.planes} | bad
    names = read_names(images)
    lost = []
    for members in fields_of(images, names):
        files = [images[i] for i in members]
        if not shown.intersection(files) and used.issuperset(files):
            what = msg("its field has no channel '{channel}'", channel=config.channel)
            lost.append(Item(name=files[0], problem=what))
    return lost


# --- places --------------------------------------------------------------------


class _Placed(NamedTuple):
    """One item with what its name tells; `source` is the path that was read."""

    item: Item
    name: ImageName
    source: str


def _placed(
    label: str, items: Sequence[Item], sources: Sequence[str], config: CountConfig
) -> CountPlan:
    """Every item with its well; of several time points of a field the first, unless asked."""
    names = read_names(list(sources))
    wells, sentence = _wells(items, sources, names, config.group)
    kept, left_out = _first_times(
        [_Placed(*one) for one in zip(items, names, sources, strict=True)], config
    )
    placed = []
    for at, note in kept.items():
        item, name, well = items[at], names[at], wells[at]
        placed.append(
            item.model_copy(
                update={
                    "plate": well.plate if well else "",
                    "well": well.name if well else "",
                    "field": name.field or item.name,
                    "time": (name.time or "") if config.every else "",
                    "series": ""
                    if well
                    else "/".join(filter(None, (name.folders, name.day))) or label,
                    "note": note,
                }
            )
        )
    nowhere = [item.name for item in placed if not item.well]
    if nowhere and len(nowhere) < len(placed):
        sentence += (
            f" No well is known of {len(nowhere)} of {len(placed)} images (the first is "
            f"{nowhere[0]}): these are summed by their folder."
        )
    return CountPlan(label=label, items=tuple(placed), wells=sentence, left_out=tuple(left_out))


def _wells(
    items: Sequence[Item], sources: Sequence[str], names: Sequence[ImageName], pattern: str | None
) -> tuple[list[Well | None], str]:
    """By the pattern, by names, and where these tell none by what stands in the file."""
    if pattern is not None:
        grouping = find_groups(sources, pattern)
        return [Well("", group) for group in grouping.groups], grouping.sentence
    wells = place_wells(names, sure=False)
    told = 0
    for at, item in enumerate(items):
        if wells[at] is None and item.picture is not None and item.picture.well:
            wells[at] = Well(item.picture.plate or "", item.picture.well)
            told += 1
    said = [wells_taken(names)]
    if told:
        said.append(
            msg("Wells of {plural} are told by the files themselves.", plural=plural(told, "image"))
        )
    return wells, joined(" ", filter(None, said)) or _NO_WELLS


def _first_times(
    placed: Sequence[_Placed], config: CountConfig
) -> tuple[dict[int, str], list[Problem]]:
    """Index of each item that is counted -> what was decided about it; and the others."""
    if config.every is not None or config.source is None:
        return dict.fromkeys(range(len(placed)), ""), []
    kept: dict[int, str] = {}
    left_out: list[Problem] = []
    for members in fields_of([one.source for one in placed], [one.name for one in placed]):
        readable = [i for i in members if placed[i].item.problem is None] or members
        first = min(readable, key=lambda i: numeric(placed[i].name.time or ""))
        others = [i for i in readable if i != first]
        time = placed[first].name.time
        kept[first] = ""
        if others:
            kept[first] = (
                msg("time {time}, the first of {n}", time=time, n=len(readable))
                if time
                else msg("one of {n} files of this name", n=len(readable))
            )
        kept |= {i: "" for i in members if i not in readable}
        why = msg("is of the same field as {name}, which is counted", name=placed[first].item.name)
        left_out += [Problem(file=placed[i].item.name, what=why) for i in others]
    return dict(sorted(kept.items())), left_out
