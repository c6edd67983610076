"""Pruning runs looked at in advance, as jobs of the compute process."""

from __future__ import annotations

from msip_core.messages import msg
from msip_core.pruning import estimate as estimating
from msip_core.pruning import preview as previewing
from msip_core.questions.base import Job
from msip_core.questions.planning import Effort, Estimate, PlannedCut, Preview


def estimate(question: Estimate, at: Job) -> Effort:
    at.progress(0.0, msg("Measuring a few steps on this computer"))
    return estimating.estimate(question.config, at.workspace)


def preview(question: Preview, at: Job) -> PlannedCut:
    return previewing.preview(question.config, at.workspace, at.progress)
