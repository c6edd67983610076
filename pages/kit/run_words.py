"""What a worker reports, in the reader's language: stages, and the sentences of a run's diary."""

from __future__ import annotations

from msip_core.language import t, told


def stage_words(stage: str | None) -> str:
    """What the run does right now."""
    return told(stage) if stage else t("starting")


def doing(iteration: int, iterations: int, stage: str | None) -> str:
    """'Step 2 of 5: fine-tuning'."""
    if not iterations or not iteration:
        return stage_words(stage)
    return t(
        "Step {n} of {total}: {stage}", n=iteration, total=iterations, stage=stage_words(stage)
    )
