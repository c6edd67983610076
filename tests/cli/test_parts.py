"""A command loads the module of its verb alone, and the whole knows the same verbs."""

from __future__ import annotations

import typer

from msip_core.cli.main import PARTS, app, main, make_app, parts_for


def _verbs(made: typer.Typer) -> set[str]:
    command = typer.main.get_command(made)
    return set(command.commands)  # type: ignore[attr-defined]


def test_every_part_has_the_verbs_that_are_said_of_it() -> None:
    for part, verbs in PARTS.items():
        assert _verbs(make_app([part])) == set(verbs)
    assert _verbs(app) == {verb for verbs in PARTS.values() for verb in verbs}


def test_a_first_word_that_is_no_verb_loads_the_whole() -> None:
    assert parts_for("prune") == ("work",)
    for word in (None, "--help", "--workspace", "prun", "list"):
        assert parts_for(word) == tuple(PARTS)


def test_options_may_stand_before_the_verb(tmp_path, capsys) -> None:
    assert main(["--json", "--workspace", str(tmp_path), "models", "list"]) == 0
    assert '"models": []' in capsys.readouterr().out
