"""Which pictures a source holds where one file is not one picture: scenes, stacks, time series.

    file with several planes ──► a picture a scene and time point
    several files of one field ─► a picture a field (and time point, as asked)

Only headers and names are read here; `staging` reads the pixels.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Sequence
from pathlib import Path, PurePosixPath

from msip_core import confined
from msip_core.data.archive import FileTree, TreeOnDisk
from msip_core.data.fields import choose_field_channel, fields_of, numeric
from msip_core.data.image_name import ImageName
from msip_core.data.manifest import Problem
from msip_core.data.names import read_names
from msip_core.data.readers.base import Reader, Scene
from msip_core.data.readers.registry import is_there, kind_of, missing, open_reader
from msip_core.data.readers.tiff_stack import TiffStack, has_stack
from msip_core.data.tiff_channels import Choice, choose_channel
from msip_core.errors import DatasetError
from msip_core.events import Record
from msip_core.messages import Telling, Words, joined, msg

_TIFF = (".tif", ".tiff")


class Wish(Record):
    """What a person wants of files with more than one plane.

    Attributes:
        channel: number from 1 or name; None proposes the one in transmitted light.
        stack: `config.STACK_WAYS`, or the number of a z plane.
        every: every n-th time point as a picture; None the first of a file, and every file.
    """

    channel: str | None = None
    stack: str = "sharpest"
    every: int | None = None


class Plane(Record):
    """One plane of one file; all count from 0."""

    file: str
    scene: int = 0
    channel: int = 0
    z: int = 0
    time: int = 0


class Picture(Record, Telling):
    """One picture that is to be taken from a stack.

    Attributes:
        name: by which the dataset knows it: the file's, or one below it for each of several.
        planes, levels: along z, and what each is called.
        said: what else was chosen, for the report.
        doubt: why that may be wrong.
        files: True where every plane is an image file of its own, read like any other.
        size: bytes of a plane.
        well, plate: as the file's metadata tell them, such as "B03".
    """

    name: str
    planes: tuple[Plane, ...]
    levels: tuple[str, ...]
    said: tuple[Words, ...] = ()
    doubt: Words | None = None
    pixel_size_um: float | None = None
    files: bool = False
    size: int = 0
    well: str | None = None
    plate: str | None = None


class Plan(Record, Telling):
    """All such pictures of a source.

    Attributes:
        used: files that became pictures and are no images of their own.
        problems: files of which nothing can be taken.
        channels: what can be chosen where a file or field has several: their names, in order, the
            number (from 1) of one without a name.
    """

    pictures: tuple[Picture, ...] = ()
    used: tuple[str, ...] = ()
    problems: tuple[Problem, ...] = ()
    channels: tuple[str, ...] = ()


def plan_pictures(
    tree: FileTree,
    wish: Wish,
    path_of: Callable[[str], Path],
    labelled_of: Callable[[FileTree], tuple[set[str], list[str]]],
) -> Plan:
    """Look at names and headers.

    Args:
        path_of: a file of the tree on disk, for readers that want a path.
        labelled_of: micrographs with labels, and all micrographs.
    """
    own = [name for name in tree.names if kind_of(name)]
    tiffs = [name for name in tree.names if name.lower().endswith(_TIFF)]
    stacked = [n for n in confined.one_by_one(tiffs) if _is_stack(tree, n)]
    fields = _could_be_fields(tree.names)
    if not (own or stacked or fields):
        return Plan()
    labelled, images = labelled_of(tree)
    found = _Files(wish, labelled)
    for name in confined.one_by_one(sorted({*own, *(n for n in stacked if n in images)})):
        found.look_into(name, tree, path_of)
    found.join_sets()
    rest = [] if labelled or not fields else [name for name in images if name not in found.used]
    pictures, hidden = _of_fields(rest, wish)
    return Plan(
        pictures=(*found.pictures, *pictures),
        used=tuple(sorted(found.used | hidden)),
        problems=tuple(found.problems),
        channels=(*found.channels, *_channels_of_fields(rest)),
    )


class _Files:
    """What microscope files and stacks hold, one after the other.

    Attributes:
        channels: that can be chosen, in the order of their first file.
    """

    def __init__(self, wish: Wish, labelled: set[str]) -> None:
        self._wish, self._labelled = wish, labelled
        self.pictures: list[Picture] = []
        self.problems: list[Problem] = []
        self.used: set[str] = set()
        self.channels: dict[str, None] = {}
        self._sets: defaultdict[str, list[tuple[str, TiffStack]]] = defaultdict(list)

    def look_into(self, name: str, tree: FileTree, path_of: Callable[[str], Path]) -> None:
        """One file: its pictures, or why there are none."""
        kind = kind_of(name)
        if kind and not is_there(kind):
            self._refuse(name, missing(kind))
            return
        try:
            reader = open_reader(name, path_of(name)) if kind else TiffStack(tree.read(name))
        except DatasetError as error:
            if kind:  # a TIFF is named when it comes in
                self._refuse(name, error.message.without(name))
            return
        try:
            self._take(name, reader, own=bool(kind))
        except DatasetError as error:
            self._refuse(name, error.message.without(name))
        finally:
            reader.close()

    def _refuse(self, name: str, why: str) -> None:
        self.problems.append(Problem(file=name, what=why))
        self.used.add(name)

    def _take(self, name: str, reader: Reader, *, own: bool) -> None:
        self.channels |= dict.fromkeys(_to_choose(reader.scenes))
        if isinstance(reader, TiffStack) and reader.own is not None:
            if not self._labelled:
                self._sets[reader.set_id].append((name, reader))
            return
        taken = _of_file(name, reader, self._wish, name in self._labelled, own)
        self.problems += [Problem(file=name, what=what) for what in reader.left_out]
        self.pictures += taken
        if taken or own:
            self.used.add(name)

    def join_sets(self) -> None:
        """Images that lie in several files."""
        for members in self._sets.values():
            if joined := _of_set(members, self._wish):
                self.pictures += joined
                self.used |= {name for name, _ in members}


def _to_choose(scenes: Sequence[Scene]) -> list[str]:
    """Channels of those scenes that have several."""
    several = (scene.channels for scene in scenes if len(scene.channels) > 1)
    return [name or str(n) for names in several for n, name in enumerate(names, 1)]


def _channels_of_fields(images: list[str]) -> list[str]:
    """Channels that file names tell, where fields have several."""
    names = read_names(images)
    fields = ({names[i].channel or "" for i in members} for members in fields_of(images, names))
    several = {channel for channels in fields if len(channels) > 1 for channel in channels}
    return sorted(filter(None, several), key=numeric)


def _is_stack(tree: FileTree, name: str) -> bool:
    try:  # of a file on disk the header is enough
        return has_stack(tree.path(name) if isinstance(tree, TreeOnDisk) else tree.read(name))
    except DatasetError:
        return False  # named when it comes in


def _could_be_fields(names: Sequence[str]) -> bool:
    """Whether names of images tell of planes at all: most sources have none, and are not looked
    through twice."""
    images = [n for n in names if n.lower().endswith((*_TIFF, ".png", ".jpg", ".jpeg", ".bmp"))]
    return any(len(members) > 1 for members in fields_of(images, read_names(images)))


# --- one file ------------------------------------------------------------------


def _of_file(
    name: str, reader: Reader, wish: Wish, labelled: bool, own_kind: bool
) -> list[Picture]:
    """Pictures of one file: of each scene, the time points that were asked for."""
    scenes = reader.scenes
    if not own_kind and not _has_choice(scenes[0], wish):
        return []
    if not scenes:
        why = joined("; ", reader.left_out) or msg("it holds no image")
        raise DatasetError("{name} holds nothing that can be taken ({why})", name=name, why=why)
    if labelled and len(scenes) > 1:
        raise DatasetError(
            "{name} holds {n} scenes, and its label does not say which one is meant: "
            "export the labelled scene as TIFF",
            name=name,
            n=len(scenes),
        )
    several = sum(len(_times(scene, wish, labelled)) for scene in scenes) > 1
    # A well that only the file's metadata tell has to stand where wells are looked for.
    several = several or (scenes[0].well is not None and not labelled)
    pictures: list[Picture] = []
    stems: set[str] = set()
    for number, scene in enumerate(scenes):
        channel = _channel(scene, wish, name)
        which = _which(scene, number, len(scenes))
        for time in _times(scene, wish, labelled):
            called = f"{name}/{_called(scenes, number, time, stems)}.tif" if several else name
            planes = tuple(
                Plane(file=name, scene=number, channel=channel.at, z=z, time=time)
                for z in range(scene.z)
            )
            pictures.append(_picture(called, scene, planes, channel, which))
    return pictures


def _has_choice(scene: Scene, wish: Wish) -> bool:
    """Whether a TIFF has more to it than `micrographs` chooses by itself."""
    return (scene.z > 1 and wish.stack != "middle") or (scene.times > 1 and wish.every is not None)


def _times(scene: Scene, wish: Wish, labelled: bool) -> range:
    every = wish.every
    return range(1) if every is None or labelled else range(0, scene.times, every)


def _channel(scene: Scene, wish: Wish, name: str) -> Choice:
    if len(scene.channels) > 1:
        return choose_channel(list(scene.channels), len(scene.channels), wish.channel, name)
    word, only = (wish.channel or "").strip(), scene.channels[0]
    other = word.isdecimal() and int(word) > 1
    if only and word and (other or (not word.isdecimal() and word.lower() not in only.lower())):
        raise DatasetError(
            "{name} was left out: it holds the channel '{only}', not '{word}'.",
            name=name,
            only=only,
            word=word,
        )
    return Choice(0, msg("its only channel ('{only}')", only=only) if only else "")


def _called(scenes: list[Scene], number: int, time: int, taken: set[str]) -> str:
    """A name below the file's, from which wells and time points are read as from any other."""
    scene = scenes[number]
    place = scene.well or ""
    if place and scene.field is not None:
        place += f"_f{scene.field:02d}"
    elif place and sum(other.well == scene.well for other in scenes) > 1:
        place += f"_f{number + 1:02d}"
    stem = place or f"scene-{number + 1:03d}"
    if time or scene.times > 1:
        stem += f"_t{time + 1:03d}"
    while stem in taken:
        stem += "-2"
    taken.add(stem)
    folder = "".join(c for c in (scene.plate or "") if c.isalnum() or c in "-_ .").strip(" .")
    return f"{folder}/{stem}" if folder else stem


