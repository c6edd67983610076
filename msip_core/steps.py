"""The steps of a pruning run, in one table. No torch.

`Iteration.run` does them, the clock plans them, a resumed run skips those whose marks are there and
the tables sum their seconds, all by this.
"""

from __future__ import annotations

from dataclasses import dataclass

from msip_core.events import Stage


@dataclass(frozen=True)
class Step:
    """One step.

    Attributes:
        name: in the plan of the clock.
        stage: as events tell it and pages show it; it also seeds what the step draws.
        marks: files below the folder of its iteration (of the run, where it is done once) that are
            all there once it is done; the first one holds what it found.
        leaves: files there that only a resume needs: they go with the end of the iteration.
        seconds: column that its time is summed in.
    """

    name: str
    stage: Stage = Stage.PREPARING
    marks: tuple[str, ...] = ()
    leaves: tuple[str, ...] = ()
    seconds: str = ""

    @property
    def mark(self) -> str:
        """The file that holds what it found."""
        return self.marks[0]


# Done once. The first two belong to goals in milliseconds.
LAYERS = Step("time single layers")
MULTIPLE = Step("choose the multiple of channels")
BASELINE = Step("evaluate the baseline", Stage.BASELINE, ("baseline.json",))
PRETRAINING = Step("pre-train", Stage.PRETRAINING, ("reference.json",))  # in iterations/0
SEARCHING = Step("search ratios", Stage.SEARCHING, ("search/allocation.json",))
TESTING = Step("test and save", Stage.TESTING, ("final.json",))

# Done in every iteration, in this order.
BLOCKS = Step("choose blocks", Stage.IMPORTANCE, ("blocks.json",), seconds="importance")
SCORING = Step("score channels", Stage.IMPORTANCE, ("importance.json",), seconds="importance")
CUTTING = Step(
    "cut", Stage.PRUNING, ("cut.json", "kept.npz"), ("cut.pt", "kept.npz"), seconds="pruning"
)
REPAIRING = Step(
    "repair", Stage.EVALUATION_BEFORE, ("pruned.json",), ("pruned.pt",), seconds="evaluation"
)
TUNING = Step("fine-tune", Stage.FINETUNING, seconds="finetuning")  # goes on by epochs
MEASURING = Step("measure", Stage.EVALUATION_AFTER, ("metrics.json",), seconds="evaluation")
ITERATION = (BLOCKS, SCORING, CUTTING, REPAIRING, TUNING, MEASURING)

# Columns of `IterationRecord.seconds`.
SECONDS = tuple(dict.fromkeys(step.seconds for step in ITERATION))
