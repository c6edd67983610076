"""Run a verb as a person would, in this process: exit code, stdout and stderr."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pytest

from msip_core.cli.main import main
from msip_core.workspace import Workspace


@dataclass(frozen=True)
class Said:
    """What one verb returned and wrote."""

    code: int
    out: str
    err: str

    @property
    def document(self) -> dict[str, Any]:
        """stdout as the one JSON document it must be."""
        value = json.loads(self.out)
        assert isinstance(value, dict)
        return value


Verb = Callable[..., Said]


@pytest.fixture
def msip(workspace: Workspace, capfd: pytest.CaptureFixture[str]) -> Verb:
    """`msip("data", "list", "--json")` in the test's own workspace."""

    def run(*words: object) -> Said:
        capfd.readouterr()
        code = main([str(word) for word in words] + ["--workspace", str(workspace.root)])
        out, err = capfd.readouterr()
        return Said(code, out, err)

    return run
