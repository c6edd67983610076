"""COCO json: one or several files (one a part), boxes, polygons and run-length masks."""

from __future__ import annotations

import json
import re
from collections import Counter, defaultdict
from dataclasses import dataclass, field
from typing import Any

from msip_core.bounded import load_json
from msip_core.data.archive import FileTree
from msip_core.data.coco_objects import crowd_regions, read_object
from msip_core.data.labels import ODD, ImageLabels, LabelReader, read_text, reason_of, size_of
from msip_core.data.outlines import is_outline_file
from msip_core.data.references import ImageIndex
from msip_core.data.verdicts import check_taken, unsure_kept, verdict
from msip_core.errors import DatasetError, InputError
from msip_core.messages import msg

# The whole file is held in memory, at about ten times its size.
MAX_BYTES = 64 * 1024**2

_WHOLE = re.compile(r"[0-9]{1,15}\.0+")


@dataclass(kw_only=True)
class CocoReader(LabelReader):
    """An image that is listed without annotations is background.

    Attributes:
        annotations: image -> (class name or None if its number has none, annotation, the file or
            the entry of a file that lists it).
        pictures: image -> width and height that the file states.
        unsure: image -> why its annotations cannot be known.
    """

    annotations: dict[str, list[tuple[str | None, dict[str, Any], str]]]
    pictures: dict[str, tuple[float, float]] = field(default_factory=dict)
    unsure: dict[str, str] = field(default_factory=dict)
    format: str = "COCO"

    @property
    def labelled(self) -> set[str]:
        return set(self.annotations)

    def read(self, image: str) -> ImageLabels:
        if image in self.unsure:
            raise DatasetError(self.unsure[image])
        labels = ImageLabels(picture=self.pictures.get(image))
        found = []
        unsure = 0
        for name, annotation, file in self.annotations[image]:
            number = annotation.get("id", "?")
            try:
                is_unsure = check_taken(annotation)
                if name is None:
                    category = annotation.get("category_id")
                    raise ValueError(
                        msg("class number {category} has no name", category=repr(category))
                    )
                item = read_object(name, annotation, file)
                labels.picture = labels.picture or item.size
                if item.size and labels.picture != item.size:
                    raise ValueError(
                        msg(
                            "its mask is for {width:g} × {height:g} pixels",
                            width=item.size[0],
                            height=item.size[1],
                        )
                    )
                found.append(item)
                unsure += is_unsure
                labels.scored += annotation.get("score") is not None
            except ODD as error:
                reason = reason_of(error)
                labels.problems.append(
                    msg("annotation {number} left out: {reason}", number=number, reason=reason)
                )
        crowds = crowd_regions(found)
        for place, item in enumerate(found):
            if place in crowds:
                what = msg(
                    "annotation {number} left out: it marks a crowd, not one object",
                    number=item.number,
                )
                labels.problems.append(what)
            else:
                labels.objects.append(item.object)
        labels.notes += unsure_kept(unsure)
        kept = sum(item.flagged for item in found) - len(crowds)
        if kept:
            labels.notes.append(
                msg("marked as crowds, but single objects, and kept as boxes: {kept}", kept=kept)
            )
        return labels


def find_coco(tree: FileTree, index: ImageIndex) -> CocoReader | None:
    """All COCO files of a tree together, or None."""
    reader = CocoReader(annotations=defaultdict(list))
    for name in tree.names:
        is_candidate = name.lower().endswith(".json") and not is_outline_file(tree, name)
        if is_candidate and _add(reader, tree, name, index):
            reader.used.add(name)
    reader.annotations = dict(reader.annotations)
    return reader if reader.used or reader.orphans else None


def _add(reader: CocoReader, tree: FileTree, name: str, index: ImageIndex) -> bool:
    if tree.size(name) > MAX_BYTES:
        what = msg(
            "is larger than {most} MB: export the labels in several files",
            most=MAX_BYTES // 1024**2,
        )
        reader.lose(name, what)
        return False
    try:
        value = load_json(read_text(tree, name))
    except InputError as error:
        reader.lose(name, msg("is not readable JSON ({error})", error=error))
        return False
    if not _is_coco(value):
        return False
    value = {"categories": [], **value}
    categories = _categories(reader, name, value)
    images = _images(reader, name, value, index)
    annotations = _entries(reader, name, value, "annotations")
    _distribute(reader, name, annotations, images, categories)
    return True


def _categories(reader: CocoReader, name: str, value: dict[str, Any]) -> dict[str, str] | None:
    """Id -> class name; None if the file names no class at all."""
    listed = [
        (key, label, c["id"])
        for c in _entries(reader, name, value, "categories")
        if (key := _key(c.get("id"))) is not None and (label := _key(c.get("name"))) is not None
    ]
    if odd := [c for c in value["categories"] if isinstance(c, dict) and _no_name(c)]:
        # Such as the class `no`, which a program took for "false" on the way through YAML.
        called = json.dumps(odd[0].get("name"))
        no_name = msg(
            "a class is called {called}, which is no name: write it in quotation marks",
            called=called,
        )
        reader.lose(name, no_name)
    if not listed:
        return None
    categories = {key: label for key, label, _ in listed}
    for key in {key for key, label, _ in listed if categories[key] != label}:
        what = msg("gives class number {key} to several names: boxes of it are left out", key=key)
        reader.lose(name, what)
        del categories[key]
    names = [
        label
        for key, label, _ in sorted(listed, key=lambda entry: _order_of_ids(entry[2]))
        if key in categories
    ]
    reader.classes += [n for n in dict.fromkeys(names) if n not in set(reader.classes)]
    # Some programs write the name where the number belongs.
    by_name = {label: label for label in names if label not in categories}
    return categories | by_name


