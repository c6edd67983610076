"""Who may import whom, and what a start may load (ARCHITECTURE.md draws it)."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.fresh import ROOT, run_fresh

CORE = ROOT / "msip_core"
LIGHT = (
    "answers", "catalog", "combinations", "compositions", "config", "searching", "events",
    "models", "boxes", "settings", "workspace", "errors", "language", "bounded", "confined",
    "spreadsheet", "changes", "recipes", "scoring", "measures", "matches", "pairs", "doctor",
    "demo", "data", "runs", "views", "studies", "cli", "markdown", "arrays",
    "gpus", "processors", "speeds", "leaving", "ways", "computers",
)  # fmt: skip
HEAVY_ROOMS = ("detector", "explain", "pruning", "importance", "allocation")
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
# A process of its own: it is started by name, never imported by the room it lies in.
PROCESSES = {
    "msip_core.runs.worker", "msip_core.runs.verify", "msip_core.runs.timing",
    "msip_core.runs.spare_process",
    "msip_core.studies.measuring",
}  # fmt: skip

# Arrows of the design: a room -> rooms of msip_core it may import, also lazily.
BASE = {
    "errors",
    "config",
    "catalog",
    "answers",
    "combinations",
    "compositions",
    "searching",
    "distilling",
    "recipes",
    "scoring",
    "measures",
    "arrays",
    "matches",
    "pairs",
    "settings",
    "workspace",
    "events",
    "models",
    "boxes",
    "language",
    "bounded",
    "confined",
    "spreadsheet",
    "changes",
    "markdown",
    "gpus",
    "processors",
    "speeds",
    "leaving",
    "ways",
    "computers",
}
MAY = {
    "data": {"data", "runs"},
    "importance": {"importance", "data", "detector"},
    "allocation": {"allocation", "importance", "data", "detector"},
    "detector": {"detector", "data"},
    "pruning": {"pruning", "importance", "allocation", "detector", "data"},
    "explain": {"explain", "detector", "data"},
    "views": {"views"},
    "studies": {"studies", "runs", "views", "data", "detector", "explain"},
}


def _files(folder: Path) -> list[Path]:
    return sorted(folder.rglob("*.py"))


def _imports(path: Path, *, top_level_only: bool = False) -> Iterator[str]:
    """Modules that a file names in import statements (not those under TYPE_CHECKING)."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    for node in _walk(tree, top_level_only):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield node.module
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def _walk(node: ast.AST, top_level_only: bool) -> Iterator[ast.AST]:
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.If) and "TYPE_CHECKING" in ast.unparse(child.test):
            continue
        if top_level_only and isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef):
            continue
        yield child
        yield from _walk(child, top_level_only)


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
    [(["runs", "list"], ("numpy", "cv2", "tifffile")),
     (["models", "list"], ("numpy", "cv2", "tifffile", "sqlalchemy"))],
)  # fmt: skip
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


def test_core_never_imports_streamlit() -> None:
    guilty = [
        path.relative_to(ROOT)
        for path in _files(CORE)
        if any(name.split(".")[0] == "streamlit" for name in _imports(path))
    ]
    assert not guilty


def test_nobody_in_core_imports_pages_tests_or_benchmarks() -> None:
    for path in _files(CORE):
        roots = {name.split(".")[0] for name in _imports(path)}
        assert not roots & {"pages", "tests", "benchmarks", "app"}, path


@pytest.mark.parametrize(
    "path", [*_files(ROOT / "pages"), ROOT / "app.py"], ids=lambda p: str(p.relative_to(ROOT))
)
def test_pages_ask_and_never_compute(path: Path) -> None:
    for name in _imports(path):
        parts = name.split(".")
        assert parts[0] not in HEAVY_PACKAGES, name
        assert parts[0] != "msip_core" or len(parts) < 2 or parts[1] not in HEAVY_ROOMS, name


@pytest.mark.parametrize("path", _files(CORE), ids=lambda p: str(p.relative_to(CORE)))
def test_light_rooms_import_heavy_packages_only_inside_functions(path: Path) -> None:
    if _module(path) not in _light_modules():
        pytest.skip("a room that computes")
    for name in _imports(path, top_level_only=True):
        parts = name.split(".")
        assert parts[0] not in HEAVY_PACKAGES, name
        assert parts[0] != "msip_core" or len(parts) < 2 or parts[1] not in HEAVY_ROOMS, name


@pytest.mark.parametrize("room", MAY)
def test_arrows_between_rooms_point_one_way(room: str) -> None:
    allowed = MAY[room] | BASE
    for path in _files(CORE / room):
        for name in _imports(path):
            parts = name.split(".")
            if parts[0] == "msip_core" and len(parts) > 1:
                assert parts[1] in allowed, f"{path.relative_to(ROOT)} imports {name}"


def test_the_supervisor_never_imports_the_worker() -> None:
    for path in _files(CORE / "runs"):
        if _module(path) in PROCESSES:
            continue
        assert not PROCESSES & set(_imports(path)), path
