"""A convolution at one width or any: what is timed of it, and its milliseconds in between.

It is timed at five widths of each side (1/8, 1/4, 1/2, 3/4 and all of its channels, in steps of
8) and linear in between: all steps of 8 would be 4096 measurements for a layer of 512 x 512.
"""

from __future__ import annotations

from itertools import product
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

_STEP = 8
_SHARES = (1 / 8, 1 / 4, 1 / 2, 3 / 4, 1)


class Layer(NamedTuple):
    """One convolution at one width.

    Attributes:
        side: height and width of its output.
    """

    kernel: int
    stride: int
    side: int
    inputs: int
    outputs: int
    depthwise: bool = False

    @property
    def groups(self) -> int:
        return self.outputs if self.depthwise else 1

    @property
    def reads(self) -> tuple[int, int, int]:
        """Channels, height and width of its input."""
        side = self.side * self.stride
        return (self.outputs if self.depthwise else self.inputs), side, side


class Geometry(NamedTuple):
    """A convolution whose width is open.

    Attributes:
        inputs, outputs: the most channels it can have.
        narrow_in, narrow_out: these can become fewer.
    """

    kernel: int
    stride: int
    side: int
    inputs: int
    outputs: int
    narrow_in: bool
    narrow_out: bool
    depthwise: bool = False

    def knots(self) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Input and output widths at which it is timed, ascending."""
        inputs = _knots(self.inputs, self.narrow_in and not self.depthwise)
        return inputs, _knots(self.outputs, self.narrow_out)

    def layers(self) -> list[Layer]:
        """All layers that its times need, inputs first."""
        return [
            Layer(self.kernel, self.stride, self.side, int(i), int(o), self.depthwise)
            for i, o in product(*self.knots())
        ]


class Grid(NamedTuple):
    """Milliseconds at knots of input and output channels, linear in between and flat outside."""

    inputs: NDArray[np.int64]
    outputs: NDArray[np.int64]
    values: NDArray[np.float64]  # (inputs, outputs)

    def at(self, inputs: NDArray[np.float64], outputs: NDArray[np.float64]) -> NDArray[np.float64]:
        """(n,) milliseconds; a layer without outputs takes none."""
        i, s = _between(self.inputs, inputs)
        o, t = _between(self.outputs, outputs)
        i2, o2 = np.minimum(i + 1, len(self.inputs) - 1), np.minimum(o + 1, len(self.outputs) - 1)
        v = self.values
        low = v[i, o] * (1 - t) + v[i, o2] * t
        high = v[i2, o] * (1 - t) + v[i2, o2] * t
        return np.where(outputs > 0, low * (1 - s) + high * s, 0.0)


def _knots(most: int, narrow: bool) -> NDArray[np.int64]:
    if not narrow:
        return np.array([most], np.int64)
    steps = {min(most, max(_STEP, round(most * s / _STEP) * _STEP)) for s in _SHARES}
    return np.array(sorted(steps | {most}), np.int64)


def _between(
    knots: NDArray[np.int64], values: NDArray[np.float64]
) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Index of the knot below each value, and how far it is on the way to the next."""
    if len(knots) == 1:
        return np.zeros(len(values), np.int64), np.zeros(len(values))
    inside = np.clip(values, knots[0], knots[-1])
    index = np.clip(np.searchsorted(knots, inside, side="right") - 1, 0, len(knots) - 2)
    return index, (inside - knots[index]) / (knots[index + 1] - knots[index])
