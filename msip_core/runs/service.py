"""What pages and the command line ask about runs. Holds no state of its own: ids in, facts out."""

from __future__ import annotations

import builtins  # `list` is also the name of a method below
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from msip_core.config import AnyRun
from msip_core.errors import IllegalTransitionError, NotFoundError, WorkError
from msip_core.events import (
    BaselineRecord,
    CountedRecord,
    EpochRecord,
    FinalRecord,
    IterationRecord,
)
from msip_core.label_versions import newest_version
from msip_core.messages import Message, joined, msg
from msip_core.runs.events_log import Event, EventLog, Line
from msip_core.runs.executors import LOG_FILE
from msip_core.runs.folding import CONFIG_FILE
from msip_core.runs.inputs import check_disk, check_inputs
from msip_core.runs.settling import is_supervised, settle
from msip_core.runs.slots import is_gpu
from msip_core.runs.state import ACTIONS, WITH_WORKER, Action, RunState, target_of
from msip_core.runs.store import Found, RunRow, RunStore, unknown_run
from msip_core.runs.summary import Summary, summary_document
from msip_core.runs.supervisor import request_stop
from msip_core.runs.tail import last_lines
from msip_core.titles import checked_title
from msip_core.workspace import (
    Workspace,
    clear_away,
    new_id,
    taken_away,
    uploads_named,
    whole_folder,
    write_json,
)

_REQUESTS = {RunState.PAUSING: "pause", RunState.CANCELLING: "cancel"}


@dataclass(frozen=True, slots=True)
class Milestone:
    """One line of a run's diary; `time` is seconds since 1970."""

    time: float
    message: str
    level: str  # "info" or "warning"


