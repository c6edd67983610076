"""Who may import whom (pyproject.toml, printed in ARCHITECTURE.md), and what a start may load."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from importlib import import_module
from inspect import signature
from pathlib import Path

import pytest

from tests.fresh import ROOT, run_fresh

CORE = ROOT / "msip_core"
HEAVY_ROOMS = ("detector", "explain", "pruning", "importance", "allocation", "groups")
HEAVY_PACKAGES = (
    "torch",
    "ultralytics",
    "torch_pruning",
    "torchvision",
    "shap",
    "pytorch_grad_cam",
)
# What takes long to import and is needed by few verbs.
SLOW_PACKAGES = ("ray", "streamlit", "matplotlib", "scipy", "pandas", "plotly")
RULES = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["tool"]["importlinter"]
WALLS = {rule["name"]: rule for rule in RULES["contracts"]}
# A process of its own: it is started by name, never imported by the room it lies in.
PROCESSES = set(
    WALLS["A process of its own is started by name and imported by no room"]["protected_modules"]
)


# Words that every room shares; some are not there in every version.
GROUND = {
    word.strip(" ()")
    for word in WALLS["A room imports none that lies above it"]["layers"][-1].split(":")
} & {path.stem for path in CORE.iterdir()}
LIGHT = (*sorted(GROUND), "doctor", "data", "runs", "views", "studies", "cli")


def _files(folder: Path) -> list[Path]:
    return sorted(folder.rglob("*.py"))


def _imports(path: Path) -> Iterator[str]:
    """Modules that a file imports when it is loaded (not those under TYPE_CHECKING)."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    for node in _walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield node.module
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def _walk(node: ast.AST) -> Iterator[ast.AST]:
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.If) and "TYPE_CHECKING" in ast.unparse(child.test):
            continue
        if isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef):
            continue
        yield child
        yield from _walk(child)


def _module(path: Path) -> str:
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def _light_modules() -> list[str]:
    names = []
    for room in LIGHT:
        place = CORE / room
        paths = _files(place) if place.is_dir() else [place.with_suffix(".py")]
        names += [_module(path) for path in paths]
    return sorted(set(names) - PROCESSES)


def _assert_absent(code: str, packages: tuple[str, ...]) -> None:
    # Names, not values, leave the fresh interpreter: the first offender is shown.
    found = run_fresh(
        f"{code}\nimport sys\nprint([m for m in {packages!r} if m in sys.modules])",
        STREAMLIT_BROWSER_GATHER_USAGE_STATS="false",
    )
    assert found.strip().splitlines()[-1] == "[]"


def test_importing_the_package_loads_no_torch_and_no_streamlit() -> None:
    _assert_absent("import msip_core", (*HEAVY_PACKAGES, "streamlit"))


def test_every_light_module_loads_without_torch_or_streamlit() -> None:
    lines = "\n".join(f"import {module}" for module in _light_modules())
    _assert_absent(lines, (*HEAVY_PACKAGES, "streamlit"))


def test_the_command_line_answers_help_without_torch() -> None:
    code = (
        "import contextlib, io\nfrom msip_core.cli.main import main\n"
        "with contextlib.redirect_stdout(io.StringIO()):\n"
        "    assert main(['--help']) == 0\n    assert main(['prune', '--help']) == 0"
    )
    _assert_absent(code, (*HEAVY_PACKAGES, *SLOW_PACKAGES))


@pytest.mark.parametrize(
    ("words", "more"),
    [
        (["runs", "list"], ("numpy", "cv2", "tifffile")),
        (["models", "list"], ("numpy", "cv2", "tifffile", "sqlalchemy")),
    ],
)
def test_a_verb_loads_only_what_it_needs(
    words: list[str], more: tuple[str, ...], tmp_path: Path
) -> None:
    code = (
        "import contextlib, io\nfrom msip_core.cli.main import main\n"
        "with contextlib.redirect_stdout(io.StringIO()):\n"
        f"    assert main({[*words, '--workspace', str(tmp_path)]!r}) == 0"
    )
    _assert_absent(code, (*HEAVY_PACKAGES, *SLOW_PACKAGES, *more))


def test_verbs_that_work_load_torch_only_when_there_is_work(tmp_path: Path) -> None:
    place = ["--workspace", str(tmp_path)]
    verbs = [
        ["train", "--data", "none", "--weights", "yolov8n.yaml", *place],
        ["prune", "--data", "none", "--model", "none", *place],
        ["predict", str(tmp_path / "none.png"), "--model", "none", "--out", str(tmp_path / "out")],
        ["explain", str(tmp_path / "none.png"), "--baseline", "none", "--pruned", "none",
         "--out", str(tmp_path / "out")],
    ]  # fmt: skip
    code = (
        "import contextlib, io\nfrom msip_core.cli.main import main\n"
        f"for words in {verbs!r}:\n"
        "    with contextlib.redirect_stdout(io.StringIO()):\n        assert main(words) == 2"
    )
    _assert_absent(code, (*HEAVY_PACKAGES, *SLOW_PACKAGES, "skimage", "sklearn"))


def test_a_worker_takes_its_device_and_threads_before_torch_is_there() -> None:
    code = "import msip_core.runs.worker"
    _assert_absent(code, (*HEAVY_PACKAGES, *SLOW_PACKAGES, "numpy", "cv2", "sqlalchemy"))


