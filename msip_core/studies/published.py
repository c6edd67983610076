"""What the paper (`PAPER`) prints, to stand beside what we find.

It gives no seeds and no intervals, and its 2,500 micrographs are not public: its numbers and ours
are of different images.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from msip_core.messages import msg
from msip_core.studies.plan import BASELINE

PAPER = msg(
    "Tables and sections are numbered as in the paper of MSIP: Fang Yuebing (Southeast "
    "University), “YOLOv8 optimisation for crypt classification of intestinal organoids: "
    "multi-strategy importance pruning”, in Chinese."
)


class Published(NamedTuple):
    """One row of a published table; None where it does not say."""

    map50: float
    gmacs: float
    size_mb: float | None = None
    ms: float | None = None
    mparams: float | None = None


_BASELINE = Published(0.83, 14.27, 21.5, 7.5, 11.2)
PUBLISHED: Mapping[str, Mapping[str, Published]] = {
    "table-3-1": {
        BASELINE: _BASELINE,
        "l2": Published(0.80, 4.80, 7.2, 4.6, 3.8),
        "lamp": Published(0.81, 4.79, 7.1, 4.5, 3.7),
        "bnscale": Published(0.81, 4.81, 7.3, 4.6, 3.8),
        "slim": Published(0.80, 4.82, 7.4, 4.7, 3.9),
        "fpgm": Published(0.81, 4.80, 7.2, 4.6, 3.8),
        "msip": Published(0.86, 4.78, 7.0, 4.4, 3.7),
    },
    "table-3-2": {
        BASELINE: _BASELINE,
        "gradient-only": Published(0.81, 4.80, 7.2),
        "geometry-only": Published(0.80, 4.79, 7.1),
        "sparsity-only": Published(0.79, 4.78, 7.0),
        "information-only": Published(0.80, 4.79, 7.1),
        "equal-weights": Published(0.82, 4.79, 7.1),
        "msip": Published(0.86, 4.78, 7.0),
        "no-threshold": Published(0.82, 4.80, 7.2),
        "no-finetune": Published(0.75, 4.78, 7.0),
        "half-epochs": Published(0.81, 4.78, 7.0),
    },
    "table-3-3": {
        BASELINE: _BASELINE,
        "static": Published(0.84, 4.78),
        "dynamic": Published(0.86, 4.78),
        "gradient-heavy": Published(0.85, 4.79),
    },
    "analysis": {BASELINE: _BASELINE, "msip": Published(0.86, 4.78, 7.0, 4.4, 3.7)},
}
# In the order of the paper's text; our literal scheme is the one it describes, and ours stands
# under the name that it gives the method.
SOURCES: Mapping[str, str] = {
    "table-3-1": "Table 3-1",
    "table-3-2": "Table 3-2",
    "table-3-3": "Table 3-3",
    "analysis": "section 3.5",
}
