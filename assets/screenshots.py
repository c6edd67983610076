"""Take a picture of every page on the example workspace, light and dark, narrow and wide.

    python assets/screenshots.py --out DIR [--workspace DIR] [--empty]

Starts the app on a fresh workspace (with the example, or without it), opens each page in a real
Chromium, waits until Streamlit has drawn it, and saves DIR/<page>-<theme>-<width>.png.
"""

from __future__ import annotations

import argparse
import os
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from pathlib import Path

from playwright.sync_api import Browser, sync_playwright

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from tests.browser.install import find_chromium  # noqa: E402

PAGES = ("", "data", "models", "new", "runs", "studies", "compare", "look", "share")
JOBS = 120  # seconds for what a page computes when it is opened
SETTLE = 1500  # milliseconds for charts and pictures after the script has run


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--workspace", type=Path)
    parser.add_argument("--empty", action="store_true", help="without the example")
    parser.add_argument("--pages", nargs="*", default=PAGES)
    parser.add_argument("--themes", nargs="*", default=("light", "dark"))
    parser.add_argument("--widths", nargs="*", type=int, default=(1000, 1800))
    parser.add_argument("--lang", default="en", help="language of the pages, such as zh_CN")
    parser.add_argument("--height", type=int, default=6000, help="pixels at most")
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    folder = options.workspace or Path(tempfile.mkdtemp(prefix="msip-screens-"))
    folder.mkdir(parents=True, exist_ok=True)
    if options.empty:
        (folder / ".example").write_text("installed\n", encoding="utf-8")
    with socket.socket() as probe:
        probe.bind(("localhost", 0))
        port = int(probe.getsockname()[1])
    server = subprocess.Popen(
        [sys.executable, "-m", "streamlit", "run", "app.py", "--server.port", str(port)],
        cwd=ROOT,
        env={**os.environ, "MSIP_WORKSPACE": str(folder)},
    )
    try:
        _wait(f"http://localhost:{port}/_stcore/health")
        with sync_playwright() as playwright:
            browser = playwright.chromium.launch(
                executable_path=find_chromium(), args=["--no-sandbox", "--disable-dev-shm-usage"]
            )
            for theme in options.themes:
                for width in options.widths:
                    _shoot(browser, f"http://localhost:{port}", options, theme, width)
            browser.close()
    finally:
        server.terminate()
        server.wait(30)


def _shoot(browser: Browser, url: str, options: argparse.Namespace, theme: str, width: int) -> None:
    context = browser.new_context(
        viewport={"width": width, "height": 900}, color_scheme=theme, device_scale_factor=1
    )
    page = context.new_page()
    for name in options.pages:
        page.goto(f"{url}/{name}?lang={options.lang}")
        page.locator("h1, h2").first.wait_for(timeout=60_000)
        page.wait_for_function(
            "document.querySelector('[data-testid=stApp]')"
            "?.getAttribute('data-test-script-state') === 'notRunning'",
            timeout=120_000,
        )
        # Answers that the page asks for by itself: each has a Cancel button while it is made.
        page.wait_for_timeout(SETTLE)
        working = page.locator("[class*='st-key-job-'][class*='-cancel'] button")
        quiet = 0  # one answer may ask the next question: believe in the third quiet second
        for _ in range(JOBS):
            quiet = 0 if working.count() else quiet + 1
            if quiet == 3:
                break
            page.wait_for_timeout(1000)
        # Streamlit scrolls inside its own box: a window as tall as the page shows all of it.
        height = page.evaluate("document.querySelector('[data-testid=stMain]').scrollHeight")
        page.set_viewport_size({"width": width, "height": min(max(900, height), options.height)})
        page.wait_for_timeout(500)
        page.screenshot(path=options.out / f"{name or 'start'}-{theme}-{width}.png")
        page.set_viewport_size({"width": width, "height": 900})
    context.close()


def _wait(url: str) -> None:
    for _ in range(300):
        try:
            with urllib.request.urlopen(url, timeout=2):
                return
        except (urllib.error.URLError, OSError):
            time.sleep(0.3)
    raise SystemExit("The app did not start.")


if __name__ == "__main__":
    main()
