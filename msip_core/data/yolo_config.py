"""What stands beside YOLO's labels: data.yaml with class names and parts, and lists of names."""

from __future__ import annotations

import posixpath
import re
from collections.abc import Iterable, Sequence
from pathlib import PurePosixPath
from typing import Any

from msip_core.bounded import load_yaml
from msip_core.data.archive import FileTree
from msip_core.data.labels import place_by_folders, read_list, read_text
from msip_core.data.manifest import SplitName
from msip_core.data.references import ImageIndex
from msip_core.errors import DatasetError, InputError
from msip_core.messages import msg

LISTS = (
    "classes.txt",
    "obj.names",
    "names.txt",
    "labels.txt",
    "_darknet.labels",
    "_classes.txt",
    "predefined_classes.txt",
)
_PARTS: dict[str, SplitName] = {"train": "train", "val": "val", "validation": "val", "test": "test"}
_NUMBERED = re.compile(r"(\d+)\s*[\s:,;=]\s*(\S.*)")


def is_list(name: str) -> bool:
    """Whether a file is a list of class names; Darknet calls it as one likes, such as a.names."""
    low = PurePosixPath(name).name.lower()
    return low in LISTS or low.endswith(".names")


def read_configs(tree: FileTree, notes: list[str]) -> list[dict[str, Any]]:
    """Every YAML with class names: nearest to the top first, there the one that is called so."""

    def order(name: str) -> tuple[int, bool, str]:
        stem = PurePosixPath(name).stem.lower()
        return (name.count("/"), stem not in ("data", "dataset"), name)

    found = []
    for name in sorted((n for n in tree.names if n.lower().endswith((".yaml", ".yml"))), key=order):
        try:
            # As text: a class may be called `no`, and an odd value elsewhere costs no names.
            config = load_yaml(read_text(tree, name), as_text=True)
        except InputError as error:
            notes.append(msg("{name} could not be read ({error}).", name=name, error=error))
            continue
        if isinstance(config, dict) and ("names" in config or "nc" in config):
            found.append(config | {"__folder__": _folder(name), "__file__": name})
    return found


def class_names(
    tree: FileTree, configs: Sequence[dict[str, Any]], labels: Iterable[str], notes: list[str]
) -> dict[str, list[str]]:
    """Folder of a list -> names by number; see `YoloReader.names`."""
    if given := _by_folder(configs, notes):
        first = next(iter(given.values()))
        above = {parent for label in labels for parent in _folders(label)}
        # Several projects in one folder, each with a data.yaml of its own.
        own = {folder: names for folder, names in given.items() if folder in above}
        if all(names == first for names in own.values()):
            return {"": first}
        notes.append(_differ(own))
        return {"": first, **own}
    lists: dict[str, list[str]] = {}
    for name in sorted(filter(is_list, tree.names), key=lambda n: (n.count("/"), n)):
        try:
            lines = [line.strip() for line in read_text(tree, name).splitlines()]
        except DatasetError as error:
            notes.append(
                msg(
                    "The class names in {name} could not be read ({error}).", name=name, error=error
                )
            )
            continue
        lists.setdefault(_folder(name), _without_numbers(lines))
    lists = {folder: names for folder, names in lists.items() if names}
    if len({tuple(names) for names in lists.values()}) > 1:
        notes.append(_differ(lists))
    if not lists:
        notes.append(
            msg(
                "No data.yaml or classes.txt names the classes: they are called class_0, class_1, "
                "...; give them names in the class map."
            )
        )
    return lists


def _differ(lists: Iterable[str]) -> str:
    return msg(
        "The lists of class names in several folders differ: each holds for the labels "
        "beside and below it ({lists}).",
        lists=", ".join(list(lists)[:5]),
    )


def _by_folder(configs: Sequence[dict[str, Any]], notes: list[str]) -> dict[str, list[str]]:
    """Folder of a YAML -> its class names; of several in one folder the first one's."""
    given: dict[str, list[str]] = {}
    for config in configs:
        if config["__folder__"] not in given and (
            names := _names_in_config(config.get("names"), notes)
        ):
            given[config["__folder__"]] = names
    return given


