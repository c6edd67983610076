"""What an interrupted fit needs to end exactly like an unbroken one.

    state.pt   after every epoch: raw weights, their running average, optimizer, parts of an extra
               loss, best so far; after the last: only the result

Ultralytics' own resume restores the averaged weights only, so it ends elsewhere. The random
numbers need no saving: every epoch starts from a seed made of (seed, phase, iteration, epoch).
"""

from __future__ import annotations

import hashlib
import io
import json
import os
import random
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, fields
from importlib.metadata import version
from pathlib import Path

import numpy as np
import torch

import msip_core
from msip_core.cache import Form
from msip_core.detector.archives import read_plain
from msip_core.detector.library import DetectionModel
from msip_core.errors import CheckpointError
from msip_core.messages import joined, msg
from msip_core.workspace import atomic_path

Weights = dict[str, torch.Tensor]
_FILE = "state.pt"  # of kept ones


@dataclass
class FitState:
    """One moment between two epochs.

    Attributes:
        key: fingerprint of all that decides the outcome; another key starts anew.
        epochs_done: finished epochs.
        gains: of box, cls and dfl loss, where they were measured at the start.
        extra: trainable parts of an extra loss (adapters to a teacher).
        metrics: of `best` on validation, as Metrics.model_dump(); None if not validated.
        best: averaged weights of the best epoch (the only weights once `finished`).
    """

    key: str
    epochs_done: int = 0
    seconds: float = 0.0
    finished: bool = False
    model: Weights | None = None
    ema: Weights | None = None
    ema_updates: int = 0
    optimizer: dict[str, object] | None = None
    gains: tuple[float, float, float] | None = None
    extra: Weights | None = None
    best: Weights | None = None
    metrics: dict[str, object] | None = None


def write_state(path: Path, state: FitState) -> None:
    """Write atomically and to the disk: a power cut costs at most one epoch."""
    content = io.BytesIO()  # of a full disk torch would only say "unexpected pos"
    torch.save(vars(state), content)
    with atomic_path(path) as temporary, temporary.open("wb") as file:
        file.write(content.getbuffer())
        file.flush()
        os.fsync(file.fileno())


def read_state(path: Path, key: str) -> FitState | None:
    """The state under this key, or None where there is none (or one of another fit).

    Raises:
        CheckpointError: the file is damaged, or holds more than numbers in plain containers.
    """
    if not path.is_file():
        return None
    state = _read(path)
    return state if state.key == key else None


def _read(path: Path) -> FitState:
    try:
        content = read_plain(path)
    except CheckpointError as error:
        raise type(error)(joined(" ", (error.message, _again(path)))) from error
    known = {field.name for field in fields(FitState)}
    if not isinstance(content, dict) or not {"key"} <= set(content) <= known:
        raise CheckpointError(
            "{name} is no state of a training. {again}", name=path.name, again=_again(path)
        )
    return FitState(**content)


def _again(path: Path) -> str:
    return msg(
        "To train from the start of this phase, delete the folder {parent}.", parent=path.parent
    )


# How finished fits are kept, for runs that begin alike (a study's rows with one pre-training).
FITS: Form[FitState] = Form(
    lambda folder, state: write_state(folder / _FILE, state), lambda folder: _read(folder / _FILE)
)


def fingerprint(model: DetectionModel, facts: Mapping[str, object]) -> str:
    """SHA-256 over the start weights and everything else that decides how a fit ends."""
    digest = hashlib.sha256(json.dumps(facts, sort_keys=True, default=str).encode())
    for name, value in model.state_dict().items():
        digest.update(f"{name}{tuple(value.shape)}".encode())
        digest.update(value.detach().cpu().contiguous().numpy().tobytes())
    return digest.hexdigest()


def made_with() -> dict[str, str]:
    """Versions that decide what equal work gives: part of the key of whatever runs share."""
    return {
        "msip_lab": msip_core.__version__,
        "torch": torch.__version__,
        "ultralytics": version("ultralytics"),
    }


def seed_from(*parts: object) -> int:
    """A 63-bit seed made of these parts, the same on every computer."""
    digest = hashlib.sha256("|".join(map(str, parts)).encode()).digest()
    return int.from_bytes(digest[:8], "big") >> 1


def seed_everything(seed: int) -> None:
    """Seed Python, NumPy and torch (all devices)."""
    random.seed(seed)
    np.random.seed(seed % 2**32)
    torch.manual_seed(seed)


@contextmanager
def random_state_kept() -> Iterator[None]:
    """Leave the caller's random numbers as they were."""
    python, numpy, cpu = random.getstate(), np.random.get_state(), torch.get_rng_state()
    try:
        yield
    finally:
        random.setstate(python)
        np.random.set_state(numpy)
        torch.set_rng_state(cpu)


def copied(weights: Weights) -> Weights:
    """A copy on the CPU that later training cannot change."""
    return {name: value.detach().cpu().clone() for name, value in weights.items()}
