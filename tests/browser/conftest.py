"""A real server on a free port with its own workspace, and a real Chromium looking at it."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, TimeoutError, expect, sync_playwright

from msip_core.example import unpack
from msip_core.models import read_card, write_card
from msip_core.workspace import Workspace
from tests.browser.install import find_chromium
from tests.fresh import ROOT

START_SECONDS = 90
PATIENCE = 180_000  # milliseconds: a busy machine is slow, not broken


@dataclass(frozen=True)
class Server:
    """A running app."""

    url: str
    workspace: Workspace
    process: subprocess.Popen[bytes]
    log: Path


# Both end with the last browser test: neither is to live on beside tests of other folders.
@pytest.fixture(scope="package")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """`streamlit run app.py` on a workspace that is empty at first start."""
    with serve(tmp_path_factory.mktemp("server")) as running:
        yield running


@contextmanager
def serve(folder: Path) -> Iterator[Server]:
    """The app on `folder`/workspace, which may hold what an earlier server left there."""
    workspace = Workspace.open(folder / "workspace")
    port = _free_port()
    command = [
        sys.executable, "-m", "streamlit", "run", "app.py",
        "--server.port", str(port), "--server.address", "localhost", "--server.headless", "true",
    ]  # fmt: skip
    environment = {**os.environ, "MSIP_WORKSPACE": str(workspace.root)}
    log = folder / "server.log"
    with log.open("ab") as out:
        process = subprocess.Popen(
            command, cwd=ROOT, env=environment, stdout=out, stderr=subprocess.STDOUT
        )
    running = Server(f"http://localhost:{port}", workspace, process, log)
    try:
        _wait_until_healthy(running)
        yield running
    finally:
        process.terminate()
        try:
            process.wait(20)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def add_light_detector(workspace: Workspace, dataset: str, imgsz: int = 128) -> str:
    """The example's detector for smaller images than the 256 px of its training; its id. At 128 px
    a run takes a quarter of the work, and it finds three of four organoids drawn in that size."""
    folder = workspace.model_dir("light")
    with tempfile.TemporaryDirectory() as unpacked:
        unpack(ROOT / "assets" / "example", Path(unpacked), kinds=["models"])
        (shipped,) = Path(unpacked, "models").glob("model-*")
        # Tests of one worker share a server: the one before may have brought it already.
        shutil.copytree(shipped, folder, dirs_exist_ok=True)
    card = read_card(folder / "model.json")
    cost = card.cost.model_copy(
        update={"imgsz": imgsz, "macs": card.cost.macs * imgsz**2 // 256**2}
    )
    changed = {"id": "light", "name": "Light", "imgsz": imgsz, "cost": cost, "dataset": dataset}
    write_card(workspace, card.model_copy(update={**changed, "dataset_hash": None, "origin": {}}))
    return "light"


def follow(page: Page, link: str, heading: str, patience: int = PATIENCE) -> None:
    """Click a link until its page is there: a click is lost where the page still grows above it."""
    found = page.get_by_role("link", name=link).first
    there = page.get_by_role("heading", name=heading, exact=True)
    found.wait_for(timeout=patience)
    until = time.monotonic() + PATIENCE / 1000
    while not there.is_visible():
        if found.is_visible():
            found.click()
        try:
            there.wait_for(timeout=20_000)
        except TimeoutError:
            if time.monotonic() > until:
                raise


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("localhost", 0))
        return int(probe.getsockname()[1])


def _wait_until_healthy(server: Server) -> None:
    until = time.monotonic() + START_SECONDS
    while time.monotonic() < until:
        if server.process.poll() is not None:
            break
        try:
            with urllib.request.urlopen(f"{server.url}/_stcore/health", timeout=2):
                return
        except (urllib.error.URLError, OSError):
            time.sleep(0.3)  # it is still importing
    pytest.fail(f"The app did not start:\n{server.log.read_text(encoding='utf-8')[-4000:]}")


@pytest.fixture(scope="package")
def browser() -> Iterator[Browser]:
    """A headless Chromium; its absence is a failure, not a skip."""
    path = find_chromium()
    if path is None:
        pytest.fail("No Chromium: run 'python tests/browser/install.py' first.")
    with sync_playwright() as playwright:
        # Root may not use Chromium's sandbox; small containers have a small /dev/shm.
        chromium = playwright.chromium.launch(
            executable_path=path, args=["--no-sandbox", "--disable-dev-shm-usage"]
        )
        yield chromium
        chromium.close()


@pytest.fixture
def page(
    browser: Browser, server: Server, request: pytest.FixtureRequest, tmp_path: Path
) -> Iterator[Page]:
    """One tab, 1400 px wide. A failing test leaves a picture of what was seen."""
    context = browser.new_context(viewport={"width": 1400, "height": 1000}, accept_downloads=True)
    context.set_default_timeout(PATIENCE)
    expect.set_options(timeout=PATIENCE)
    tab = context.new_page()
    failed_before = request.session.testsfailed
    yield tab
    if request.session.testsfailed > failed_before:
        tab.screenshot(path=tmp_path / "failed.png", full_page=True)
        tail = server.log.read_text(encoding="utf-8", errors="replace")[-3000:]
        sys.stderr.write(f"\nseen: {tmp_path / 'failed.png'}\nserver said:\n{tail}\n")
    context.close()