class RunService:
    """The runs of one workspace. Safe to use from several threads and processes."""

    def __init__(self, workspace: Workspace) -> None:
        self.workspace = workspace
        self.store = RunStore(workspace)

    @classmethod
    def rebuild_index(cls, workspace: Workspace) -> Found:
        """Build the index from the run folders, whatever state it is in."""
        return RunStore(workspace, opened=False).reindex()

    # --- asking for work ------------------------------------------------------

    def submit(
        self, config: AnyRun, name: str | None = None, *, run_id: str | None = None, by: str = ""
    ) -> str:
        """Put a run into the queue; a supervisor (server or foreground command) takes it up.

        Args:
            run_id: of a caller that must find its run again; a run that is there already is left
                as it is.
            by: who asks for it, "" where nobody signs in.

        Raises:
            DatasetError, NotFoundError, ConfigError: dataset or model is not there, or strategies
            were chosen that do not go together. DiskFullError: too little room for any run.
        """
        check_inputs(self.workspace, config)
        if name:
            config = config.model_copy(update={"name": name})
        if config.dataset and config.dataset_version is None:
            # A run that waits or is resumed must not learn from what is corrected meanwhile.
            newest = newest_version(self.workspace.dataset_dir(config.dataset))
            config = config.model_copy(update={"dataset_version": newest})
        if run_id is None:
            check_disk(self.workspace)  # a study's run is there first, and then says so itself
            run_id = self._unused_id(config.kind)
        elif (self.workspace.run_dir(run_id) / CONFIG_FILE).is_file():
            return run_id
        elif (folder := self.workspace.run_dir(run_id)).exists():
            raise WorkError(
                "{folder} is in the way of a run: it holds no {config} any more. Restore that from "
                "a backup or move the folder away, then try again.",
                folder=folder,
                config=CONFIG_FILE,
            )
        asked = {"kind": "state", "state": RunState.QUEUED.value, "before": None}
        with whole_folder(self.workspace.run_dir(run_id)) as draft:
            write_json(draft / CONFIG_FILE, config.model_dump(mode="json"))
            EventLog(draft).append(asked | ({"by": by} if by else {}))
        self.store.add(run_id)
        return run_id

    def _unused_id(self, kind: str) -> str:
        run_id = new_id(kind)
        while self.workspace.run_dir(run_id).exists():
            run_id = new_id(kind)
        return run_id

    def repeat(self, run_id: str) -> str:
        """A new run with the very same settings and seed."""
        row = self.get(run_id)
        return self.submit(row.config, row.name)

    def rename(self, run_id: str, title: str) -> str:
        """Call a run otherwise, and return what it is called; its id and settings stay.

        Raises:
            NotFoundError: there is no such run; InputError: it can be no title.
        """
        log, name = self._log(run_id), checked_title(title)
        log.append({"kind": "renamed", "name": name})
        self._sync(run_id)
        return name

    def actions(self, run_id: str) -> tuple[Action, ...]:
        """What a person may ask of the run now."""
        self._settle_one(run_id)
        return tuple(ACTIONS.get(self._log(run_id).state(), {}))

    def act(self, run_id: str, action: Action) -> RunState:
        """Pause, resume or cancel; returns the state the run is in then.

        Raises:
            IllegalTransitionError: the run is in no state for that.
        """
        log = self._log(run_id)
        self._sync(run_id)
        while True:
            state = log.state()
            target = target_of(state, action)
            try:
                self.store.transition(run_id, target, expected=[state])
                break
            except IllegalTransitionError:
                # The worker moved on between look and write: judge again by the state of now.
                if log.state() is state:
                    raise
        if target in _REQUESTS:
            request_stop(log.path.parent, _REQUESTS[target])
        return target

    # --- looking --------------------------------------------------------------

    def list(
        self,
        limit: int = 50,
        offset: int = 0,
        states: Collection[RunState] | None = None,
        kind: str | None = None,
        of_studies: bool | None = None,
    ) -> builtins.list[RunRow]:
        """A page of runs, newest first; only those of studies (True), without them (False)."""
        self.store.adopt_folders()
        self.store.sync_several()
        self._settle(self.store.ids(WITH_WORKER))
        return self.store.rows(
            limit=limit, offset=offset, states=states, kind=kind, of_studies=of_studies
        )

    def count(
        self,
        states: Collection[RunState] | None = None,
        kind: str | None = None,
        of_studies: bool | None = None,
    ) -> int:
        """How many runs there are (in these states, of this kind, of studies or not)."""
        return self.store.count(states, kind, of_studies)

    def asked_by(self, run_id: str) -> str:
        """Who asked for the run, "" where that is not known."""
        first = next(filter(None, (line.event for line in self._log(run_id).lines())), {})
        return str(first.get("by") or "")

    def get(self, run_id: str) -> RunRow:
        """One run as it is now, or NotFoundError."""
        self._sync(run_id)
        return self.store.row(run_id)

    def several(self, run_ids: Collection[str]) -> dict[str, RunRow]:
        """Those of these runs that the index can show, as they are now. It is asked once for all,
        not once for each as by `get`."""
        self.store.sync_several(run_ids)
        self._settle([run_id for run_id in self.store.ids(WITH_WORKER) if run_id in run_ids])
        rows = self.store.rows(run_ids=run_ids)
        return {row.id: row for row in rows if self._is_there(row.id)}

    def left_out(self) -> tuple[str, ...]:
        """Folders below runs/ that are no runs we can read, each with the reason."""
        return self.store.adopt_folders()

    def is_supervised(self) -> bool:
        """Whether a server or a command works on this workspace, so that queued runs begin."""
        return is_supervised(self.workspace)

    def baseline(self, run_id: str) -> BaselineRecord | None:
        found = self._records(run_id, "baseline")
        return BaselineRecord.model_validate(found[-1]) if found else None

    def iterations(self, run_id: str) -> builtins.list[IterationRecord]:
        """Finished iterations by index."""
        found = (IterationRecord.model_validate(e) for e in self._records(run_id, "iteration"))
        return sorted(found, key=lambda record: record.index)

    def epochs(self, run_id: str) -> builtins.list[EpochRecord]:
        """Epochs in the order of the work; one repeated after a resume is there once."""
        return [EpochRecord.model_validate(e) for e in self._records(run_id, "epoch")]

    def final(self, run_id: str) -> FinalRecord | None:
        found = self._records(run_id, "final")
        return FinalRecord.model_validate(found[-1]) if found else None

    def counted(self, run_id: str) -> builtins.list[CountedRecord]:
        """What a count found, for each of its models; empty before it is done."""
        return [CountedRecord.model_validate(e) for e in self._records(run_id, "counted")]

    def milestones(self, run_id: str) -> builtins.list[Milestone]:
        """The diary of the run: what the work said, and each change of state with its reason."""
        found = []
        counts = bool(self._records(run_id, "counted"))
        for event in self._records(run_id, "milestone", "state"):
            if event["kind"] == "state":
                found.append(_state_milestone(event, counts=counts))
            else:
                level = event.get("level", "info")
                found.append(Milestone(event["time"], event["message"], level))
        if damaged := self.store.row(run_id).damaged:
            found.append(_of_damage(damaged, found))
        return found

    def log_tail(self, run_id: str, lines: int = 200) -> str:
        """The end of log.txt."""
        return last_lines(self.run_dir(run_id) / LOG_FILE, lines)

    def events(self, run_id: str) -> builtins.list[Event]:
        """The raw history."""
        return self._log(run_id).read()

    def lines(self, run_id: str, offset: int = 0) -> Iterator[Line]:
        """The history behind a byte offset, one by one."""
        return self._log(run_id).lines(offset)

    def run_dir(self, run_id: str) -> Path:
        """The run's folder, or NotFoundError."""
        if not self._is_there(run_id):
            raise unknown_run(run_id)
        return self.workspace.run_dir(run_id)

    # --- giving away ----------------------------------------------------------

    def summary_document(self, run_id: str) -> Summary:
        """The JSON that `prune --json` and `runs show --json` promise."""
        return summary_document(
            self.workspace,
            self.get(run_id),
            self.baseline(run_id),
            self.iterations(run_id),
            self.final(run_id),
            counted=self.counted(run_id),
        )

    def export(
        self,
        run_id: str,
        out_zip: Path,
        *,
        with_images: bool = True,
        texts: Mapping[str, str] | None = None,
    ) -> Path:
        """One zip with everything needed to repeat the run; see msip_core.runs.bundle."""
        from msip_core.runs.bundle import export_run

        return export_run(
            self.workspace,
            self.get(run_id),
            self.final(run_id),
            out_zip,
            with_images=with_images,
            texts=texts or {},
        )

    def reindex(self) -> Found:
        """Build the index again from the run folders."""
        return self.store.reindex()

    def delete(self, run_id: str) -> None:
        """Remove a run that has no worker, with its folder and the uploads that it alone looked at;
        its models stay.

        Raises:
            IllegalTransitionError: it still runs: cancel it first.
        """
        folder = self.run_dir(run_id)
        self._settle_one(run_id)
        state = EventLog(folder).state()
        if state.has_worker or state is RunState.QUEUED:
            raise IllegalTransitionError(
                "This run is {state}: cancel it before you delete it.", state=state
            )
        gone = taken_away(folder)
        self.store.forget(run_id)
        uploads = uploads_named(gone / CONFIG_FILE)
        for name in uploads:
            self.workspace.clear_upload(self.workspace.uploads / name)
        clear_away(gone)

    def _is_there(self, run_id: str) -> bool:
        return (self.workspace.run_dir(run_id) / CONFIG_FILE).is_file()

    def _log(self, run_id: str) -> EventLog:
        return EventLog(self.run_dir(run_id))

    def _records(self, run_id: str, *kinds: str) -> builtins.list[Event]:
        self._sync(run_id)
        return self.store.records(run_id, *kinds)

    def _sync(self, run_id: str) -> None:
        try:
            self.store.sync(run_id)
        except NotFoundError:
            self.run_dir(run_id)
            self.store.adopt_folders()  # a folder that was copied into the workspace
            if why := self.store.why_left_out(run_id):
                raise NotFoundError(
                    "The run {run_id} cannot be read: {why}", run_id=run_id, why=why
                ) from None
        self._settle_one(run_id)

    def _settle_one(self, run_id: str) -> None:
        if self._log(run_id).state().has_worker:
            self._settle([run_id])

    def _settle(self, run_ids: builtins.list[str]) -> None:
        for run_id in settle(self.workspace, run_ids):
            self.store.add(run_id)


