"""How long a page takes to open on a workspace with 500 runs and a dataset of 10,000 images.

    python benchmarks/pages_scale.py [--runs 500] [--images 10000] [--workspace DIR]

Fills a workspace (or takes DIR, filled by crowded_workspace.py), starts the app on it, opens
every page in a real Chromium, several times, and prints for each the seconds to its first content

- by the menu of an open tab: what the page costs; the goal is about this
- in a new tab, which loads and starts Streamlit's own scripts before it asks for any page

and the processor seconds that the server spent on it (which a busy computer does not change); then
the memory of the server process and whether torch was loaded.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import socket
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil
from playwright.sync_api import Browser, sync_playwright

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from benchmarks.crowded_workspace import fill  # noqa: E402
from msip_core.workspace import Workspace  # noqa: E402
from tests.browser.install import find_chromium  # noqa: E402

PAGES = ("/", "/data", "/models", "/new", "/runs", "/compare", "/look", "/share")
GOAL_SECONDS, GOAL_MB = 1.0, 500
# The first heading of the page's own part: the shell around it comes from Streamlit.
_CONTENT = '[data-testid="stMain"] h1'
_FINISHED = '[data-testid="stApp"][data-test-script-state="notRunning"]'
_PATIENCE_MS = 60_000


@contextmanager
def serve(workspace: Path) -> Iterator[tuple[str, psutil.Process]]:
    """The app as `make run` starts it, on a free port."""
    with socket.socket() as probe:
        probe.bind(("localhost", 0))
        port = int(probe.getsockname()[1])
    command = [
        sys.executable, "-m", "streamlit", "run", "app.py", "--server.port", str(port),
        "--server.address", "localhost", "--server.headless", "true",
    ]  # fmt: skip
    with tempfile.TemporaryFile() as log:
        process = subprocess.Popen(
            command,
            cwd=ROOT,
            env={**os.environ, "MSIP_WORKSPACE": str(workspace)},
            stdout=log,
            stderr=subprocess.STDOUT,
        )
        try:
            _wait_until_up(f"http://localhost:{port}", process)
            yield f"http://localhost:{port}", psutil.Process(process.pid)
        finally:
            process.terminate()
            process.wait()


def _wait_until_up(url: str, process: subprocess.Popen[bytes]) -> None:
    until = time.monotonic() + 120
    while time.monotonic() < until and process.poll() is None:
        try:
            with urllib.request.urlopen(f"{url}/_stcore/health", timeout=2):
                return
        except (urllib.error.URLError, OSError):
            time.sleep(0.2)
    raise SystemExit("The app did not start.")


def time_page(browser: Browser, url: str) -> tuple[float, float]:
    """Seconds from the request to the first content, and to the end of the page's script."""
    with browser.new_context() as tab:
        page = tab.new_page()
        began = time.perf_counter()
        page.goto(url, wait_until="commit")
        page.wait_for_selector(_CONTENT, timeout=_PATIENCE_MS)
        first = time.perf_counter() - began
        page.wait_for_selector(_FINISHED, timeout=_PATIENCE_MS, state="attached")
        done = time.perf_counter() - began
        if page.locator('[data-testid="stException"]').count():
            raise SystemExit(f"{url} shows an error.")
    return first, done


def time_by_menu(browser: Browser, url: str, repeats: int) -> dict[str, float]:
    """Page -> median seconds from the click in the menu of an open tab to the page's heading."""
    found: dict[str, list[float]] = {name: [] for name in PAGES}
    with browser.new_context(viewport={"width": 1400, "height": 1000}) as tab:
        page = tab.new_page()
        page.goto(url)
        page.wait_for_selector(_FINISHED, timeout=_PATIENCE_MS, state="attached")
        for _ in range(repeats + 1):
            for name in (*PAGES[1:], PAGES[0]):
                heading = page.locator(_CONTENT).inner_text()
                link = page.locator('[data-testid="stSidebarNavLink"]').nth(PAGES.index(name))
                began = time.perf_counter()
                link.click()
                page.wait_for_function(
                    "([css, before]) => { const h = document.querySelector(css);"
                    " return h && h.innerText !== before; }",
                    arg=[_CONTENT, heading],
                    polling=20,
                    timeout=_PATIENCE_MS,
                )
                found[name].append(time.perf_counter() - began)
                page.wait_for_selector(_FINISHED, timeout=_PATIENCE_MS, state="attached")
    # The first round fills caches, as the first visit of a day does.
    return {name: statistics.median(times[1:]) for name, times in found.items()}


def measure(url: str, server: psutil.Process, repeats: int) -> dict[str, dict[str, float]]:
    """Page -> seconds: the first opening after the start, then the median of later ones."""
    found = {}
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=find_chromium())
        for name in PAGES:
            times = [time_page(browser, url + name)]
            before = sum(server.cpu_times()[:2])
            times += [time_page(browser, url + name) for _ in range(repeats)]
            found[name] = {
                "server_cpu_s": (sum(server.cpu_times()[:2]) - before) / repeats,
                "first_opening_s": times[0][0],
                "content_s": statistics.median(t[0] for t in times[1:]),
                "complete_s": statistics.median(t[1] for t in times[1:]),
            }
        for name, seconds in time_by_menu(browser, url, repeats).items():
            found[name]["menu_s"] = seconds
        browser.close()
    return found


def loads_torch(process: psutil.Process) -> bool:
    """Whether torch's library is mapped into the process."""
    return any("libtorch" in item.path for item in process.memory_maps())


def report(pages: dict[str, dict[str, float]], server: psutil.Process) -> dict[str, object]:
    """Everything measured, with the computer it was measured on."""
    memory = server.memory_info().rss / 1e6
    slowest = max(values["menu_s"] for values in pages.values())
    return {
        "machine": f"{platform.platform()}, {psutil.cpu_count()} threads",
        "load_1min": round(os.getloadavg()[0], 2),
        "pages": {p: {k: round(v, 3) for k, v in values.items()} for p, values in pages.items()},
        "server_mb": round(memory),
        "torch_loaded": loads_torch(server),
        "holds": slowest < GOAL_SECONDS and memory < GOAL_MB and not loads_torch(server),
    }


def show(found: dict[str, dict[str, float]]) -> None:
    print(
        f"{'page':10} {'by the menu':>12} {'new tab':>9} {'complete':>9} {'first of all':>13} "
        f"{'server CPU':>11}   (seconds)"
    )
    for name, values in found.items():
        print(
            f"{name:10} {values['menu_s']:12.2f} {values['content_s']:9.2f} "
            f"{values['complete_s']:9.2f} {values['first_opening_s']:13.2f} "
            f"{values['server_cpu_s']:11.2f}"
        )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--runs", type=int, default=500)
    parser.add_argument("--images", type=int, default=10_000)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--workspace", type=Path, help="a folder that is already filled")
    parser.add_argument("--json", type=Path, help="write what was measured here")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="crowded-") as temporary:
        folder = options.workspace or Path(temporary)
        if options.workspace is None:
            fill(Workspace.open(folder), options.runs, options.images)
        with serve(folder.resolve()) as (url, server):
            pages = measure(url, server, options.repeats)
            result = report(pages, server)
    show(pages)
    print(
        f"server: {result['server_mb']} MB resident, torch "
        f"{'LOADED' if result['torch_loaded'] else 'not loaded'}; "
        f"{'holds' if result['holds'] else 'DOES NOT HOLD'} "
        f"(under {GOAL_SECONDS:.0f} s a page, under {GOAL_MB} MB, no torch)"
    )
    if options.json:
        options.json.write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
