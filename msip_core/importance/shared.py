"""Statistics of one network on one calibration set, gathered once for every run that needs them.

    <cache>/statistics-<key>/<kind>.npz     key: network, images, labels, how they are batched
                            /result.json    how many images; its age decides what is cleared away

All rows of a study start from one baseline and the same calibration images, so the first of them
looks at the images and later ones read what it found; a row that needs a kind that nobody gathered
yet adds just that. (Two that start in the same moment both look.) What is read equals what was
gathered to the last bit.
"""

from __future__ import annotations

import hashlib
import os
from pathlib import Path
from typing import Any

import numpy as np
import torch

from msip_core.arrays import DamagedArraysError, read_arrays
from msip_core.detector.fit_state import fingerprint, made_with
from msip_core.detector.library import DetectionModel
from msip_core.importance.calibration import CalibrationSet
from msip_core.importance.statistics import Statistics, complete, gather
from msip_core.workspace import atomic_path, write_json


def gather_once(
    model: DetectionModel,
    calibration: CalibrationSet,
    needs: frozenset[str],
    ctx: Any,
    cache: Path,
) -> Statistics:
    """`gather`, except for the kinds that some run has gathered before on the same.

    Args:
        cache: folder of the workspace that holds what can be made again.
    """
    if ctx is not None:
        ctx.check_stop()
    needs = complete(needs)
    folder = cache / f"statistics-{_key(model, calibration)}"
    found = Statistics(gathered=needs, images=len(calibration))
    for kind in needs:
        if _file(folder, kind).is_file():
            found.of(kind).update(_read(_file(folder, kind)))
    missing = frozenset(kind for kind in needs if not found.of(kind))
    fresh = gather(model, calibration, missing, ctx)
    for kind in missing:
        found.of(kind).update(fresh.of(kind))
        _write(_file(folder, kind), fresh.of(kind))
    # Its age decides what is cleared away first.
    write_json(folder / "result.json", {"images": len(calibration)})
    return found


def _file(folder: Path, kind: str) -> Path:
    return folder / f"{kind}.npz"


def _write(path: Path, values: dict[str, torch.Tensor]) -> None:
    arrays: dict[str, Any] = {name: value.cpu().numpy() for name, value in values.items()}
    with atomic_path(path) as temporary, temporary.open("wb") as file:
        np.savez(file, **arrays)
        file.flush()
        os.fsync(file.fileno())


def _read(path: Path) -> dict[str, torch.Tensor]:
    """What was kept; nothing where the file is damaged, so that it is gathered and kept anew."""
    try:
        return {name: torch.from_numpy(value) for name, value in read_arrays(path).items()}
    except (DamagedArraysError, TypeError):  # TypeError: text where numbers should be
        return {}


def _key(model: DetectionModel, calibration: CalibrationSet) -> str:
    digest = hashlib.sha256(calibration.images.cpu().numpy().tobytes())
    for rows in calibration.labels:
        digest.update(rows.numpy().tobytes())
    facts = {
        "images": digest.hexdigest(), "ids": calibration.ids, "batch": calibration.batch,
        "micro_batch": calibration.micro_batch, "seed": calibration.seed,
        "device": str(next(model.parameters()).device), **made_with(),
    }  # fmt: skip
    return fingerprint(model, facts)[:40]
