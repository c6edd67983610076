"""`computers`: this one alone, and a cluster that is not there."""

from __future__ import annotations

import platform

import pytest

from msip_core.runs import engines
from msip_core.settings import Settings
from tests.cli.conftest import Verb


def test_this_computer_is_told_with_how_to_add_one(msip: Verb) -> None:
    told = msip("computers", "--json").document
    assert [one["name"] for one in told["found"]] == [platform.node()]
    assert (told["engine"], told["waiting"], told["trouble"]) == ("local", 0, None)
    assert "ray start --address=" in msip("computers").out


def test_a_cluster_that_is_not_there_is_one_sentence(
    msip: Verb, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = Settings(executor="ray", ray_address="127.0.0.1:1")
    monkeypatch.setattr(engines, "get_settings", lambda: asked)
    monkeypatch.setattr(engines, "find_spec", lambda name: object())
    told = msip("computers", "--json")
    assert told.code == 1
    assert "nothing listens there" in told.document["trouble"]
