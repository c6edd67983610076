"""Wells of plates: which images are of one well, also where several plates have a well A01."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from msip_core.data.image_name import ImageName
from msip_core.data.plate_words import DATE
from msip_core.data.well_words import doubtful, maybe_wells
from msip_core.messages import msg

_SHOWN = 4


@dataclass(frozen=True, slots=True)
class Well:
    """One well of one plate. `plate` is "" where names tell of one plate only."""

    plate: str
    name: str

    @property
    def label(self) -> str:
        """Such as "plate 2 well A01", "2021-03-04 well A01", "position 3"."""
        # Joined, not a template: a file called "well A01.png" is no sentence to be translated.
        word = [] if " " in self.name else ["well"]
        return " ".join([*([self.plate] if self.plate else []), *word, self.name])


def plain_well(row: object, column: object) -> str | None:
    """Row and column that count from 0 -> "B03"; None beyond the largest plate."""
    try:
        at, col = int(str(row)), int(str(column))
    except ValueError:
        return None
    if not (0 <= at < 32 and 0 <= col < 48):
        return None
    letters = chr(65 + at) if at < 26 else "A" + chr(65 + at - 26)
    return f"{letters}{col + 1:02d}"


def place_wells(names: Sequence[ImageName], *, sure: bool) -> list[Well | None]:
    """The well of each image, None where its name tells none.

    A plate is told by its name, its barcode, or its folder. Folders and the text before a well
    tell plates apart only where one of their fields would else be there twice: crypt/A01_f1 and
    no_crypt/A01_f2 are of one well, but exp3/A01_f1 and exp4/A01_f1 cannot be; day 3/A01_f1 and
    day 5/A01_f1 are counted apart.

    Args:
        sure: for the parts of a split, where one well must not lie in two groups: text before the
            well (a day, a stain) and dates in folders tell nothing then.
    """
    if sure:
        names = [replace(name, folders=_undated(name.folders)) for name in names]
    use_folders = _tell_apart(names, lambda name: name.folders)
    use_days = not sure and _tell_apart(names, lambda name: name.day, within_folders=use_folders)
    use_leads = not sure and _tell_apart(names, lambda name: name.lead, within_folders=use_folders)
    wells: list[Well | None] = []
    for name in names:
        if name.well is None:
            wells.append(None)
            continue
        parts = [name.folders] if use_folders and name.folders else []
        parts += [name.day] if use_days and name.day else []
        if use_leads and name.lead:
            parts.append(name.lead)
        told = any(name.plate.lower() in part.lower() for part in parts) if name.plate else True
        if name.plate and not told:
            parts.append(f"plate {name.plate}")
        if len(parts) == 1 and name.plate and _is_only_plate(parts[0], name.plate):
            parts = [f"plate {name.plate}"]
        wells.append(Well("/".join(parts), name.well))
    return wells


def _undated(folders: str) -> str:
    return "/".join(filter(None, (DATE.sub("", part).strip("-_ .") for part in folders.split("/"))))


def _is_only_plate(text: str, plate: str) -> bool:
    """`plate1` and `Plate 01`, but not `exp1/plate1`."""
    return text.lower().replace("plate", "").strip("-_ 0") == plate.lower()


def _tell_apart(
    names: Sequence[ImageName], text: Callable[[ImageName], str], *, within_folders: bool = False
) -> bool:
    """Whether one and the same plane of one field of one well stands at two of these texts."""
    seen: defaultdict[tuple[str | None, ...], set[str]] = defaultdict(set)
    for name in names:
        if name.well is not None:
            folder = name.folders if within_folders else ""
            key = (folder, name.plate, name.well, name.rest, name.z, name.time, name.channel,
                   name.version)  # fmt: skip
            seen[key].add(text(name))
    return any(len(texts) > 1 for texts in seen.values())


def wells_taken(names: Sequence[ImageName]) -> str:
    """What was taken for wells, in one sentence, and what to do if these are none; "" if none was,
    and none may be one."""
    found = sorted({name.well for name in names if name.well})
    if not found:
        word = maybe_wells([name.field for name in names])
        return (
            msg(
                "No image was taken for one of a well: words such as {word} may be wells, in a way "
                "of writing that is not sure. Call them A01, or give a group pattern.",
                word=word,
            )
            if word
            else ""
        )
    shown = ", ".join(found if len(found) <= _SHOWN else [*found[: _SHOWN - 1], "…", found[-1]])
    schemes = sorted({name.scheme for name in names if name.well and name.scheme})
    if not schemes and doubtful(found):
        return msg(
            "Taken for wells: {shown}. These may be days, fields or passages instead: then give a "
            "group pattern whose brackets stand around the part of a name that tells the well.",
            shown=shown,
        )
    if schemes:
        return msg(
            "Taken for wells: {shown} (names as {schemes} writes them).",
            shown=shown,
            schemes=list(schemes),
        )
    return msg("Taken for wells: {shown}. If these are none, give a group pattern.", shown=shown)
