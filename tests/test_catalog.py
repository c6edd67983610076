"""What an entry of the catalog says of a strategy is so: code, papers, settings, README."""

from __future__ import annotations

import re
from typing import get_args

import pytest

from assets import readme
from msip_core.catalog import (
    ALLOCATIONS,
    FAMILIES,
    GRANULARITIES,
    HEAT_MAPS,
    PLAIN_EXPLAINERS,
    Entry,
    HeatMap,
)
from msip_core.config import PruneConfig
from msip_core.views.citations import COUPLING, DETECTOR, bibliography, references

ENTRIES = [entry for family in FAMILIES.values() for entry in family.values()]
every_entry = pytest.mark.parametrize("entry", ENTRIES, ids=lambda e: f"{e.family}-{e.name}")


@every_entry
def test_the_works_behind_a_strategy_are_those_that_its_paper_names(entry: Entry) -> None:
    cited = [references()[key] for key in entry.cites]
    written = bibliography(cited, "bib")

    for arxiv in re.findall(r"arXiv:(\d+\.\d+)", entry.paper):
        assert f"eprint = {{{arxiv}}}" in written
    # "Family et al. 2017": somebody of that name, whatever the year of the printed version.
    names = re.findall(r"(\w+)(?: et al\.| & \w+) (?:19|20)\d\d", entry.paper)
    assert all(name in written for name in names)
    assert bool(cited) == (entry.paper not in ("-", "MSIP Lab"))


def test_every_work_of_the_bibliography_is_cited_by_something() -> None:
    cited = {key for entry in ENTRIES for key in entry.cites}

    assert set(references()) == cited | {DETECTOR, COUPLING}


def test_every_work_has_authors_a_title_and_a_place_to_find_it() -> None:
    for key, work in references().items():
        lines = work.ris().splitlines()
        for tag in ("AU", "TI", "T2" if "TY  - CONF" in lines or "TY  - JOUR" in lines else "PB"):
            assert any(line.startswith(f"{tag}  - ") and line[6:] for line in lines), (key, tag)


@every_entry
def test_settings_of_its_own_are_settings_of_a_run(entry: Entry) -> None:
    for name in entry.settings:
        value: object = PruneConfig(dataset="d", model="m")
        for part in name.split("."):
            assert hasattr(value, part), name
            value = getattr(value, part)


@pytest.mark.parametrize("entry", GRANULARITIES.values(), ids=lambda e: e.name)
def test_a_granularity_takes_what_its_entry_says(entry: Entry) -> None:
    made = entry.load()(PruneConfig(dataset="d", model="m", granularity=entry.name))

    assert made.takes_channels == ("channels" in entry.takes)
    assert made.takes_blocks(1) == ("blocks" in entry.takes)


@pytest.mark.parametrize("entry", ALLOCATIONS.values(), ids=lambda e: e.name)
def test_an_allocation_searches_where_its_entry_says(entry: Entry) -> None:
    assert hasattr(entry.load(), "search") == entry.searches


def test_heat_maps_are_those_that_can_be_asked_for_by_type() -> None:
    assert tuple(HEAT_MAPS) == get_args(HeatMap)
    assert all(entry.caption for entry in HEAT_MAPS.values())
    assert tuple(PLAIN_EXPLAINERS) == ("gradcam", "shap")


def test_the_table_of_the_readme_is_in_step_with_the_catalog() -> None:
    text = readme.README.read_text(encoding="utf-8")

    assert readme.updated(text) == text


def test_a_method_that_the_readme_leaves_out_is_found() -> None:
    text = readme.README.read_text(encoding="utf-8")

    assert readme.updated(text.replace("`lamp`, ", "")) == text
