"""How long a model takes on this computer's processor: measured once, beside everything else.

    models/<id>/speed.json           what was found, or why nothing was
    cache/speeds-wanted/<id>.json    still to be measured (msip_core.runs.timing does)

No run waits for it, so a reader may meet a model that is still being measured.
"""

from __future__ import annotations

import json
from contextlib import suppress
from pathlib import Path
from typing import Literal, NamedTuple

from msip_core.documents import read_as
from msip_core.errors import NotFoundError
from msip_core.events import Record
from msip_core.messages import Telling, Words
from msip_core.workspace import Workspace, json_text, rewrite, write_json

SPEED_FILE = "speed.json"
State = Literal["measured", "being measured", "not measured"]


class Speed(Record, Telling):
    """Milliseconds per image of one model in PyTorch on a processor; medians.

    Attributes:
        key: what was measured and where: the same again need not be measured.
        ms: None where it could not be measured; `problem` then says why, in a sentence.
        beside_ms: of the model it was pruned from, measured in turn with it, so that whatever else
            the computer did struck both.
    """

    key: str
    imgsz: int
    threads: int | None = None
    processor: str = ""
    ms: float | None = None
    beside_ms: float | None = None
    problem: Words = ""
    made: str = ""


class Wanted(NamedTuple):
    """A model that is still to be measured.

    Attributes:
        beside: weights of the model that it was pruned from; "" for none.
        attempts: times that a measurement was begun and did not end.
    """

    model_id: str
    imgsz: int
    beside: str
    attempts: int


def ask_for_speed(
    workspace: Workspace, model_id: str, imgsz: int, beside: str = "", attempts: int = 0
) -> None:
    """Put a model on the list of those that are to be measured."""
    write_json(
        _list(workspace) / f"{model_id}.json",
        {"imgsz": imgsz, "beside": beside, "attempts": attempts},
    )


def ask_after_run(workspace: Workspace, run_dir: Path, model_id: str, imgsz: int) -> None:
    """The same for the model that a run has made, beside the unpruned one where it kept that."""
    baseline = run_dir / "iterations" / "0" / "model.pt"
    ask_for_speed(workspace, model_id, imgsz, str(baseline) if baseline.is_file() else "")


def wanted(workspace: Workspace) -> list[Wanted]:
    """What is still to be measured, longest waiting first; orders that cannot be read or whose
    model was removed are dropped."""
    files = sorted(_list(workspace).glob("[!.]*.json"), key=_changed)
    return [order for file in files if (order := _read_order(workspace, file)) is not None]


def is_wanted(workspace: Workspace, model_id: str) -> bool:
    """Whether the model is still to be measured."""
    return (_list(workspace) / f"{model_id}.json").is_file()


def write_speed(workspace: Workspace, model_id: str, speed: Speed) -> None:
    """Keep what was found, and take the model off the list; nothing if it was removed meanwhile."""
    with suppress(NotFoundError):
        rewrite(
            workspace.model_dir(model_id) / SPEED_FILE, json_text(speed.model_dump(mode="json"))
        )
    (_list(workspace) / f"{model_id}.json").unlink(missing_ok=True)


def read_speed(workspace: Workspace, model_id: str) -> Speed | None:
    """What is known of a model's speed; None before it was measured."""
    return read_as(workspace.model_dir(model_id) / SPEED_FILE, Speed)


def state_of(workspace: Workspace, model_id: str) -> State:
    """Whether the milliseconds of a model are there, will be, or will not."""
    if is_wanted(workspace, model_id):
        return "being measured"
    speed = read_speed(workspace, model_id)
    return "not measured" if speed is None or speed.ms is None else "measured"


def _list(workspace: Workspace) -> Path:
    return workspace.cache / "speeds-wanted"


def _changed(file: Path) -> float:
    try:
        return file.stat().st_mtime
    except FileNotFoundError:  # measured in this very moment
        return 0.0


def _read_order(workspace: Workspace, file: Path) -> Wanted | None:
    try:
        value = json.loads(file.read_text(encoding="utf-8"))
        order = Wanted(file.stem, int(value["imgsz"]), str(value["beside"]), int(value["attempts"]))
        known = (workspace.model_dir(order.model_id) / "model.pt").is_file()
    except FileNotFoundError:
        return None
    except (ValueError, TypeError, KeyError, OSError):
        known = False
    if not known:
        file.unlink(missing_ok=True)
        return None
    return order
