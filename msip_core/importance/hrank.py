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

import torch
from torch import Tensor
from torch.nn import functional

from msip_core.errors import ConfigError
from msip_core.importance.members import ResponseImportance
from msip_core.importance.msip import relative

RTOL = 1e-2
IMAGES, SIDE = 32, 320
TIE = 1e-6


class HRankImportance(ResponseImportance):
    """Mean normalised rank of the maps that a channel's filters give."""

    needs = frozenset({"rank"})


class RankTally:
    """Ranks and nuclear norms of every Conv block, added up over images."""

    def __init__(self) -> None:
        self._ranks: dict[str, Tensor] = {}
        self._norms: dict[str, Tensor] = {}
        self._sides: dict[str, int] = {}
        self._images = 0

    def see(self, name: str, a: Tensor) -> None:
        """Take the responses (b, c, h, w) of one micro-batch.

        Raises:
            ConfigError: the responses are not numbers.
        """
        if not torch.isfinite(a).all():
            raise ConfigError(
                f"The responses of layer {name} are not numbers; the model has probably diverged. "
                "Lower the learning rate or choose another baseline."
            )
        ranks, norms = ranks_of(a)
        self._sides[name] = min(a.shape[-2:])
        # Whole numbers, so that equal ranks stay equal to the last digit.
        self._ranks[name] = self._ranks.get(name, 0) + ranks.double().sum(0).cpu()
        self._norms[name] = self._norms.get(name, 0) + norms.double().sum(0).cpu()

    def add_images(self, count: int) -> None:
        """So many more images were shown."""
        self._images += count

    def scores(self) -> dict[str, Tensor]:
        """Name of the convolution -> (c,) mean normalised rank with ties broken."""
        found = {}
        for name, ranks in self._ranks.items():
            share = ranks / (self._images * self._sides[name])
            found[name] = share + TIE * relative(self._norms[name])
        return found


def ranks_of(maps: Tensor) -> tuple[Tensor, Tensor]:
    """Numerical rank and nuclear norm of each map: (..., h, w) -> (...,), (...,).

    All ones have rank 1, the identity of size n has rank n, zeros have rank 0.
    """
    values = torch.linalg.svdvals(maps.float())
    return (values > RTOL * values[..., :1]).sum(-1), values.sum(-1)


def shrunk(pixels: Tensor) -> Tensor:
    """(b, 3, s, s) images, at most SIDE px large."""
    if pixels.shape[-1] <= SIDE:
        return pixels
    return functional.interpolate(pixels, size=(SIDE, SIDE), mode="area")
