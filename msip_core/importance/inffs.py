"""Infinite Feature Selection: a feature counts by all paths that lead through it.

Features are the nodes of a graph; an edge is heavy where the two vary much and are independent:

    A_ij = a max(sd_i, sd_j) + (1 - a) (1 - |rho_ij|),   a = .5
    s_i  = row sum of sum over k >= 1 of (r A)^k = (Id - r A)^-1 - Id,   r = .9 / spectral radius

with Spearman's rho over images, and sd in units of the largest, so that the scale of a layer does
not matter. A response that never changes is taken as fully correlated: it tells nothing of its own
(what changes by rounding alone never does: the order of its images would be that of the digits).
Here the features are the channels that a last convolution of the head reads, pooled over space.
Source: Roffo et al. 2015 (ICCV); 2020, arXiv:2006.08184.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager

import torch
from torch import Tensor, nn

from msip_core.errors import ConfigError

MIX = 0.5  # share of the spread, the rest is independence
REGULAR = 0.9
ROUNDING = 1e-5  # of a pooled response, in float32
LEAST_IMAGES = 3  # rank correlations of fewer say nothing


class Pooled:
    """Mean over space of what each last convolution reads, image by image."""

    def __init__(self, last: Mapping[str, nn.Conv2d]) -> None:
        self.last = last
        self._rows: dict[str, list[Tensor]] = {name: [] for name in last}

    @contextmanager
    def watching(self) -> Iterator[None]:
        """Pool what passes while inside."""

        def hook(rows: list[Tensor]) -> Callable[..., None]:
            return lambda _m, inputs: rows.append(inputs[0].detach().mean((2, 3)).double())

        with ExitStack() as hooks:
            for name, conv in self.last.items():
                hooks.enter_context(conv.register_forward_pre_hook(hook(self._rows[name])))
            yield

    def seeds(self) -> dict[str, Tensor]:
        """Seeds of `nisp-inffs`, by name of the last convolution."""
        return {name: inf_fs(torch.cat(rows).cpu()) for name, rows in self._rows.items()}


def inf_fs(responses: Tensor) -> Tensor:
    """Inf-FS importance of each feature: (images, c) -> (c,), float64, >= 0.

    Two features of equal spread without correlation score alike: A = [[.5, 1], [1, .5]] has the
    spectral radius 1.5, r = .6, and the row sums of all paths are .9 / (1 - .9) = 9. NaN where the
    responses are no numbers.

    Raises:
        ConfigError: fewer than LEAST_IMAGES images.
    """
    if len(responses) < LEAST_IMAGES:
        raise ConfigError(
            "NISP with Inf-FS compares responses over images and needs at least {least} "
            "calibration images, not {n}: raise the calibration batches or choose "
            "NISP without Inf-FS.",
            least=LEAST_IMAGES,
            n=len(responses),
        )
    x = responses.double()
    if not torch.isfinite(x).all():
        return torch.full((x.shape[1],), torch.nan, dtype=x.dtype)  # refused by who ranks them
    spread = x.std(0, correction=0)
    still = spread <= ROUNDING * x.abs().amax(0)
    x, spread = torch.where(still, x[0], x), torch.where(still, 0.0, spread)
    spread = spread / spread.max().clamp_min(1e-300)
    a = MIX * torch.maximum(spread[:, None], spread) + (1 - MIX) * (1 - spearman(x).abs())
    radius = torch.linalg.eigvalsh(a).abs().max().clamp_min(1e-300)
    ones = torch.ones(len(a), 1, dtype=torch.float64)
    paths = torch.linalg.solve(torch.eye(len(a), dtype=torch.float64) - REGULAR / radius * a, ones)
    return paths.squeeze(1) - 1


def spearman(x: Tensor) -> Tensor:
    """Rank correlation of the columns, ties with their mean rank: (n, c) -> (c, c); 1 with a
    constant column, which tells nothing of its own."""
    columns = x.t().contiguous()
    ordered = columns.sort(1).values
    first = torch.searchsorted(ordered, columns, side="left")
    last = torch.searchsorted(ordered, columns, side="right")
    ranks = (first + last).double() / 2
    ranks = ranks - ranks.mean(1, keepdim=True)
    norms = ranks.norm(dim=1)
    product = norms[:, None] * norms
    rho = ranks @ ranks.t() / product.clamp_min(1e-300)
    return torch.where(product > 0, rho, torch.ones_like(rho)).clamp(-1, 1)
