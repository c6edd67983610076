"""What a worker reports, in the reader's language: stages, and the sentences of a run's diary."""

from __future__ import annotations

from msip_core.language import mark, say, t

# msip_core.events.Stage
STAGES = (
    mark("preparing"),
    mark("training"),
    mark("baseline evaluation"),
    mark("pre-training"),
    mark("importance"),
    mark("pruning"),
    mark("evaluation before fine-tuning"),
    mark("fine-tuning"),
    mark("evaluation after"),
    mark("final test"),
    mark("saving and checking"),
)

# Beginnings of the diary's lines about a change of state (RunService.milestones).
_CHANGES = (
    mark("Waiting in the queue."),
    mark("Queued again."),
    mark("A worker started."),
    mark("Asked to pause."),
    mark("Paused."),
    mark("Asked to cancel."),
    mark("Cancelled."),
    mark("Completed: the saved model was loaded again and gave the same outputs."),
    mark("Failed."),
    mark("Interrupted."),
)


def stage_words(stage: str | None) -> str:
    """What the run does right now."""
    return t(stage) if stage else t("starting")


def doing(iteration: int, iterations: int, stage: str | None) -> str:
    """'Step 2 of 5: fine-tuning'."""
    if not iterations or not iteration:
        return stage_words(stage)
    return t(
        "Step {n} of {total}: {stage}", n=iteration, total=iterations, stage=stage_words(stage)
    )


def diary_words(message: str) -> str:
    """One line of the diary: the change of state, and its reason where it has one."""
    for known in _CHANGES:
        if message == known:
            return t(known)
        if message.startswith(f"{known} "):
            return f"{t(known)} {say(message.removeprefix(known).strip())}"
    return say(message)
