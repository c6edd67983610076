"""Bring the README's table of methods up to date with the catalog.

python assets/readme.py            writes README.md
python assets/readme.py --check    fails if it names other methods than there are
"""

from __future__ import annotations

import argparse
import re
import sys
from pathlib import Path
from typing import get_args

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from msip_core.catalog import ALLOCATIONS, CRITERIA, GRANULARITIES, RECOVERIES  # noqa: E402
from msip_core.config import Repair  # noqa: E402

README = ROOT / "README.md"
# Option whose row it is -> its choices.
ROWS = {
    "method": CRITERIA,
    "allocation": ALLOCATIONS,
    "granularity": GRANULARITIES,
    "recovery": RECOVERIES,
    "repair": get_args(Repair),
}


def updated(text: str) -> str:
    """The README with the names of now; what a row says after them stays.

    Raises:
        ValueError: an option has no row.
    """
    for option, choices in ROWS.items():
        names = ", ".join(f"`{name}`" for name in choices)
        row = re.compile(rf"^(\| [^|]*\(`--{option}`\) \| )`[^;|]*`", re.MULTILINE)
        text, found = row.subn(rf"\g<1>{names}", text)
        if found != 1:
            raise ValueError(f"README.md has {found} rows for --{option}")
    return text


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--check", action="store_true")
    check = parser.parse_args().check
    text = README.read_text(encoding="utf-8")
    new = updated(text)
    if check and new != text:
        print("README.md is behind the catalog: run python assets/readme.py")
        return 1
    if not check:
        README.write_text(new, encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
