"""`python -m msip_core VERB …`."""

import os
import sys

from msip_core.leaving import leave

if __name__ == "__main__":
    for number, name in enumerate(("stdin", "stdout", "stderr")):
        if getattr(sys, name) is None:  # closed by who called: the next file would get its number
            os.open(os.devnull, os.O_RDWR)
            setattr(sys, name, open(number, "w" if number else "r"))  # noqa: SIM115
    try:
        from msip_core.cli.early import begin

        begin(sys.argv[1:])

        # Typer and the verbs take as long to load as the start.
        from msip_core.cli.main import main

        leave(main())
    except KeyboardInterrupt:  # before the verb has begun, or behind it
        sys.stderr.write("Stopped.\n")
        sys.exit(130)
