"""A count that is answered at once, in the process that asks."""

from __future__ import annotations

from msip_core.data.archive import joined_tree
from msip_core.events import Payload, ProgressRecord
from msip_core.plates.counting import run
from msip_core.plates.folder import PLAN_FILE
from msip_core.plates.plan import plan_count
from msip_core.questions.base import Job
from msip_core.questions.detecting import Count, Counted
from msip_core.workspace import write_json, write_text


def count(question: Count, at: Job) -> Counted:
    """Count; the folder of the answer is then as that of a run that counted.

    Raises:
        NotFoundError, DatasetError: nothing is there, or nothing can be read.
    """
    config, at_work = question.config, _AtWork(at)
    write_json(at.out / "config.json", config.model_dump(mode="json"))
    tree = joined_tree(question.paths) if question.paths else None
    plan = plan_count(at.workspace, config, at.out, tree)
    write_text(at.out / PLAN_FILE, plan.model_dump_json())
    run(config, at_work)
    return Counted(pictures=len(plan.items))


class _AtWork:
    """The RunContext (`events`) of a job: who cancels it is asked when progress is told."""

    def __init__(self, at: Job) -> None:
        self.run_id, self.run_dir, self.workspace = at.out.name, at.out, at.workspace
        self._at = at

    def emit(self, record: Payload) -> None:
        if isinstance(record, ProgressRecord):
            self._at.progress(record.done, record.message)

    def check_stop(self) -> None: ...