def _which(scene: Scene, number: int, of: int) -> list[str]:
    """Scene and well in words."""
    said = []
    if of > 1:
        at = {"number": number + 1, "of": of}
        said.append(
            msg("scene {number} of {of} ('{name}')", name=scene.name, **at)
            if scene.name
            else msg("scene {number} of {of}", **at)
        )
    elif scene.name and scene.well is None:
        said.append(msg("scene '{name}'", name=scene.name))
    return [*said, msg("well {well}", well=scene.well)] if scene.well else said


def _picture(
    called: str, scene: Scene, planes: tuple[Plane, ...], channel: Choice, which: list[str]
) -> Picture:
    said = [*which, channel.note] if channel.note else [*which]
    time = planes[0].time
    if scene.times > 1:
        said.append(msg("time point {time} of {times}", time=time + 1, times=scene.times))
    return Picture(
        name=called,
        planes=planes,
        levels=tuple(str(z + 1) for z in range(len(planes))),
        said=(*said, *scene.notes),
        doubt=channel.doubt,
        pixel_size_um=scene.pixel_size_um,
        size=scene.width * scene.height * 2,
        well=scene.well,
        plate=scene.plate,
    )


# --- several files -------------------------------------------------------------


def _of_set(members: list[tuple[str, TiffStack]], wish: Wish) -> list[Picture]:
    """Pictures of an OME-TIFF whose planes lie in several files, each told by its XML."""
    scene = members[0][1].scenes[0]
    if len(members) < 2 or not (scene.z > 1 or scene.times > 1 or len(scene.channels) > 1):
        return []
    channel = _channel(scene, wish, members[0][0])
    held: dict[tuple[int, int], Plane] = {}
    for name, reader in members:
        for place in reader.own.places if reader.own else ():
            if place.channel == channel.at:
                held[place.time, place.z] = Plane(
                    file=name, channel=place.channel, z=place.z, time=place.time
                )
    times = sorted({time for time, _ in held})[:: wish.every or 1]
    pictures = []
    for time in times:
        planes = tuple(held[key] for key in sorted(held) if key[0] == time)
        picture = _picture(planes[0].file, scene, planes, channel, [])
        said = (msg("an image in several files"), *picture.said)
        levels = tuple(str(plane.z + 1) for plane in planes)
        pictures.append(picture.model_copy(update={"said": said, "levels": levels}))
    return pictures


