"""Statistics of one network on one calibration set, gathered once for every run that needs them.

    <cache>/statistics-<key>/arrays.npz     key: kind, network, images, labels, how they are batched

All rows of a study start from one baseline and the same calibration images, so the first of them
looks at the images and later ones read what it found; a row that needs a kind that nobody gathered
yet adds just that. (Two that start in the same moment both look.) What is read equals what was
gathered to the last bit.
"""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import torch

from msip_core.arrays import ARRAYS
from msip_core.cache import ContentStore, Form, key_of
from msip_core.detector.fit_state import fingerprint, made_with
from msip_core.detector.library import DetectionModel
from msip_core.importance.calibration import CalibrationSet
from msip_core.importance.statistics import Statistics, complete, gather

_TENSORS: Form[dict[str, torch.Tensor]] = Form(
    lambda folder, values: ARRAYS.write(folder, {n: v.cpu().numpy() for n, v in values.items()}),
    # TypeError where there is text instead of numbers
    lambda folder: {n: torch.from_numpy(v) for n, v in ARRAYS.read(folder).items()},
)


def gather_once(
    model: DetectionModel, calibration: CalibrationSet, needs: frozenset[str], ctx: Any, cache: Path
) -> Statistics:
    """`gather`, except for the kinds that some run has gathered before on the same.

    Args:
        cache: folder of the workspace that holds what can be made again.
    """
    if ctx is not None:
        ctx.check_stop()
    needs = complete(needs)
    store, about = ContentStore(cache, _TENSORS), _fingerprint(model, calibration)
    keys = {kind: f"statistics-{key_of('statistics', kind, about)}" for kind in sorted(needs)}
    found = Statistics(gathered=needs, images=len(calibration))
    for kind, key in keys.items():
        found.of(kind).update(store.get(key) or {})
    missing = frozenset(kind for kind in needs if not found.of(kind))
    fresh = gather(model, calibration, missing, ctx)
    for kind in missing:
        found.of(kind).update(fresh.of(kind))
        store.keep(keys[kind], fresh.of(kind))
    return found


def _fingerprint(model: DetectionModel, calibration: CalibrationSet) -> str:
    digest = hashlib.sha256(calibration.images.cpu().numpy().tobytes())
    for rows in calibration.labels:
        digest.update(rows.numpy().tobytes())
    facts = {
        "images": digest.hexdigest(),
        "ids": calibration.ids,
        "batch": calibration.batch,
        "micro_batch": calibration.micro_batch,
        "seed": calibration.seed,
        "device": str(next(model.parameters()).device),
        **made_with(),
    }
    return fingerprint(model, facts)
