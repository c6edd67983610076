"""The repository itself: licence, privacy, pinned packages, sizes, and a README that is true."""

from __future__ import annotations

import re
import shlex
import tomllib
from pathlib import Path

import pytest
from typer.testing import CliRunner

from msip_core.cli.main import app

ROOT = Path(__file__).parent.parent
REQUIREMENT = re.compile(r"^([A-Za-z0-9._-]+)\s*((?:[<>=!~]=?[^#\s]+)?)\s*(#.*)?$")


def _requirements() -> dict[str, tuple[str, str, str]]:
    """name -> (range, comment on the line, comment above)."""
    found, above = {}, ""
    for line in (ROOT / "requirements.txt").read_text(encoding="utf-8").splitlines():
        if not line.strip():
            above = ""
        elif line.startswith("#"):
            above = line
        else:
            match = REQUIREMENT.match(line.strip())
            assert match, f"requirements.txt: cannot read '{line}'"
            name, limits, comment = match.groups()
            found[_canonical(name)] = (limits, comment or "", above)
    return found


def _canonical(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def _locked() -> dict[str, set[str]]:
    """name -> versions; several where the platforms differ."""
    found: dict[str, set[str]] = {}
    for line in (ROOT / "requirements.lock").read_text(encoding="utf-8").splitlines():
        match = re.match(r"^([A-Za-z0-9._-]+)==([^\s;\\]+)", line)
        if match:
            found.setdefault(_canonical(match[1]), set()).add(match[2])
    return found


def _python_files() -> list[Path]:
    folders = ("msip_core", "pages", "tests", "benchmarks")
    files = [path for folder in folders for path in (ROOT / folder).rglob("*.py")]
    return [*files, *ROOT.glob("*.py")]


def test_licence_is_agpl_3() -> None:
    assert "GNU AFFERO GENERAL PUBLIC LICENSE" in (ROOT / "LICENSE").read_text(encoding="utf-8")
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    assert project["license"].startswith("AGPL-3.0")


def test_streamlit_sends_no_usage_statistics() -> None:
    config = tomllib.loads((ROOT / ".streamlit" / "config.toml").read_text(encoding="utf-8"))
    assert config["browser"]["gatherUsageStats"] is False
    assert config["server"]["address"] in ("localhost", "127.0.0.1")


def test_streamlit_does_not_collect_garbage_after_every_look_at_a_page() -> None:
    """It was two fifths of the server's work while a run is followed. Asked of Streamlit itself:
    where it renames a setting, ours would be passed over without a word."""
    from tests.fresh import run_fresh

    out = run_fresh(
        "from streamlit import config\n"
        "print(config.get_option('runner.postScriptGC'), config.get_option('server.maxUploadSize'))"
    )
    assert out.split() == ["False", "1000"]


def test_ultralytics_reports_nothing_from_an_isolated_workspace(tmp_path: Path) -> None:
    from tests.fresh import run_fresh

    out = run_fresh(
        "from msip_core.workspace import Workspace\n"
        f"Workspace.open({str(tmp_path)!r}).isolate_libraries()\n"
        "import msip_core.detector.library\n"
        "from ultralytics.utils import SETTINGS, SETTINGS_FILE\n"
        "print(SETTINGS['sync'], SETTINGS_FILE)"
    )
    sync, settings_file = out.strip().splitlines()[-1].split(" ", 1)
    assert sync == "False"
    assert Path(settings_file.strip()).is_relative_to(tmp_path)


@pytest.mark.parametrize("name", _requirements())
def test_every_requirement_says_why_and_has_bounds(name: str) -> None:
    limits, comment, above = _requirements()[name]
    assert comment or above, f"{name}: say why it is here"
    assert limits, f"{name}: give it a range"
    if not limits.startswith("=="):
        assert re.search(r"(^|,)<", limits), f"{name}{limits} has no upper bound"
        assert re.search(r"(^|,)>=", limits), f"{name}{limits} has no lower bound"


def test_the_lock_covers_every_requirement_within_its_range() -> None:
    from packaging.specifiers import SpecifierSet

    locked = _locked()
    for name, (limits, _, _) in _requirements().items():
        assert name in locked, f"{name} is not in requirements.lock: run 'make lock'"
        for version in locked[name]:
            assert version in SpecifierSet(limits), f"{name} {version} is outside {limits}"


def test_one_version_of_opencv() -> None:
    pinned = {limits for name, (limits, _, _) in _requirements().items() if "opencv" in name}
    locked = {v for name, vs in _locked().items() if name.startswith("opencv") for v in vs}
    assert len(pinned) == 1
    assert pinned == {f"=={version}" for version in locked}


def test_torch_is_new_enough() -> None:
    assert _requirements()["torch"][0].startswith(">=2.14")


def test_no_python_file_outgrows_one_idea() -> None:
    long = {
        str(path.relative_to(ROOT)): lines
        for path in _python_files()
        if (lines := len(path.read_text(encoding="utf-8").splitlines())) > 500
    }
    assert not long


def _readme_commands() -> list[str]:
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    blocks = re.findall(r"```(?:bash|sh|console|shell)?\n(.*?)```", text, flags=re.DOTALL)
    joined = "\n".join(blocks).replace("\\\n", " ")
    return [line.strip().removeprefix("$ ") for line in joined.splitlines()]


def test_every_make_target_of_the_readme_exists() -> None:
    targets = set(re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.M))
    named = {line.split()[1] for line in _readme_commands() if re.match(r"make \w", line)}
    assert {"run", "test"} <= named
    assert named <= targets


def test_every_verb_of_the_readme_exists_with_its_options() -> None:
    lines = [line for line in _readme_commands() if " -m msip_core" in line]
    assert lines, "the README shows no command line"
    for line in lines:
        words = shlex.split(line.split(" -m msip_core", 1)[1], comments=True)
        verbs = [w for w in words if re.fullmatch(r"[a-z]+", w)][:2]
        result = CliRunner(env={"COLUMNS": "200"}).invoke(app, [*_known(verbs), "--help"])
        assert result.exit_code == 0, f"README: {line}"
        for option in (w.split("=")[0] for w in words if w.startswith("--")):
            assert option in _plain(result.output), f"README: {line}: no option {option}"


def _known(words: list[str]) -> list[str]:
    """`data list` is two words of verb, `train example` is one."""
    nested = ("data", "runs", "models", "study")
    return words if words and words[0] in nested else words[:1]


def _plain(text: str) -> str:
    return re.sub(r"\x1b\[[0-9;]*m", "", text)


@pytest.mark.parametrize("page", ["ARCHITECTURE.md", "CONTRIBUTING.md"])
def test_the_files_that_a_newcomer_is_sent_to_are_there(page: str) -> None:
    text = (ROOT / page).read_text(encoding="utf-8")
    named = set(re.findall(r"(?:msip_core|pages|tests|assets)/[\w/.]*\w", text))

    assert len(named) > 5
    missing = {name for name in named if not (ROOT / name).exists() and "yours" not in name}
    assert not missing
