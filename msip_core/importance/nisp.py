"""NISP: importance of the final responses, handed back to every channel through the weights.

    s_l = |W_{l+1}|^T s_{l+1}

All layers at once by ONE backward pass: in a linear copy of the network (W -> |W|; batch norm ->
|gamma| / sqrt(var + eps) without shift; activations -> identity; max-pool -> mean) the gradient at
a Conv block's output, summed over space, is s; additions, concatenations and upsampling come for
free. Everything in float64, since the products of dozens of layers span many decades. A channel
with a small gamma is kept when important channels read it, unlike in BN scale.

The final responses are the inputs of the six last head convolutions (boxes and classes at three
scales), every position alike. Their importance s is

    nisp        what the last convolution makes of channel i: sum over o of |W_oi|
    nisp-inffs  Infinite Feature Selection (`inf_fs`) on what the last convolution reads, pooled
                over space, from all calibration images

Scores are for ranking inside one layer only: they grow with every layer that lies behind, so one
ranking over the network would be senseless; dividing by the group's mean only keeps the numbers
near 1.
Source: Yu et al. 2018, arXiv:1711.05908 (there with Inf-FS).
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import AbstractContextManager
from typing import Any

import torch
from torch import Tensor, nn

from msip_core.detector.library import copy_model
from msip_core.errors import ConfigError
from msip_core.groups.hooks import heard
from msip_core.importance.members import ResponseImportance
from msip_core.importance.responses import conv_blocks
from msip_core.importance.statistic import Found, Scene, Statistic


class NispImportance(ResponseImportance):
    """Propagated importance, seeded by the last convolutions; divided by the group's mean."""

    needs = frozenset({"nisp"})
    normalise = True


class NispInfFsImportance(NispImportance):
    """The same, seeded by Inf-FS on calibration responses."""

    needs = frozenset({"nisp-inffs"})


def last_convolutions(model: nn.Module) -> dict[str, nn.Conv2d]:
    """The convolutions of the head whose outputs are boxes and classes, by name."""
    head: Any = model.model[-1]  # type: ignore[index]
    ends = {id(branch[-1]) for branches in (head.cv2, head.cv3) for branch in branches}
    return {name: m for name, m in model.named_modules() if id(m) in ends}


def column_sums(last: Mapping[str, nn.Conv2d]) -> dict[str, Tensor]:
    """Seeds of `nisp`: sum over outputs and kernel of |W|, for every channel that is read."""
    return {name: conv.weight.detach().abs().sum((0, 2, 3)).double() for name, conv in last.items()}


