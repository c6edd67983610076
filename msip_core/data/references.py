"""Which image a label file means: by a path, a bare name, or a stem.

Names are compared in Unicode's composed form and without regard to case: a Mac decomposes the
letters with accents that web tools and Windows compose. Label Studio writes eight hex digits in
front of every name it is given; they are looked through where the name alone leads nowhere.
"""

from __future__ import annotations

import re
import unicodedata
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from pathlib import PurePosixPath
from typing import NamedTuple
from urllib.parse import parse_qs, unquote, urlsplit

from msip_core.messages import msg

_HASH = re.compile(r"[0-9a-f]{8}(?:-|_{1,2})(?=.)")
_SUFFIX = re.compile(r"\.[A-Za-z0-9]{2,5}$")
_OME = re.compile(r"\.ome$", re.IGNORECASE)  # of `a.ome.tif`, whose label is called a.txt
_ADDRESS = re.compile(r"[a-z][a-z0-9+]+://", re.IGNORECASE)


class Closeness(NamedTuple):
    """How surely an image is meant; compares as a tuple.

    Attributes:
        kind: 2 the very path, 1 the same name, 0 the same name but for a prefix of Label Studio.
        folders: folders at the end of the reference that the image lies in.
        shared: folder names that image and label file share.
        end: folders at the end of the label file's own path that the image lies in.
    """

    kind: int
    folders: int
    shared: int
    end: int = 0


class Found(NamedTuple):
    """An image and how surely it is the one."""

    image: str
    closeness: Closeness


def plain(name: str) -> str:
    """A name in the form in which names are compared."""
    return unicodedata.normalize("NFC", name).casefold()


def unique(name: str, taken: set[str]) -> str:
    """The name, or `name-2`, `name-3` … where it is taken already; then it is taken."""
    found, number = name, 1
    while plain(found) in taken:
        number += 1
        found = f"{name}-{number}"
    taken.add(plain(found))
    return found


class ImageIndex:
    """Finds the image that a label file means."""

    def __init__(self, images: Iterable[str]) -> None:
        self.images = sorted(images)
        self._paths: dict[str, list[str]] = defaultdict(list)
        self._names: dict[str, list[str]] = defaultdict(list)
        self._bare: dict[str, list[str]] = defaultdict(list)
        for image in self.images:
            path = PurePosixPath(image)
            self._paths[plain(image)].append(image)
            stems = {path.name, path.stem, _OME.sub("", path.stem)}
            for key in {plain(stem) for stem in stems}:
                self._names[key].append(image)
            for key in {_bare(stem) for stem in stems}:
                self._bare[key].append(image)
        self._all = set(self.images)

    def __len__(self) -> int:
        return len(self.images)

    def find(self, reference: str, label: str = "") -> str | None:
        """The image meant by `reference` in the file `label`; None if there is none, or two."""
        found = self.locate(reference, label)
        return found.image if found else None

    def locate(self, reference: str, label: str = "") -> Found | None:
        """The image meant by `reference` in the file `label`, and how surely.

        Tries the path as written, beside the label file, the longest common ending, then the
        image nearest to the label file. None if there is none, or if two are equally good.
        """
        path = _path(reference)
        beside = str(PurePosixPath(label).parent / path)
        for exact in (str(path), beside):
            same = [exact] if exact in self._all else self._paths.get(plain(exact), [])
            if len(same) == 1:
                return Found(same[0], Closeness(2, 0, 0))
        stem = _SUFFIX.sub("", path.name)
        for kind, names, key in ((1, self._names, plain), (0, self._bare, _bare)):
            candidates = names.get(key(path.name)) or names.get(key(stem)) or []
            if candidates:
                return _closest(candidates, kind, path, label)
        return None

    def why_not(self, reference: str, label: str) -> str:
        """What a report says of a label file whose reference leads to no image."""
        path = _path(reference)
        stem = _SUFFIX.sub("", path.name)
        there = self._names.get(plain(path.name)) or self._names.get(plain(stem)) or []
        if len(there) > 1 and self.locate(reference, label) is None:
            return msg(
                "lists '{reference}', which may be {one} or {other}: write the folder too",
                reference=reference,
                one=there[0],
                other=there[1],
            )
        return msg("lists '{reference}', which is not there", reference=reference)

    def match(self, references: Iterable[str], label: str) -> dict[str, str]:
        """Reference -> image for all the references of one file.

        An image that several references lead to belongs to the one that it fits best; if that is
        not sure, to none: `day1/000.png` is not `day2/000.png`, though it may be the only 000.png.
        """
        claims: dict[str, list[tuple[Closeness, str]]] = defaultdict(list)
        for reference in dict.fromkeys(references):
            if found := self.locate(reference, label):
                claims[found.image].append((found.closeness, reference))
        matched = {}
        for image, claim in claims.items():
            claim.sort(reverse=True)
            if len(claim) == 1 or claim[0][0] > claim[1][0]:
                matched[claim[0][1]] = image
        return matched

    def pair(self, labels: Mapping[str, Sequence[str]]) -> Pairing:
        """Pair label files that belong to one image each.

        Args:
            labels: label file -> the names by which it may call its image, best first.
        """
        claims: dict[str, list[tuple[Closeness, str]]] = defaultdict(list)
        lost = []
        for label, references in labels.items():
            found = next((f for r in references if (f := self.locate(r, label))), None)
            if found:
                claims[found.image].append((found.closeness, label))
            else:
                lost.append(label)
        pairing = Pairing({}, lost, {}, [])
        for image, claim in sorted(claims.items()):
            claim.sort(key=lambda pair: (*(-n for n in pair[0]), pair[1]))
            if len(claim) > 1 and claim[0][0] == claim[1][0] and claim[0][0].kind == 0:
                pairing.unsure.extend(label for _, label in claim)
                continue
            pairing.files[image] = claim[0][1]
            pairing.second.update({label: image for _, label in claim[1:]})
        return pairing


