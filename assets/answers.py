"""Make assets/example/answers.tar.xz anew: what the pages ask about the example at first, answered.

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

import numpy as np
from streamlit.testing.v1 import AppTest

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from assets.build import pack  # noqa: E402
from msip_core.questions.looking import TimeShap  # noqa: E402
from msip_core.questions.speed import TimeModels  # noqa: E402
from pages.kit.navigation import page_file  # noqa: E402

EXAMPLE = ROOT / "assets" / "example"
SHIPPED = EXAMPLE / "cache"  # until they are packed
STARTS = {
    "compare": ("job:compare:start",),
    "look": ("job:shap:baseline:start", "job:shap:pruned:start"),
}
# Of one computer: each makes its own.
TIMINGS = {f"{kind.__module__}:{kind.__name__}" for kind in (TimeShap, TimeModels)}
PATIENCE = 600  # seconds for one page


def main() -> None:
    (EXAMPLE / "answers.tar.xz").unlink(missing_ok=True)
    folder = Path(tempfile.mkdtemp(prefix="msip-answers-"))
    os.environ["MSIP_WORKSPACE"] = str(folder)
    test = AppTest.from_file(str(ROOT / "app.py"), default_timeout=PATIENCE).run()
    for page, buttons in STARTS.items():
        test.switch_page(page_file(page)).run()
        _wait(test)
        for button in buttons:
            test.button(button).click().run()
        _wait(test)
    _ship(folder / "cache")
    pack(EXAMPLE, "answers", ("cache/**/*",))
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
        if about["question"] not in TIMINGS:
            # Pages draw from the numbers; pictures beside them are for whoever opens the folder.
            ignore = shutil.ignore_patterns("overlay.png")
            shutil.copytree(folder, SHIPPED / folder.name, ignore=ignore)
            for heat in SHIPPED.glob(f"{folder.name}/heat.npz"):
                _round(heat)
            sys.stderr.write(f"{about['question']} {about['fields']}\n")


def _round(arrays: Path) -> None:
    """A map is seen in 256 steps at most; more take four times the room."""
    with np.load(arrays) as content:
        rounded = {
            n: (np.round(v / v.max() * 256) / 256 * v.max()).astype(v.dtype) if v.max() > 0 else v
            for n, v in content.items()
        }
    np.savez_compressed(arrays, **rounded)


if __name__ == "__main__":
    main()
