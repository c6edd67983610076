"""The end of a process that did its work with torch.

Python takes its modules apart one by one when it ends; with torch that takes a second or two, in
which a device is not free and a person waits. The system takes the memory back in one go.
"""

from __future__ import annotations

import atexit
import contextlib
import os
import sys
import threading
from typing import NoReturn


def leave(code: int) -> NoReturn:
    """End this process with an exit code: at once where torch is loaded, else as usual.

    What was asked to be done at the end is done (temporary folders, child processes, logs), threads
    that must be waited for are, and what was printed is written.
    """
    if "torch" not in sys.modules:
        sys.exit(code)
    # As the interpreter does: idle pools are told to end, then threads are waited for.
    threading._shutdown()  # type: ignore[attr-defined]
    atexit._run_exitfuncs()
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(BrokenPipeError):  # nobody reads any more
            stream.flush()
    os._exit(code)
