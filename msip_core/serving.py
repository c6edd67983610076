"""What a server does from its first second on, whether or not somebody opens a page: it looks
after the queue, the workers and the studies of its workspace."""

from __future__ import annotations

from msip_core.example import EXAMPLE, install_example
from msip_core.runs.supervisor import Supervisor, ensure_supervisor
from msip_core.studies.engine import Watch
from msip_core.workspace import Workspace


def start_serving(workspace: Workspace) -> Supervisor:
    """Put the example into an empty workspace and look after its runs, once per process.

    Raises:
        MsipError, OSError: the workspace cannot be worked in.
    """
    workspace.isolate_libraries()
    install_example(workspace, EXAMPLE)
    return ensure_supervisor(workspace, periodic=[Watch()], keeps_ready=True)