def _folder(name: str) -> str:
    return str(PurePosixPath(name).parent)


def _folders(name: str) -> list[str]:
    """The folders on the way to a file, the nearest first, the top as "."."""
    return [str(parent) for parent in PurePosixPath(name).parents]


def other_numbers(
    tree: FileTree, configs: Sequence[dict[str, Any]], names: dict[str, list[str]]
) -> dict[str, tuple[str, str]]:
    """Folder of `names` -> a YAML and a list or YAML that give one class several numbers."""
    files = {config["__folder__"]: config["__file__"] for config in reversed(configs)}
    found: dict[str, tuple[str, str]] = {}
    for folder, listed in names.items() if configs else ():
        one = files.get(folder, configs[0]["__file__"])
        for other in tree.names:
            above = _folders(other)
            nearest = next((place for place in above if place in names), "")
            concerns = nearest == folder or above[0] in _folders(f"{folder}/x")
            if other != one and concerns and _shifted(listed, _numbered(tree, other)):
                found.setdefault(folder, (one, other))
    return found


def _numbered(tree: FileTree, name: str) -> list[str]:
    """The class names in a list or YAML; [] of any other file."""
    listed, low = is_list(name), name.lower()
    if not listed and not low.endswith((".yaml", ".yml")):
        return []
    try:
        text = read_text(tree, name)
        given = {} if listed else load_yaml(text, as_text=True)
    except InputError:
        return []  # said where class names are read
    if listed:
        return _without_numbers([line.strip() for line in text.splitlines()])
    return _names_in_config(given.get("names"), []) if isinstance(given, dict) else []


def _shifted(one: list[str], other: list[str]) -> bool:
    """Whether a class that both name has another number in each."""
    places: tuple[dict[str, set[int]], dict[str, set[int]]] = ({}, {})
    for place, names in zip(places, (one, other)):
        for number, name in enumerate(names):
            place.setdefault(name.casefold(), set()).add(number)
    first, second = places
    return any(name and first[name].isdisjoint(second[name]) for name in first.keys() & second)


def _without_numbers(lines: list[str]) -> list[str]:
    """`["0 crypt", "1 cyst"]` -> `["crypt", "cyst"]`, and so `["crypt, cyst"]`; other lists as
    they are."""
    filled = [line for line in lines if line]
    if len(filled) == 1 and "," in filled[0]:
        return [name.strip(" '\"") for name in filled[0].strip("[] ").split(",")]
    found = [match for line in filled if (match := _NUMBERED.fullmatch(line))]
    if found and [int(m[1]) for m in found] == list(range(len(filled))):
        return [m[2] for m in found]
    while lines and not lines[-1]:
        lines = lines[:-1]
    return lines  # an empty line among others has a number, and no name


def _names_in_config(names: Any, notes: list[str]) -> list[str]:
    """`[a, b]`, `{0: a, 1: b}`, `{a: 0, b: 1}`, a line each, or `[{id: 0, name: a}]`; [] for
    anything else. "" is no name."""
    if isinstance(names, str) and is_list(names):
        return []  # it is read as a list
    if isinstance(names, str):
        names = re.split(r"[,\n]", names.strip()) if names.strip() else []
    if isinstance(names, list) and all(isinstance(name, dict) for name in names):
        listed = {str(one.get("id", at)): one.get("name") for at, one in enumerate(names)}
        names = listed if len(listed) == len(names) else None  # one number for two names
    if isinstance(names, list):
        return [n.strip() for n in names] if all(isinstance(name, str) for name in names) else []
    if not isinstance(names, dict) or not all(isinstance(name, str) for name in names.values()):
        return []
    turned = not any(key.isdecimal() for key in names) and len(set(names.values())) == len(names)
    if turned and all(number.isdecimal() for number in names.values()):
        names = {number: name for name, number in names.items()}
    # Digits of other scripts count as digits for str.isdigit, and int() takes some of them.
    numbered = {int(key): name for key, name in names.items() if re.fullmatch("[0-9]{1,5}", key)}
    if odd := [key for key in names if not re.fullmatch("[0-9]{1,5}", key)]:
        notes.append(
            msg(
                "The class numbers of data.yaml are whole numbers from 0 to 99999; these are not, "
                "and were left out: {odd}.",
                odd=", ".join(key[:40] for key in odd[:5]),
            )
        )
    return [numbered.get(i, "").strip() for i in range(max(numbered, default=-1) + 1)]


