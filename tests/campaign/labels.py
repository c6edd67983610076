"""Label files of every format with one thing wrong in them, beside good images."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from pathlib import Path

from tests.campaign import mutate, sources
from tests.campaign.case import Case
from tests.campaign.sources import GOOD

Files = dict[str, bytes]
_STEMS = [f"p{i}" for i in range(GOOD)]
_YAML = "path: .\ntrain: images\nval: images\nnc: 2\nnames:\n  0: crypt\n  1: no_crypt\n"
_BOMB = "a: &a [x,x,x,x,x,x,x,x,x]\n" + "".join(
    f"{new}: &{new} [{','.join([f'*{old}'] * 9)}]\n" for old, new in zip("abcdefgh", "bcdefghi")
)
_DATA = {
    "a huge class number": "names: {300000000: x}\n", "aliases": _BOMB + "names: *i\n",
    "itself": "names: &n [*n]\n", "a date": "names: [crypt, no_crypt]\nx: 2024-13-45\n",
    "a tag": "names: !!python/object/apply:os.system ['touch CANARY']\n",
    "no text": "names: [1, 2]\n",
    "yes and no": "names: [no, yes]\n", "deep": "names: " + "[" * 5000 + "]" * 5000,
    "a number": "5", "nothing": "", "NUL": "names: [a\0b, c]\n", "tab": "\tnames: [a, b]\n",
    "too few": "names: [crypt]\n", "wrong count": "nc: 99999999\nnames: [crypt, no_crypt]\n",
    "long number": "names: {" + "9" * 5000 + ": x}\n", "twice": "names: [a, a]\n",
}  # fmt: skip
_ENCODINGS = ("utf-8-sig", "utf-16", "utf-16-le", "utf-32", "latin-1", "cp037")


def cases(count: int) -> Iterator[Case]:
    for name, text in _DATA.items():
        yield _case(f"data.yaml: {name}", _with("data.yaml", text.encode()), keeps=None)
    for encoding in _ENCODINGS:
        text = sources.yolo_lines().encode(encoding)
        yield _case(f"a label in {encoding}", _with("labels/p0.txt", text), keeps=GOOD - 1)
    yield _case("a million boxes", lambda chance: _million(), keeps=GOOD - 1)
    yield _case("100,000 brackets", lambda chance: _coco_bytes(b"[" * 100_000), keeps=None)
    yield _case("entities in XML", lambda chance: _entities(), keeps=None)
    writers = [_yolo, _yaml, _coco, _voc, _csv, _labelme, _cvat, _via]
    for number in range(count):
        writer, keeps = writers[number % len(writers)]()
        yield _case(f"{writer.__name__.strip('_')} mutant {number}", writer, keeps=keeps)


def _case(what: str, files: Callable[[random.Random], Files], *, keeps: int | None) -> Case:
    def make(place: Path, chance: random.Random) -> list[str]:
        source = sources.write(place, files(chance))
        return ["data", "import", str(source), "--name", "hostile"]

    return Case("labels", what, make, keeps)


def _with(name: str, data: bytes) -> Callable[[random.Random], Files]:
    return lambda chance: {**sources.yolo(), name: data}


def _million() -> Files:
    lines = b"".join(b"0 .%06d .5 .1 .1\n" % i for i in range(999_999))
    return {**sources.yolo(), "labels/p0.txt": lines}


def _coco_bytes(data: bytes) -> Files:
    return {**sources.images(), "annotations.json": data}


def _entities() -> Files:
    inner = '<!DOCTYPE l [<!ENTITY a "aaaaaaaaaa">' + "".join(
        f'<!ENTITY {new} "{f"&{old};" * 10}">' for old, new in zip("abcdefgh", "bcdefghi")
    )
    text = inner + "]>" + sources.voc("p0").replace("crypt", "&i;")
    return {**_good_voc(), "annotations/p0.xml": text.encode()}


Writer = tuple[Callable[[random.Random], Files], int | None]


def _bytes(text: str) -> bytes:
    return text.encode("utf-8", "surrogatepass")


def _yolo() -> Writer:
    def yolo(chance: random.Random) -> Files:
        text = _bytes(mutate.text(sources.yolo_lines(), chance))
        return {**sources.yolo(), "labels/p0.txt": text}

    return yolo, GOOD - 1


def _yaml() -> Writer:
    def yaml(chance: random.Random) -> Files:
        return {**sources.yolo(), "data.yaml": _bytes(mutate.text(_YAML, chance))}

    return yaml, None


def _coco() -> Writer:
    def coco(chance: random.Random) -> Files:
        return _coco_bytes(sources.as_json(mutate.document(sources.coco(), chance)))

    return coco, None


def _good_voc() -> Files:
    return {
        **sources.images(),
        **{f"annotations/{stem}.xml": sources.voc(stem).encode() for stem in _STEMS},
    }


def _voc() -> Writer:
    def voc(chance: random.Random) -> Files:
        text = _bytes(mutate.text(sources.voc("p0"), chance))
        return {**_good_voc(), "annotations/p0.xml": text}

    return voc, GOOD - 1


def _csv() -> Writer:
    def csv(chance: random.Random) -> Files:
        return {**sources.images(), "boxes.csv": _bytes(mutate.text(sources.csv(), chance))}

    return csv, None


def _labelme() -> Writer:
    def labelme(chance: random.Random) -> Files:
        good = {f"images/{s}.json": sources.as_json(sources.labelme(s)) for s in _STEMS}
        bad = sources.as_json(mutate.document(sources.labelme("p0"), chance))
        return {**sources.images(), **good, "images/p0.json": bad}

    return labelme, GOOD - 1


def _cvat() -> Writer:
    def cvat(chance: random.Random) -> Files:
        text = _bytes(mutate.text(sources.cvat(), chance))
        return {**sources.images(), "annotations.xml": text}

    return cvat, None


def _via() -> Writer:
    def via(chance: random.Random) -> Files:
        value = sources.as_json(mutate.document(sources.via(), chance))
        return {**sources.images(), "via.json": value}

    return via, None