def _of_fields(images: list[str], wish: Wish) -> tuple[list[Picture], set[str]]:
    """Pictures of fields whose planes are files of their own, as names tell; and their files."""
    names = read_names(images)
    pictures: list[Picture] = []
    used: set[str] = set()
    for members in fields_of(images, names):
        places = {(names[i].z, names[i].time, names[i].channel) for i in members}
        if len(members) < 2 or len(places) != len(members):
            continue  # alone, or copies of one plane: each is an image
        taken = _of_field([(images[i], names[i]) for i in members], wish)
        alone = {p.planes[0].file for p in taken if len(p.planes) == 1 and not p.said}
        if len(alone) == len(members):
            continue  # time points of which all were wanted
        pictures += taken
        used |= {images[i] for i in members}
    return pictures, used


def _of_field(members: list[tuple[str, ImageName]], wish: Wish) -> list[Picture]:
    said: tuple[str, ...] = ()
    doubt = None
    channels = sorted({name.channel or "" for _, name in members}, key=numeric)
    if len(channels) > 1:
        wanted, how = choose_field_channel(channels, wish.channel)
        if wanted is None:
            return []
        members = [m for m in members if (m[1].channel or "") == wanted]
        said = (
            msg(
                "channel {name}{how}, of {channels}",
                name=wanted or msg("without a name"),
                how=how,
                channels=", ".join(filter(None, channels)),
            ),
        )
        if how == ", the first":
            doubt = msg(
                "has {n} channels in files of their own ({channels}) and "
                "nobody said which: the first was taken; choose a channel by number or name if the "
                "organoids are in another",
                n=len(channels),
                channels=", ".join(name or msg("without a name") for name in channels),
            )
    times = sorted({name.time or "" for _, name in members}, key=numeric)
    pictures = []
    for time in times[:: wish.every or 1]:
        planes = sorted(
            ((file, name) for file, name in members if (name.time or "") == time),
            key=lambda m: numeric(m[1].z or ""),
        )
        when = (f"time {time}",) if wish.every and len(times) > 1 else ()
        pictures.append(
            Picture(
                name=PurePosixPath(planes[0][0]).as_posix(),
                planes=tuple(Plane(file=file) for file, _ in planes),
                levels=tuple(name.z or "?" for _, name in planes),
                said=(*said, *when),
                doubt=doubt,
                files=True,
            )
        )
    return pictures
