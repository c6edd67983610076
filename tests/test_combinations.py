"""Which strategies may be chosen together: every pair runs or is refused with a reason."""

from __future__ import annotations

from itertools import product

import pytest

from msip_core.catalog import ALLOCATIONS, CRITERIA, RECOVERIES
from msip_core.combinations import allocation_name, check_combination, idle_settings
from msip_core.config import PruneConfig, TrainingRecipe
from msip_core.errors import ConfigError


def config(**settings: object) -> PruneConfig:
    return PruneConfig(dataset="d", model="m", **settings)  # type: ignore[arg-type]


@pytest.mark.parametrize("name", list(CRITERIA))
def test_every_method_goes_with_the_allocation_that_it_was_published_with(name: str) -> None:
    check_combination(config(method=name))

    assert allocation_name(config(method=name)) == CRITERIA[name].default_allocation


@pytest.mark.parametrize(("method", "allocation"), list(product(CRITERIA, ALLOCATIONS)))
def test_a_pair_is_refused_exactly_where_scores_would_be_compared_wrongly(
    method: str, allocation: str
) -> None:
    pair = {CRITERIA[method].ranking, ALLOCATIONS[allocation].ranking}

    if pair == {"layer", "network"}:
        with pytest.raises(ConfigError, match=r"layer.*: choose .*\.$"):
            check_combination(config(method=method, allocation=allocation))
    else:
        check_combination(config(method=method, allocation=allocation))


def test_lamp_inside_a_layer_is_refused_because_it_would_be_l2() -> None:
    with pytest.raises(ConfigError, match=r"LAMP .* the same as L2"):
        check_combination(config(method="lamp", allocation="uniform"))


def test_every_allocation_says_where_it_compares_scores() -> None:
    assert {entry.ranking for entry in ALLOCATIONS.values()} == {"layer", "network"}


@pytest.mark.parametrize("name", [n for n, entry in RECOVERIES.items() if entry.needs_teacher])
def test_a_teacher_needs_epochs_to_teach_in(name: str) -> None:
    with pytest.raises(ConfigError, match="at least one"):
        check_combination(config(recovery=name, finetune=TrainingRecipe(epochs=0)))


def test_the_ablation_without_threshold_has_no_other_allocation() -> None:
    assert allocation_name(config(adaptive_threshold=False)) == "uniform"
    with pytest.raises(ConfigError, match="leave the allocation out"):
        check_combination(config(adaptive_threshold=False, allocation="global"))


@pytest.mark.parametrize("method", ["msip-literal", "msip-published"])
def test_costs_after_compensation_are_geometry_of_one_scheme_alone(method: str) -> None:
    check_combination(config(method="msip", msip={"geometry": "obs"}))
    with pytest.raises(ConfigError, match="belongs to the method 'msip'"):
        check_combination(config(method=method, msip={"geometry": "obs"}))


@pytest.mark.parametrize("setting", ["method", "allocation", "granularity", "recovery"])
def test_an_unknown_name_is_answered_with_the_known_ones(setting: str) -> None:
    with pytest.raises(ConfigError, match="named 'nonsense'; known: "):
        check_combination(config(**{setting: "nonsense"}))


def test_a_criterion_that_compares_images_is_refused_fewer_than_it_can_compare() -> None:
    from msip_core.importance.nisp import LEAST_IMAGES

    least = CRITERIA["nisp-inffs"].least_images
    assert least == LEAST_IMAGES
    check_combination(config(method="nisp-inffs", calibration={"batches": 1, "batch": least}))
    with pytest.raises(ConfigError, match="at least 3 calibration images, and this run asks for 2"):
        check_combination(config(method="nisp-inffs", calibration={"batches": 1, "batch": 2}))


@pytest.mark.parametrize("name", [n for n, entry in ALLOCATIONS.items() if entry.searches])
def test_a_search_wants_free_channels_and_takes_any_goal(name: str) -> None:
    search = {"method": "l2", "allocation": name}
    check_combination(config(**search, keep_params=0.5))
    check_combination(config(**search, keep_latency=0.5))
    check_combination(config(**search, granularity="modules"))

    with pytest.raises(ConfigError, match="choose the granularity 'channels'"):
        check_combination(config(**search, granularity="mixed"))


@pytest.mark.parametrize(
    ("settings", "idle"),
    [
        ({"method": "l2", "msip": {"dynamic_weights": False}}, ["msip.dynamic_weights"]),
        ({"method": "msip", "msip": {"fusion": "rank", "dynamic_weights": False}}, []),
        ({"method": "msip-literal", "msip": {"fusion": "rank"}}, ["msip.fusion"]),
        ({"method": "msip-published", "msip": {"gradient": "taylor"}}, ["msip.gradient"]),
        ({"method": "l2", "search": {"images": 50}}, ["search.images"]),
        ({"method": "l2", "allocation": "amc", "search": {"trials": 9}}, ["search.trials"]),
        ({"method": "l2", "allocation": "search", "search": {"trials": 9}}, []),
        ({"method": "l2", "allocation": "amc", "search": {"grid": (0.5,)}}, ["search.grid"]),
        ({"method": "l2", "allocation": "sensitivity", "search": {"grid": (0.5,)}}, []),
        ({"method": "l2", "allocation": "amc", "search": {"short_lr": 0.1}}, ["search.short_lr"]),
        ({"method": "l2", "allocation": "netadapt", "search": {"short_lr": 0.1}}, []),
        ({"granularity": "blocks", "method": "lamp"}, ["method"]),
        ({"granularity": "blocks", "limits": {"round_to": 16}}, ["limits.round_to"]),
        ({"granularity": "layerdrop", "block_score": "gamma"}, ["block_score"]),
        (
            {"granularity": "layerdrop", "block_score": "gamma", "layerdrop_rule": "score"},
            [],
        ),
        ({"iterations": 1, "msip": {"dynamic_weights": False}}, ["msip.dynamic_weights"]),
        ({"iterations": 4, "average": "carry"}, []),
        ({"finetune_after": "last-cut", "average": "carry"}, ["average"]),
        ({"recovery": "feature", "distill": {"temperature": 4}}, ["distill.temperature"]),
        ({"recovery": "prediction", "distill": {"layers": (15,)}}, ["distill.layers"]),
        ({"recovery": "cwd", "distill": {"layers": (15,), "temperature": 4}}, []),
        ({"distill": {"weight": 2}}, ["distill.weight"]),
        ({"modules": ("SPPF",), "block_score": "gamma"}, ["block_score", "modules"]),
        ({"granularity": "mixed", "block_score": "gamma", "blocks": 1}, []),
        ({"method": "taylor", "limits": {"cost": "params"}}, ["limits.cost"]),
        ({"method": "msip", "limits": {"cost": "params"}}, []),
        ({"latency_batch": 8}, ["latency_batch"]),
        ({"latency_batch": 8, "keep_latency": 0.5}, []),
    ],
)
def test_a_setting_that_nothing_chosen_reads_is_named(
    settings: dict[str, object], idle: list[str]
) -> None:
    assert idle_settings(config(**settings)) == idle