class Pairing(NamedTuple):
    """What became of label files that belong to one image each.

    Attributes:
        files: image -> its label file.
        lost: label files without an image.
        second: label file -> image that has a better one.
        unsure: label files of which several fit one image by a shortened name only.
    """

    files: dict[str, str]
    lost: list[str]
    second: dict[str, str]
    unsure: list[str]

    def problems(self) -> list[tuple[str, str]]:
        """(label file, why it was not taken)."""
        found = dict.fromkeys(self.lost, msg("label without an image of that name"))
        for label, image in self.second.items():
            taken = self.files[image]
            found[label] = msg(
                "second label of {image}; {files} was taken", image=image, files=taken
            )
        found |= dict.fromkeys(
            self.unsure,
            msg("several labels differ from it by the prefix of Label Studio only: left out"),
        )
        return sorted(found.items())


def _path(reference: str) -> PurePosixPath:
    """A reference as a path; of an address (also Label Studio's ?d=) what names the file."""
    text = reference.replace("\\", "/").strip()
    if _ADDRESS.match(text) or "/local-files/?d=" in text:
        parts = urlsplit(text)
        text = parse_qs(parts.query).get("d", [unquote(parts.path)])[0]
    return PurePosixPath(text)


def _closest(candidates: list[str], kind: int, path: PurePosixPath, label: str) -> Found | None:
    scored = sorted(
        ((_closeness(kind, c, path, label), c) for c in dict.fromkeys(candidates)), reverse=True
    )
    if len(scored) > 1 and scored[0][0] == scored[1][0]:
        return None
    return Found(scored[0][1], scored[0][0])


def _closeness(kind: int, image: str, path: PurePosixPath, label: str) -> Closeness:
    end = _common_end(image, PurePosixPath(label)) if label else 0
    return Closeness(kind, _common_end(image, path), _common_start(image, label), end)


def _bare(name: str) -> str:
    """A name as Label Studio stores it, without its prefix.

    It writes _ for a blank, leaves out other signs, and quotes letters beyond ASCII in addresses.
    """
    text = plain(unquote(name)).replace(" ", "_")
    kept = "".join(c for c in text if c.isalnum() or c in "-_.")
    return _HASH.sub("", kept, count=1) if _HASH.match(kept) else kept


def _common_end(image: str, path: PurePosixPath) -> int:
    parts = list(zip(reversed(PurePosixPath(image).parts[:-1]), reversed(path.parts[:-1])))
    return next((i for i, (a, b) in enumerate(parts) if plain(a) != plain(b)), len(parts))


def _common_start(image: str, label: str) -> int:
    """How many folder names an image shares with its label file, wherever they stand."""
    image_parts, label_parts = PurePosixPath(image).parts[:-1], PurePosixPath(label).parts[:-1]
    return len({plain(p) for p in image_parts} & {plain(p) for p in label_parts})