def propagate(net: nn.Module, image: Tensor, seeds: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """NISP scores of every Conv block.

    Args:
        net: a copy that may be changed: it is made linear and moved to float64.
        image: (1, 3, s, s) beside the network; only its size matters, which says how often
            kernels hang over edges.
        seeds: name of a last convolution -> (c,) importance of each channel that it reads.

    Returns:
        name of the convolution of each Conv block -> (c,) float64 score of its output.
    """
    make_linear(net)
    net.eval().requires_grad_(False).double()
    found: dict[str, Tensor] = {}
    ends: list[tuple[Tensor, Tensor]] = []

    def collect(name: str, _inputs: Any, output: Tensor) -> None:
        found[name] = output.new_zeros(output.shape[1])

        def keep(gradient: Tensor) -> None:
            found[name] += gradient.sum((0, 2, 3))

        output.register_hook(keep)

    def seed(name: str, inputs: tuple[Tensor, ...], _output: Tensor) -> None:
        x = inputs[0]
        ends.append((x, seeds[name].to(x).view(1, -1, 1, 1).expand_as(x)))

    last = {name: net.get_submodule(name) for name in seeds}
    with heard(dict(conv_blocks(net)), collect), heard(last, seed):
        net(image.double().requires_grad_(True))
    torch.autograd.backward([x for x, _ in ends], [s for _, s in ends])
    return found


def make_linear(net: nn.Module) -> None:
    """Make every layer linear with non-negative weights, in place."""
    for module in list(net.modules()):
        for name, child in list(module.named_children()):
            if type(child).__module__ == "torch.nn.modules.activation":
                setattr(module, name, nn.Identity())
            elif isinstance(child, nn.MaxPool2d):
                # Over what is there, not the padding: an output passes on all of its score.
                mean = nn.AvgPool2d(
                    child.kernel_size,
                    child.stride,
                    child.padding,
                    child.ceil_mode,
                    count_include_pad=False,
                )
                setattr(module, name, mean)
    with torch.no_grad():
        for module in net.modules():
            if isinstance(module, nn.Conv2d | nn.modules.batchnorm._BatchNorm):
                if module.weight is not None:  # a batch norm without factors has gamma 1
                    module.weight.abs_()
                if module.bias is not None:
                    module.bias.zero_()
            if isinstance(module, nn.modules.batchnorm._BatchNorm):
                module.running_mean.zero_()  # type: ignore[union-attr]


class _Propagated(Statistic):
    """Seeds at the last convolutions, and what becomes of them, at the size of the images; on the
    processor where the device does not know float64."""

    def seeds(self) -> dict[str, Tensor]:
        """Name of a last convolution -> (c,) importance of each channel that it reads."""
        raise NotImplementedError

    def result(self) -> Found:
        (kind,) = self.asked
        scene = self.scene
        scene.pause()
        device = "cpu" if scene.device.type == "mps" else scene.device
        image = torch.zeros(1, *scene.calibration.images.shape[1:], device=device)
        twin = copy_model(scene.model).to(device)  # type: ignore[arg-type]
        return {kind: propagate(twin, image, self.seeds())}


class Nisp(_Propagated):
    """Seeded by what the last convolutions make of each channel."""

    kinds = frozenset({"nisp"})

    def seeds(self) -> dict[str, Tensor]:
        return column_sums(last_convolutions(self.scene.model))


class NispInfFs(_Propagated):
    """Seeded by Inf-FS on what the last convolutions read."""

    kinds = frozenset({"nisp-inffs"})
    wants = frozenset({"batches"})

    def __init__(self, scene: Scene, asked: frozenset[str]) -> None:
        super().__init__(scene, asked)
        self._pooled = Pooled(last_convolutions(scene.model))

    def batch(self, part: range) -> AbstractContextManager[Any]:
        return self._pooled.watching()

    def seeds(self) -> dict[str, Tensor]:
        return self._pooled.seeds()


# --- Infinite Feature Selection ---------------------------------------------------

MIX = 0.5  # share of the spread, the rest is independence
REGULAR = 0.9
ROUNDING = 1e-5  # of a pooled response, in float32
LEAST_IMAGES = 3  # rank correlations of fewer say nothing


class Pooled:
    """Mean over space of what each last convolution reads, image by image."""

    def __init__(self, last: Mapping[str, nn.Conv2d]) -> None:
        self.last = last
        self._rows: dict[str, list[Tensor]] = {name: [] for name in last}

    def watching(self) -> AbstractContextManager[None]:
        """Pool what passes while inside."""
        return heard(self.last, self._pool)

    def _pool(self, name: str, inputs: tuple[Tensor, ...], _output: Tensor) -> None:
        self._rows[name].append(inputs[0].detach().mean((2, 3)).double())

    def seeds(self) -> dict[str, Tensor]:
        """Seeds of `nisp-inffs`, by name of the last convolution."""
        return {name: inf_fs(torch.cat(rows).cpu()) for name, rows in self._rows.items()}


def inf_fs(responses: Tensor) -> Tensor:
    """Inf-FS importance of each feature: (images, c) -> (c,), float64, >= 0.

    Features are the nodes of a graph and count by all paths that lead through them; an edge is
    heavy where the two vary much and are independent:

        A_ij = a max(sd_i, sd_j) + (1 - a) (1 - |rho_ij|),   a = .5
        s_i  = row sum of sum over k >= 1 of (r A)^k = (Id - r A)^-1 - Id

    with r = .9 / spectral radius, Spearman's rho over images, and sd in units of the largest, so
    that the scale of a layer does not matter. A response that never changes is taken as fully
    correlated: it tells nothing of its own (what changes by rounding alone never does: the order of
    its images would be that of the digits).
    Source: Roffo et al. 2015 (ICCV); 2020, arXiv:2006.08184.

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
    from scipy.stats import rankdata  # takes time to import, and few runs need it

    ranks = torch.from_numpy(rankdata(x.numpy(), axis=0))
    return torch.corrcoef(ranks.t()).reshape(x.shape[1], x.shape[1]).nan_to_num(1.0)
