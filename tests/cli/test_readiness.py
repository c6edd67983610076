"""The command line shows boxes of each class and part, and names what is too few."""

from __future__ import annotations

from tests.cli.conftest import Verb


def test_a_small_set_is_not_simply_ready(msip: Verb) -> None:
    made = msip("data", "example", "--name", "d", "--images", 12, "--size", 128)
    shown = msip("data", "show", "d")

    for said in (made, shown):
        assert said.code == 0
        assert "Ready to train on." not in said.out
        assert "Can be trained on, but too few or too uneven to rely on" in said.out
        assert "(too few)" in said.out
        assert "careful: Too few boxes to learn from:" in said.out
    assert "yes, but too few" in msip("data", "list").out


def test_the_document_counts_each_class_in_each_part(msip: Verb) -> None:
    msip("data", "example", "--name", "d", "--images", 12, "--size", 128)
    document = msip("data", "show", "d", "--json").document

    objects = document["objects"]
    assert set(objects) == {"crypt", "no_crypt"}
    for name, parts in objects.items():
        assert sum(parts.values()) == document["boxes"][name]
    assert document["ready"]
    assert len(document["concerns"]) >= 2
