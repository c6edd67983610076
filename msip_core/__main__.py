"""`python -m msip_core VERB …`."""

import sys

from msip_core.cli.main import main

if __name__ == "__main__":
    sys.exit(main())
