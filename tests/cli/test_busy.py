"""The estimate before a run says when other work takes the computer."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from msip_core.cli import work
from msip_core.config import PruneConfig
from msip_core.processors import Processors
from msip_core.workspace import Workspace


@pytest.mark.parametrize(("busy", "said"), [(0.0, False), (1.7, True)])
def test_the_estimate_says_when_the_computer_is_busy(
    workspace: Workspace, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str],
    busy: float, said: bool,
) -> None:  # fmt: skip
    from msip_core.pruning import estimate

    found = SimpleNamespace(look=lambda: Processors(2, busy=busy))
    monkeypatch.setattr(work, "Sample", lambda: found)
    monkeypatch.setattr(estimate, "estimate", lambda *_: estimate.Estimate(60.0, 1.0, 0.1, "Note."))

    work._say_estimate(workspace, PruneConfig(dataset="d", model="m"))

    told = "".join(capsys.readouterr())
    assert "Expected: about" in told
    assert ("The computer is busy: other work takes 1.7 of its 2" in told) == said