def _of_damage(lines: int, before: builtins.list[Milestone]) -> Milestone:
    return Milestone(
        before[-1].time if before else 0.0,
        msg("Damaged lines of events.jsonl that were left out: {lines}.", lines=lines),
        "warning",
    )


def _state_milestone(event: Event, *, counts: bool) -> Milestone:
    sentences = {
        "queued": msg("Waiting in the queue.")
        if event.get("before") is None
        else msg("Queued again."),
        "running": _started(event.get("device"), event.get("node")),
        "pausing": msg("Asked to pause."),
        "paused": msg("Paused."),
        "cancelling": msg("Asked to cancel."),
        "cancelled": msg("Cancelled."),
        "completed": msg("Completed: the saved model was loaded again and gave the same outputs."),
        "failed": msg("Failed."),
        "interrupted": msg("Interrupted."),
    }
    if counts:
        sentences["completed"] = msg("Completed: every image of the source has its row.")
    bad = event["state"] in ("failed", "interrupted")
    said = [sentences[event["state"]], *map(Message, filter(None, [event.get("reason")]))]
    return Milestone(event["time"], joined(" ", said), "warning" if bad else "info")


def _started(device: str | None, node: str | None) -> str:
    on_gpu = device is not None and is_gpu(device)
    if node is not None and on_gpu:
        return msg("A worker started on {device} of {node}.", device=device, node=node)
    if node is not None:
        return msg("A worker started on {node}.", node=node)
    return (
        msg("A worker started on {device}.", device=device) if on_gpu else msg("A worker started.")
    )
