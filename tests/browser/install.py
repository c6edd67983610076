"""Find a Chromium for the browser tests, or install one; say plainly when neither is possible.

`make test` runs this first. Order: a Chromium or Chrome on PATH; the one that Playwright holds;
then the Debian package (as root) or Playwright's own download.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome")


def find_chromium() -> str | None:
    """Path of a Chromium that can be started, or None."""
    for name in NAMES:
        path = shutil.which(name)
        if path:
            return path
    return _playwrights()


def _playwrights() -> str | None:
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        path = playwright.chromium.executable_path
    return path if Path(path).is_file() else None


def install() -> None:
    """Install Chromium by the first way that this machine allows."""
    for command in _ways():
        say("Installing Chromium for the browser tests: " + " ".join(command))
        if subprocess.run(command, check=False, stdout=sys.stderr).returncode == 0:
            return


def _ways() -> list[list[str]]:
    ways = []
    if hasattr(os, "geteuid") and os.geteuid() == 0 and shutil.which("apt-get"):
        ways.append(["sh", "-c", "apt-get update -q && apt-get install -qy chromium"])
    ways.append([sys.executable, "-m", "playwright", "install", "chromium"])
    return ways


def say(text: str) -> None:
    sys.stderr.write(text + "\n")
    sys.stderr.flush()


def main() -> int:
    if find_chromium() is None:
        install()
    path = find_chromium()
    if path is None:
        say(
            "No Chromium here and none could be installed: the browser tests will fail. "
            "Install Chromium or Chrome so that it is on PATH, then run 'make test' again."
        )
        return 1
    say(f"Browser tests use {path}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
