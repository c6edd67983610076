"""HRank: a channel whose feature maps have low rank carries little.

    score[c] = mean over images of rank(A_c) / min(H, W),   A_c = the map after the activation

The numerical rank counts singular values above RTOL times the largest. SiLU has no exact zeros:
with the usual tolerance of floats nearly every map has full rank, hence 1e-2. At most IMAGES
images of at most SIDE px are looked at, since ranks are stable over images and every map costs a
singular value decomposition. Dividing by min(H, W) lets layers of different size be compared.

Many maps still share a rank, so ties are broken by the nuclear norm n (the sum of the singular
values), as n / (n + median of the layer) in [0, 1), times TIE. Mean ranks of one group differ by
at least 1 / (images * members * side), about 2e-5, so that TIE = 1e-6 never reorders them.

Source: Lin et al. 2020, arXiv:2002.10179 (there without tolerance, for ReLU, rates set by hand).
"""

from __future__ import annotations

from contextlib import AbstractContextManager
from typing import Any

import torch
from torch import Tensor

from msip_core.errors import ConfigError
from msip_core.importance.fusion import relative
from msip_core.importance.members import ResponseImportance
from msip_core.importance.responses import watched
from msip_core.importance.statistic import Few, Found, Scene, Statistic

RTOL = 1e-2
IMAGES, SIDE = 32, 320
TIE = 1e-6


class HRankImportance(ResponseImportance):
    """Mean normalised rank of the maps that a channel's filters give."""

    needs = frozenset({"rank"})


class Ranks(Statistic):
    """Of every Conv block."""

    kinds = frozenset({"rank"})
    wants = frozenset({"few"})
    few = Few(IMAGES, SIDE)

    def __init__(self, scene: Scene, asked: frozenset[str]) -> None:
        super().__init__(scene, asked)
        self._tally = RankTally()

    def few_images(self, part: range) -> AbstractContextManager[Any]:
        self._tally.add_images(len(part))
        return watched(self.scene.model, self._tally.see)

    def end_part(self) -> None:
        self._tally.take()

    def result(self) -> Found:
        return {"rank": self._tally.scores()}


class RankTally:
    """Ranks and nuclear norms of every Conv block, added up over images."""

    def __init__(self) -> None:
        self._waiting: list[tuple[str, Tensor]] = []
        self._finite: dict[str, Tensor] = {}
        self._ranks: dict[str, Tensor] = {}
        self._norms: dict[str, Tensor] = {}
        self._sides: dict[str, int] = {}
        self._images = 0

    def see(self, name: str, a: Tensor) -> None:
        """Take the responses (b, c, h, w) of one micro-batch; counted by `take`."""
        finite = torch.isfinite(a)
        self._finite[name] = self._finite.get(name, True) & finite.all()
        # A decomposition would fail, and tell no name.
        self._waiting.append((name, torch.where(finite, a, 0.0)))
        self._sides[name] = min(a.shape[-2:])

    def take(self) -> None:
        """Count what was seen: all maps of one size at once, since a decomposition waits for the
        device."""
        sizes: dict[torch.Size, list[tuple[str, Tensor]]] = {}
        for name, a in self._waiting:
            sizes.setdefault(a.shape[-2:], []).append((name, a))
        self._waiting.clear()
        for some in sizes.values():
            names, maps = zip(*some, strict=True)
            widths = [a.shape[1] for a in maps]
            found = ranks_of(torch.cat(maps, 1))
            # Whole numbers, so that equal ranks stay equal to the last digit.
            totals = (one.double().sum(0).split(widths) for one in found)
            for name, ranks, norms in zip(names, *totals, strict=True):
                self._ranks[name] = self._ranks.get(name, 0) + ranks
                self._norms[name] = self._norms.get(name, 0) + norms

    def add_images(self, count: int) -> None:
        """So many more images were shown."""
        self._images += count

    def scores(self) -> dict[str, Tensor]:
        """Name of the convolution -> (c,) mean normalised rank with ties broken.

        Raises:
            ConfigError: the responses of a layer are not numbers.
        """
        self.take()
        self._check()
        found = {}
        for name, ranks in self._ranks.items():
            share = ranks / (self._images * self._sides[name])
            found[name] = share + TIE * relative(self._norms[name])
        return found

    def _check(self) -> None:
        if not self._finite:
            return
        finite = torch.stack(list(self._finite.values())).tolist()
        bad = next((name for name, good in zip(self._finite, finite) if not good), None)
        if bad is not None:
            raise ConfigError(
                "The responses of layer {bad} are not numbers; the model has probably diverged. "
                "Lower the learning rate or choose another baseline.",
                bad=bad,
            )


def ranks_of(maps: Tensor) -> tuple[Tensor, Tensor]:
    """Numerical rank and nuclear norm of each map: (..., h, w) -> (...,), (...,).

    All ones have rank 1, the identity of size n has rank n, zeros have rank 0.
    """
    values = torch.linalg.svdvals(maps.float())
    return (values > RTOL * values[..., :1]).sum(-1), values.sum(-1)
