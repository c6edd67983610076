"""`python -m msip_core VERB …`."""

from msip_core.cli.main import main
from msip_core.leaving import leave

if __name__ == "__main__":
    leave(main())
