"""Finished fits that runs share: a pre-training that all rows of a study begin with, say.

<cache>/fit-<key>/state.pt       the result; key: start weights, schedule, data, versions, device
                 /result.json    its age decides what is cleared away first
"""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

from msip_core.detector.fit_state import FitState, made_with, read_state, write_state
from msip_core.errors import CheckpointError
from msip_core.workspace import write_json


class KeptFit:
    """One fit, kept under all that decides how it ends.

    Args:
        key: the fit's own fingerprint.
        device, workers: kernels differ by device, and augmentation is drawn in the workers.
    """

    def __init__(self, cache: Path, key: str, device: str, workers: int) -> None:
        facts = {"fit": key, "device": device, "workers": workers, **made_with()}
        digest = hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()
        self.key, self.folder = key, cache / f"fit-{digest[:40]}"

    def read(self) -> FitState | None:
        """The result, if a run has left it here; a damaged one counts as none and is made anew."""
        try:
            state = read_state(self.folder / "state.pt", self.key)
        except CheckpointError:
            return None
        if state is not None:
            self._touch(state)
        return state

    def write(self, state: FitState) -> None:
        """Leave the result for runs to come."""
        write_state(self.folder / "state.pt", state)
        self._touch(state)

    def _touch(self, state: FitState) -> None:
        write_json(self.folder / "result.json", {"epochs": state.epochs_done})