def miscounted(configs: Sequence[dict[str, Any]], names: dict[str, list[str]]) -> dict[str, str]:
    """Folder of `names` -> why its numbers are not sure: its YAML counts other classes than it
    names, and behind a name that is missing all numbers are those of the next."""
    whys: dict[str, str] = {}
    for config in configs:
        listed, nc = _names_in_config(config.get("names"), []), str(config.get("nc", ""))
        if not listed or config["__folder__"] in whys:
            continue
        whys[config["__folder__"]] = ""  # of several in one folder the first one's names hold
        sure = int(nc) if re.fullmatch("[0-9]{1,9}", nc) else len(listed)
        if sure not in (len(listed), sum(map(bool, listed))):
            whys[config["__folder__"]] = msg(
                "{file} says nc: {nc} and names {n} classes: left out, since a name may be "
                "missing; make both agree",
                file=config["__file__"],
                nc=nc,
                n=len(listed),
            )
    first = configs[0]["__folder__"] if configs else ""
    return {folder: why for folder in names if (why := whys.get(folder or first))}


def pose_values(config: dict[str, Any]) -> int:
    shape = config.get("kpt_shape")
    if not isinstance(shape, list) or len(shape) != 2:
        return 0
    if not all(isinstance(n, str) and re.fullmatch("[0-9]{1,4}", n) for n in shape):
        return 0
    return int(shape[0]) * int(shape[1])


def splits(
    tree: FileTree, config: dict[str, Any], index: ImageIndex, notes: list[str]
) -> dict[str, SplitName]:
    """The part of each image, by data.yaml's own folders and lists, else by folder names."""
    found: dict[str, SplitName] = {}
    config = {key: value for key, value in config.items() if value not in ("", "~", "null")}
    folder = str(config.get("__folder__", "."))
    base = str(config.get("path") or "")
    for key, split in _PARTS.items():
        places = config.get(key) or []
        for place in [places] if isinstance(places, str) else dict.fromkeys(map(str, places)):
            # Roboflow writes "../train/images" where it means "train/images".
            for image in _images_of_part(tree, place, (folder, base), index, notes):
                found.setdefault(image, split)
    place_by_folders(index.images, found)
    return found


def _images_of_part(
    tree: FileTree, place: str, tops: tuple[str, str], index: ImageIndex, notes: list[str]
) -> list[str]:
    """Images of a folder or list as data.yaml names it, below its own folder or its `path`.

    Of a path of another computer (/content/lab/a/images, C:\\lab\\a\\images) the longest end
    that is there counts.
    """
    folder, base = (top.replace("\\", "/") for top in tops)
    place = str(place).replace("\\", "/")
    for top in (folder, posixpath.join(folder, base)):
        path = posixpath.normpath(posixpath.join(top, place.lstrip("/")))
        if found := _images_at(tree, re.sub(r"^(\.\./)+", "", path), index, notes):
            return found
    parts = [part for part in place.split("/") if part not in ("", ".", "..")]
    # Of a folder at least two names: `images` alone may be that of any part.
    for start in range(1, len(parts) - (not place.endswith(".txt"))):
        if found := _images_at(tree, posixpath.join(*parts[start:]), index, notes):
            return found
    return []


def _images_at(tree: FileTree, path: str, index: ImageIndex, notes: list[str]) -> list[str]:
    if path.endswith(".txt"):
        listed = read_list(tree, path, notes) if path in tree.names else []
        lines = [line.strip() for line in listed if line.strip()]
        return [image for line in lines if (image := index.find(line, path))]
    prefix = path.rstrip("/") + "/"
    return [image for image in index.images if image.startswith(prefix)]
