"""A server that can be killed: a process that holds the supervisor of a workspace and waits.

`python -m tests.runs.lab_server ROOT [worker arguments …]`
"""

from __future__ import annotations

import sys
import threading

from msip_core.runs.executors import LocalExecutor
from msip_core.runs.supervisor import Supervisor
from msip_core.workspace import Workspace


def main() -> None:
    workspace = Workspace.open(sys.argv[1])
    Supervisor(workspace, LocalExecutor(sys.argv[2:])).start()
    threading.Event().wait()


if __name__ == "__main__":
    main()
