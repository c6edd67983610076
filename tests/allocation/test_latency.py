"""Milliseconds of a network from those of its layers, and what a channel of them costs."""

from __future__ import annotations

import numpy as np
import pytest

from msip_core.allocation.msip import LossPerMacAllocation
from msip_core.allocation.table import GroupTable
from msip_core.catalog import ALLOCATIONS
from msip_core.config import AllocationOptions
from msip_core.groups.budget import Budget
from msip_core.groups.latency import LatencyMeter
from msip_core.groups.layers import Grid
from msip_core.pruning.schedule import final_window
from tests.allocation.kit import random_table, widths_of

OVERHEAD = 0.01


def milliseconds(kernel: int, side: int, inputs: float, outputs: float) -> float:
    """A layer costs its multiply-adds and a fixed start."""
    return OVERHEAD + 1e-7 * kernel**2 * side**2 * inputs * outputs


def meter_of(budget: Budget) -> LatencyMeter:
    """Exact times at the knots; bilinear in between is exact for a product too."""
    grids = {}
    for name, g in budget.geometries().items():
        inputs, outputs = g.knots()
        values = [[milliseconds(g.kernel, g.side, i, o) for o in outputs] for i in inputs]
        grids[name] = Grid(inputs, outputs, np.array(values))
    return LatencyMeter(grids)


def test_the_network_takes_the_sum_of_its_layers(budget: Budget):
    geometries = budget.geometries()
    by_hand = sum(milliseconds(g.kernel, g.side, g.inputs, g.outputs) for g in geometries.values())

    assert float(meter_of(budget)(budget, budget.widths)) == pytest.approx(by_hand)
    first = geometries["model.0.conv"]
    assert (first.kernel, first.stride, first.side) == (3, 2, 64)  # 128 px, halved
    assert (first.inputs, first.outputs, first.narrow_in, first.narrow_out) == (3, 16, False, True)


def test_a_narrower_layer_frees_its_own_and_its_readers_time(budget: Budget):
    """3 -> 16 channels at 64 x 64, read by 16 -> 32 at 32 x 32, all 3x3: eight fewer of them."""
    fewer = budget.widths.copy()
    fewer[0] -= 8
    meter = meter_of(budget)

    freed = float(meter(budget, budget.widths) - meter(budget, fewer))

    own = 1e-7 * 9 * 64**2 * 3 * 8
    read = 1e-7 * 9 * 32**2 * 8 * 32
    assert freed == pytest.approx(own + read)
    many = np.stack([budget.widths, fewer])
    assert meter(budget, many).tolist() == pytest.approx(
        [float(meter(budget, row)) for row in many]
    )


def test_a_measurement_moves_the_scale_and_nothing_else(budget: Budget):
    meter = meter_of(budget).anchored(budget, 80.0)
    half = budget.widths // 2

    assert float(meter(budget, budget.widths)) == pytest.approx(80)
    ratio = float(meter_of(budget)(budget, half) / meter_of(budget)(budget, budget.widths))
    assert float(meter(budget, half)) == pytest.approx(80 * ratio)


def test_a_channel_costs_an_eighth_of_what_its_step_of_eight_frees(budget: Budget):
    meter = meter_of(budget)
    table = GroupTable(
        budget,
        {n: np.ones(w) for n, w in widths_of(budget).items()},
        widths_of(budget),
        latency=meter,
    )
    fewer = budget.widths.copy()
    fewer[7] -= 8

    kappa = table.kappa("latency")

    freed = float(meter(budget, budget.widths) - meter(budget, fewer))
    assert kappa[7] == pytest.approx(freed / 8)
    assert (kappa > 0).all()
    assert table.kappa("macs") == pytest.approx(budget.kappa())


def test_weighing_by_milliseconds_without_a_table_is_an_error(budget: Budget):
    with pytest.raises(ValueError, match="needs a table of measured layers"):
        random_table(budget).kappa("latency")


@pytest.mark.parametrize("name", list(ALLOCATIONS))
def test_every_allocation_lands_on_milliseconds(budget: Budget, name: str):
    plain = random_table(budget)
    meter = meter_of(budget)
    table = GroupTable(
        budget, dict(zip(plain.names, plain.scores)), widths_of(budget), meter=meter, latency=meter
    )
    whole = float(meter(budget, budget.widths))
    window = final_window(0.7 * whole, 8)

    found = ALLOCATIONS[name].load()(AllocationOptions(round_to=8)).allocate(table, window)

    assert found.reached
    assert window.low <= found.count <= window.high
    assert found.count == pytest.approx(float(meter(budget, budget.vector(found.widths))))


def test_weighed_by_milliseconds_the_same_macs_take_less_time(budget: Budget):
    plain = random_table(budget)
    meter = meter_of(budget)
    table = GroupTable(
        budget, dict(zip(plain.names, plain.scores)), widths_of(budget), latency=meter
    )
    window = final_window(0.7 * budget.macs_now, 1)

    by_macs, by_time = (
        LossPerMacAllocation(AllocationOptions(round_to=1, cost=cost)).allocate(table, window)
        for cost in ("macs", "latency")
    )

    times = [float(meter(budget, budget.vector(s.widths))) for s in (by_macs, by_time)]
    assert times[1] < times[0]
