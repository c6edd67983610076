"""A server that can be killed: a process that holds the supervisor of a workspace and waits.

`python -m tests.runs.lab_server ROOT [worker arguments …]`
"""

from __future__ import annotations

import sys
import threading

from msip_core.runs.executors import LocalExecutor
from msip_core.runs.supervisor import Supervisor, Timing
from msip_core.workspace import Workspace


def main() -> None:
    workspace = Workspace.open(sys.argv[1])
    # As patient as a server of the lab, but it looks more often: a test waits for each look.
    Supervisor(workspace, LocalExecutor(sys.argv[2:]), Timing(tick=0.1, periodic=0.5)).start()
    threading.Event().wait()


if __name__ == "__main__":
    main()
