"""Make assets/example/cache/ anew: what the pages ask about the example at first, answered.

    python assets/answers.py

Opens "Before and after" and "Where it looks" on a fresh example, as a person would, waits for the
compute process, starts what is started by hand (counts of all test images, SHAP of both models),
and ships the answers. Timings are not shipped: they are those of one computer. It must be run again
when a page asks something else or an answer would be another one; a test says so. About a minute.
"""

from __future__ import annotations

import json
import os
import shutil
import sys
import tempfile
import time
from pathlib import Path

from streamlit.testing.v1 import AppTest

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

SHIPPED = ROOT / "assets" / "example" / "cache"
STARTS = {
    "compare": ("job:compare:start",),
    "look": ("job:shap:baseline:start", "job:shap:pruned:start"),
}
PATIENCE = 600  # seconds for one page


def main() -> None:
    shutil.rmtree(SHIPPED, ignore_errors=True)
    folder = Path(tempfile.mkdtemp(prefix="msip-answers-"))
    os.environ["MSIP_WORKSPACE"] = str(folder)
    test = AppTest.from_file(str(ROOT / "app.py"), default_timeout=PATIENCE).run()
    for page, buttons in STARTS.items():
        test.switch_page(f"pages/{page}.py").run()
        _wait(test)
        for button in buttons:
            test.button(button).click().run()
        _wait(test)
    _ship(folder / "cache")
    shutil.rmtree(folder)


def _wait(test: AppTest) -> None:
    """Look again until nothing is being worked on."""
    until = time.monotonic() + PATIENCE
    while any(button.key.endswith(":cancel") for button in test.button):
        if time.monotonic() > until:
            raise SystemExit("The compute process did not answer.")
        time.sleep(0.5)
        test.run()
    if test.error or test.exception:
        raise SystemExit(f"A page failed: {test.error or test.exception}")


def _ship(cache: Path) -> None:
    for folder in sorted(path for path in cache.iterdir() if (path / "job.json").is_file()):
        about = json.loads((folder / "job.json").read_text(encoding="utf-8"))
        if not about["params"].get("estimate"):
            shutil.copytree(folder, SHIPPED / folder.name)
            sys.stderr.write(f"{about['job']} {about['params']}\n")


if __name__ == "__main__":
    main()
