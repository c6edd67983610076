"""`data versions / correct`: what was corrected in the labels of a dataset, and corrections."""

from __future__ import annotations

import getpass
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from msip_core.cli.console import SHOWN, ProgressLines, table
from msip_core.cli.verbs import Answer, Session
from msip_core.data.correcting import Saved, restore_version, save_labels
from msip_core.data.dataset import Dataset, open_dataset
from msip_core.data.drafts import Draft, drafts_of
from msip_core.data.manifest import Problem
from msip_core.data.versions import Version, history
from msip_core.errors import ConfigError, NotFoundError
from msip_core.messages import msg

if TYPE_CHECKING:
    from msip_core.data.corrected_files import Corrected

_COUNTS = ("added", "moved", "removed", "renamed")


def versions(session: Session, name: str) -> Answer:
    """Versions of a dataset's labels: who corrected what, and when."""
    dataset = open_dataset(session.workspace, name)
    found = history(dataset.root, dataset.document)
    drafts, damaged = drafts_of(dataset.root)
    rows = [
        (
            version.number,
            version.when,
            version.who or "imported",
            len(version.changes) or None,
            *(version.total(what) or None for what in _COUNTS),
            sum(version.state.boxes.values()),
            _note(version),
        )
        for version in found
    ]
    head = ("version", "when", "who", "images", "added", "moved", "removed", "renamed", "boxes")
    lines = [table((*head, "note"), rows)]
    lines += [
        f"  too late, kept as a draft: {draft.image} by {draft.who}, {draft.when} (take it over "
        f"with `data correct {name} --take {draft.id}`)"
        for draft in drafts
    ]
    lines += [f"  cannot be read: {path}" for path in damaged]
    document: dict[str, object] = {
        "dataset": name,
        "newest": dataset.labels_version,
        "versions": [version.model_dump(mode="json") for version in found],
        "drafts": [draft.model_dump(mode="json") for draft in drafts],
        "damaged_drafts": damaged,
    }
    return Answer(document, "\n".join(lines))


@dataclass(frozen=True, slots=True)
class Source:
    """Where the right labels come from: one of three."""

    from_: Annotated[
        Path | None,
        typer.Option(
            "--from",
            metavar="FILE|FOLDER",
            help="Zip or folder with images and corrected labels, in any format that `data import` "
            "reads: best what `data export` wrote and another program has saved.",
        ),
    ] = None
    restore: Annotated[
        int | None, typer.Option(min=1, metavar="N", help="Bring back the labels of version N.")
    ] = None
    take: Annotated[
        str | None,
        typer.Option(metavar="DRAFT", help="Take over a draft that `data versions` names."),
    ] = None

    def check(self) -> None:
        flags = {"--from": self.from_, "--restore": self.restore, "--take": self.take}
        asked = [flag for flag, given in flags.items() if given is not None]
        if len(asked) != 1:
            raise ConfigError(
                "Say one of --from (corrected labels), --restore (an older version) and --take (a "
                "draft); given: {asked}.",
                asked=" and ".join(asked) or msg("none"),
            )


@dataclass(frozen=True, slots=True)
class Files:
    """How corrected files are read."""

    base: Annotated[
        int | None,
        typer.Option(
            min=1,
            metavar="N",
            help="With --from: the version that was corrected. Images that somebody else has "
            "corrected since stay as they are, and yours are kept as drafts.",
            show_default="the one that the files name, else the newest",
        ),
    ] = None
    map_: Annotated[
        list[str] | None,
        typer.Option("--map", metavar="OLD=NEW", help="With --from: rename classes; OLD= drops."),
    ] = None
    new_class: Annotated[
        list[str] | None,
        typer.Option(metavar="NAME", help="With --from: a class that the dataset does not have."),
    ] = None


def correct(
    session: Session,
    *,
    name: str,
    source: Source,
    by: Annotated[
        str | None,
        typer.Option(metavar="NAME", help="Who corrects.", show_default="the user's name here"),
    ] = None,
    note: Annotated[str, typer.Option(help="Why, for the history.")] = "",
    files: Files,
) -> Answer:
    """Correct labels: each correction is a new version, and older ones can be brought back."""
    source.check()
    workspace, who = session.workspace, by or getpass.getuser()
    passed_over: Sequence[Problem] = ()
    if source.restore is not None:
        saved = Saved(restore_version(workspace, name, source.restore, who=who, note=note), ())
    elif source.take is not None:
        dataset = open_dataset(workspace, name)
        draft = _draft(dataset.root, source.take)
        saved = save_labels(
            workspace, name, {draft.image: draft.boxes}, seen=dataset.labels_version, who=who,
            note=note, classes=max(dataset.classes, draft.classes, key=len), draft=draft.id,
        )  # fmt: skip
    else:
        dataset = open_dataset(workspace, name)
        found = _read(dataset, source.from_ or Path(), files)
        passed_over = found.passed_over
        saved = save_labels(
            workspace, name, found.boxes, seen=files.base or found.seen or dataset.labels_version,
            who=who, note=note, classes=found.classes,
        )  # fmt: skip
    return _told(name, saved, passed_over)


def _read(dataset: Dataset, source: Path, files: Files) -> Corrected:
    from msip_core.data.corrected_files import read_corrected

    return read_corrected(
        dataset,
        source,
        class_map=parse_class_map(files.map_ or []),
        new_classes=files.new_class or (),
        progress=ProgressLines(),
    )


def _draft(root: Path, wanted: str) -> Draft:
    drafts, _ = drafts_of(root)
    for draft in drafts:
        if draft.id == wanted:
            return draft
    there = ", ".join(draft.id for draft in drafts) or "none"
    raise NotFoundError(
        "There is no draft '{wanted}' (there: {there}).", wanted=wanted, there=there
    )


def _told(name: str, saved: Saved, passed_over: Sequence[Problem]) -> Answer:
    version = saved.version
    if version is None:
        lines = ["Nothing differs from the labels that are there: no version was made."]
    else:
        counts = ", ".join(f"{version.total(what)} {what}" for what in _COUNTS)
        lines = [
            f"Saved as version {version.number} of '{name}' by {version.who}: "
            f"{len(version.changes)} images, boxes {counts}."
        ]
    lines += [
        f"  too late: {draft.image} was corrected by somebody else after version {draft.seen}; "
        f"yours is kept as draft {draft.id} (--take)"
        for draft in saved.late
    ]
    lines += named("passed over", passed_over)
    document = {
        "dataset": name,
        "version": version.model_dump(mode="json") if version else None,
        "late": [draft.model_dump(mode="json") for draft in saved.late],
        "passed_over": [problem.model_dump(mode="json") for problem in passed_over],
    }
    return Answer(document, "\n".join(lines))


def named(what: str, problems: Sequence[Problem]) -> list[str]:
    """What became of files, a line each."""
    lines = [f"  {what}: {problem.file}: {problem.what}" for problem in problems[:SHOWN]]
    more = len(problems) - SHOWN
    return [*lines, f"  … and {more} more {what} (all with --json)"] if more > 0 else lines


def _note(version: Version) -> str:
    back = f"back to {version.back_to}" if version.back_to else ""
    return "; ".join(filter(None, (back, version.note)))


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
                "'{part}' does not map a class: write --map old=new, or old= to drop a class.",
                part=part,
            )
        if old in pairs:
            raise ConfigError("The class '{old}' is mapped twice.", old=old)
        pairs[old] = new or None
    return pairs
