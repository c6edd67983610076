"""A spare that loads no torch, and may misbehave as `TEST_SPARE` says: quick to start."""

from __future__ import annotations

import os
import sys
from types import ModuleType

from msip_core.leaving import leave
from msip_core.runs import spare_process, worker


def main() -> int:
    spare_process.LOADED = ("sqlalchemy",)
    match os.environ.get("TEST_SPARE"):
        case "broken libraries":
            spare_process.LOADED = ("no_such_library",)
        case "dies":
            os._exit(3)
        case "has touched the GPUs":
            sys.modules["torch"] = ModuleType("torch")
            worker.cuda_has_begun = lambda: True
    return spare_process.main()


if __name__ == "__main__":
    leave(main())