def test_the_work_itself_loads_nothing_that_only_some_runs_need() -> None:
    code = "import msip_core.pruning.loop, msip_core.detector.run"
    slow = set(SLOW_PACKAGES) | {"sqlalchemy", "onnxruntime", "openvino", "shap", "sklearn"}
    _assert_absent(code, tuple(sorted(slow)))


def test_an_explanation_loads_neither_what_only_tests_need_nor_what_draws() -> None:
    code = "import msip_core.explain.jobs"
    _assert_absent(
        code, ("pytorch_grad_cam", "sklearn", "pandas", "matplotlib", "torchvision", "shap")
    )


def test_the_app_starts_and_draws_its_first_page_without_torch(tmp_path: Path) -> None:
    code = (
        "from streamlit.testing.v1 import AppTest\n"
        "at = AppTest.from_file('app.py', default_timeout=60).run()\n"
        "assert not at.exception, at.exception"
    )
    found = run_fresh(
        f"{code}\nimport sys\nprint([m for m in {HEAVY_PACKAGES!r} if m in sys.modules])",
        MSIP_WORKSPACE=str(tmp_path / "workspace"),
    )
    assert found.strip().splitlines()[-1] == "[]"


def test_the_server_has_pandas_before_two_tabs_can_ask_for_it_at_once() -> None:
    """One that loads it for a table makes Plotly fail in the other, for it takes it half loaded."""
    found = run_fresh("import app, sys\nprint('pandas' in sys.modules)")
    assert found.strip().splitlines()[-1] == "True"


def test_light_rooms_import_heavy_packages_only_inside_functions() -> None:
    light = set(_light_modules())
    for path in _files(CORE):
        for name in _imports(path) if _module(path) in light else ():
            parts = name.split(".")
            assert parts[0] not in HEAVY_PACKAGES, f"{path} imports {name}"
            room = parts[1] if parts[0] == "msip_core" and len(parts) > 1 else ""
            assert room not in HEAVY_ROOMS, f"{path} imports {name}"


def test_the_walls_between_rooms_stand() -> None:
    """The contracts of pyproject.toml: layers, circles, and who may import which room."""
    said = subprocess.run(
        [sys.executable, "-c", "from importlinter.cli import lint_imports_command as run; run()",
         "--no-logo", "--no-cache"],
        cwd=ROOT, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert said.returncode == 0, said.stdout + said.stderr
    assert f"Contracts: {len(WALLS)} kept, 0 broken." in said.stdout


def _rooms_of_the_drawing() -> dict[str, tuple[str, str]]:
    """First cell of each row of ARCHITECTURE.md's table -> its other cells."""
    text = (ROOT / "ARCHITECTURE.md").read_text(encoding="utf-8")
    table = text.partition("| room |")[2].partition("\n\n")[0].splitlines()[2:]
    rows = [[cell.strip() for cell in line.strip("|").split(" | ")] for line in table]
    return {first: (job, may) for first, job, may in rows}


def _named(cell: str) -> set[str]:
    return {name.rstrip("/") for name in re.findall(r"`([^`]+)`", cell)}


def test_the_drawing_says_of_every_room_what_the_walls_let_it_import() -> None:
    words, *rooms = _rooms_of_the_drawing().items()
    assert _named(words[0].replace("`--set`", "").replace("`--config`", "")) == GROUND

    folders = {path.name for path in CORE.iterdir() if (path / "__init__.py").is_file()}
    assert {name for first, _ in rooms for name in _named(first)} == {*folders - GROUND, "pages"}
    for first, (_, may) in rooms:
        for room in _named(first):
            module = "pages" if room == "pages" else f"msip_core.{room}"
            open_to_it = {
                name.removeprefix("msip_core.")
                for rule in WALLS.values()
                if module in rule.get("allowed_importers", ())
                for name in rule["protected_modules"]
            }
            assert _named(may) == open_to_it, f"ARCHITECTURE.md, {first}"


@pytest.mark.parametrize(
    ("module", "names"),
    [
        ("msip_core.allocation.budget", "Budget"),
        ("msip_core.detector.checkpoints", "load_model normalise inspect_checkpoint"),
        ("msip_core.explain.boundary", "concentration"),
        ("msip_core.explain.shapley", "kernel_shap"),
        ("msip_core.importance.calibration", "choose_images load_calibration"),
        ("msip_core.importance.members", "members"),
        ("msip_core.importance.responses", "mutual_information"),
        ("msip_core.importance.statistics", "Statistics gather"),
        ("msip_core.pruning.bn", "recalibrated"),
        ("msip_core.pruning.schedule", "final_window"),
        ("msip_core.pruning.surgery", "prunable_groups prune_channels"),
        ("msip_core.studies.statistics", "difference mean_over_seeds"),
        ("msip_core.views.card_text", "card_text read_card_facts"),
    ],
)
def test_what_scripts_outside_this_tree_take_is_where_they_look_for_it(module: str, names: str):
    found = import_module(module)

    assert [name for name in names.split() if not hasattr(found, name)] == []


def test_scripts_outside_may_call_a_weights_file_trusted():
    load_model = import_module("msip_core.detector.checkpoints").load_model

    assert "trusted" in signature(load_model).parameters