def _images(
    reader: CocoReader, name: str, value: dict[str, Any], index: ImageIndex
) -> dict[str, str | None]:
    """Id (and file name, for files that use it as id) -> image, None if it is not there."""
    entries = []
    for entry in _entries(reader, name, value, "images"):
        addresses = (entry.get(key) for key in ("file_name", "path", "coco_url"))
        reference, key = str(next(filter(None, addresses), "")), _key(entry.get("id"))
        if key is None:
            what = msg(
                "lists '{reference}' without an id that is a number or a text: left out",
                reference=reference,
            )
            reader.lose(name, what)
        else:
            entries.append((key, reference, entry))
    found = index.match((reference for _, reference, _ in entries), name)
    images: dict[str, str | None] = {}
    for key, reference, entry in entries:
        image = found.get(reference)
        if image is None:
            reader.lose(name, index.why_not(reference, name))
            images.setdefault(key, None)
            continue
        if images.get(key, image) != image:
            what = msg("{name} gives the id {key} to several images: left out", name=name, key=key)
            reader.unsure.update({image: what, str(images[key]): what})
        images[key] = image
        images.setdefault(reference, image)
        if why := verdict(entry).rejected:
            reader.unsure[image] = msg("{name} rejects the image ({why})", name=name, why=why)
        if entry.get("annotated") is not False:  # COCO Annotator lists images nobody has looked at
            _ = reader.annotations[image]  # listed, even if empty
        if picture := size_of((entry.get("width"), entry.get("height"))):
            reader.pictures[image] = picture
        reader.place(image, name)
    return images


def _distribute(
    reader: CocoReader,
    name: str,
    annotations: list[dict[str, Any]],
    images: dict[str, str | None],
    categories: dict[str, str] | None,
) -> None:
    lost: Counter[bool] = Counter()  # by whether the file lists the image
    _check_numbers(reader, name, annotations, images)
    first: dict[str, str | None] = {}  # image -> the id of its first entry; merged files have two
    for annotation in annotations:
        number = _key(annotation.get("image_id"))
        image = images.get(number) if number is not None else None
        if image is None:
            lost[number in images] += 1
            continue
        category = _key(annotation.get("category_id"))
        if categories is None:
            label = None if category is None else f"class_{category}"
        else:
            label = categories.get(category or "")
        entry = name if first.setdefault(image, number) == number else f"{name} (image {number})"
        reader.annotations[image].append((label, annotation, entry))
    if lost.total():
        reader.lose(name, msg("annotations of images that are not there: {n}", n=lost.total()))
    if lost[False]:
        empty = [i for i in images.values() if i is not None and not reader.annotations[i]]
        what = msg(
            "{name} lists it without boxes, but also has {lost} annotations whose image is "
            "not in its list: left out, since they may be its own",
            name=name,
            lost=lost[False],
        )
        reader.unsure |= dict.fromkeys(empty, what)
    if categories is None and annotations:
        note = msg(
            "{name} names no classes: they are called class_1, class_2, ... by their numbers; "
            "give them names in the class map.",
            name=name,
        )
        reader.notes.append(note)


def _check_numbers(
    reader: CocoReader,
    name: str,
    annotations: list[dict[str, Any]],
    images: dict[str, str | None],
) -> None:
    """Where annotations count images from another number than the list does, each box would go to
    the next image: they name the number before the first, or behind the last, of all listed."""
    there = {int(key) for key in images if key.isdecimal()}
    named = {int(key) for a in annotations if (key := _key(a.get("image_id")) or "").isdecimal()}
    if not there or len(named) != len(named | there) - 1:
        return
    first, last = min(there), max(there)
    if named - there in ({first - 1}, {last + 1}):
        what = msg(
            "{name} lists images {first} to {last}, and its annotations are of images {low} to "
            "{high}: left out, since they seem to be counted from another number",
            name=name,
            first=first,
            last=last,
            low=min(named),
            high=max(named),
        )
        reader.unsure |= {image: what for image in images.values() if image is not None}


def _is_coco(value: Any) -> bool:
    """Names of classes may be missing, images and annotations not. Captions are no objects."""
    return (
        isinstance(value, dict)
        and all(isinstance(value.get(key), list) for key in ("images", "annotations"))
        and isinstance(value.get("categories", []), list)
        and not any(isinstance(a, dict) and "caption" in a for a in value["annotations"][:1])
    )


def _entries(
    reader: CocoReader, name: str, value: dict[str, Any], key: str
) -> list[dict[str, Any]]:
    """The entries of a list that are objects; how many others there are is named."""
    found = [entry for entry in value[key] if isinstance(entry, dict)]
    if odd := len(value[key]) - len(found):
        reader.lose(name, msg("entries of '{key}' that are no objects: {odd}", key=key, odd=odd))
    return found


def _key(value: Any) -> str | None:
    """An id in the form in which ids are compared (1, 1.0 and "1" are one); None if it is none."""
    if isinstance(value, str) and _WHOLE.fullmatch(value.strip()):
        value = float(value)
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        return None
    return str(value).strip() or None


def _no_name(category: dict[str, Any]) -> bool:
    name = category.get("name")
    return name is None or isinstance(name, bool | dict | list)


def _order_of_ids(value: float | str) -> tuple[bool, float, str]:
    """Numbers first, by size; then texts."""
    text = str(value).strip()
    try:
        return (False, float(text), "")
    except ValueError:
        return (True, 0.0, text)
