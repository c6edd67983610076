"""`python -m msip_core VERB …`."""

import sys

from msip_core.leaving import leave

if __name__ == "__main__":
    from msip_core.cli.early import begin

    begin(sys.argv[1:])

    from msip_core.cli.main import main  # typer and the verbs take as long to load as the start

    leave(main())
