"""The bottlenecks of C2fV2 blocks: which there are, and taking one out.

    y0 = cv0(x), y1 = cv1(x), y_{j+2} = m_j(y_{j+1});     out = cv2(cat(y0, y1, ..., y_{n+1}))

With a shortcut, m_j(y) = y + F_j(y). Without F_j, y_{j+2} = y_{j+1}: the columns of cv2 that read
y_{j+2} are added to those that read y_{j+1}, and the result equals a zeroed residual branch up to
the order of sums. Without a shortcut the columns are dropped, which equals a zeroed m_j; a
bottleneck after it would then read something it was never trained on, so without a shortcut only
the last one of a block can go.

A bottleneck keeps its name when one before it has gone ("model.4.m.1" without "model.4.m.0"), so
that a run can speak of the layers of its baseline; stock files are numbered anew (detector.c2f).
Source: method sheet, section 5.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn
from ultralytics.nn.modules import C2f

from msip_core.detector.c2f import C2fV2
from msip_core.groups.budget import Branch
from msip_core.messages import msg


@dataclass(frozen=True)
class Site:
    """One bottleneck.

    Attributes:
        block: name of the C2fV2 that holds it ("model.4").
        key: its name in there ("1").
        shortcut: it adds its input to its output.
    """

    block: str
    key: str
    shortcut: bool

    @property
    def name(self) -> str:
        return f"{self.block}.m.{self.key}"

    @property
    def branch(self) -> Branch:
        """What the budget must leave out."""
        layers = (f"{self.name}.cv1.conv", f"{self.name}.cv2.conv")
        return Branch(layers, layers[1], f"{self.block}.cv2.conv")


def bottlenecks(model: nn.Module) -> tuple[Site, ...]:
    """All bottlenecks of the C2fV2 blocks, in network order."""
    return tuple(
        Site(name, key, bool(bottleneck.add))
        for name, block in model.named_modules()
        if isinstance(block, C2fV2)
        for key, bottleneck in block.m.named_children()
    )


def count_bottlenecks(model: nn.Module) -> int:
    """How many there are, also before C2f is opened."""
    return sum(len(block.m) for block in model.modules() if isinstance(block, C2f | C2fV2))


def with_followers(sites: Sequence[Site], site: Site) -> tuple[Site, ...]:
    """What goes when `site` goes: without a shortcut, also those behind it in its block."""
    if site.shortcut:
        return (site,)
    return tuple(sites[sites.index(site) : _end(sites, site)])


def is_sound(sites: Sequence[Site], gone: Collection[Site]) -> bool:
    """Whether these can go together: without a shortcut, none is left behind one that goes."""
    return all(f in gone for site in gone for f in with_followers(sites, site))


def remove_bottlenecks(model: nn.Module, names: Collection[str]) -> None:
    """Take bottlenecks out, in place. `cv2` of their block gets a new weight, so optimizers,
    averages and graphs made before are stale.

    Raises:
        ValueError: no such bottleneck, or one without a shortcut that others stand behind.
    """
    sites = {site.name: site for site in bottlenecks(model)}
    unknown = [name for name in names if name not in sites]
    if unknown:
        raise ValueError(
            msg(
                "no bottleneck {unknown}; there are {sites}",
                unknown=", ".join(unknown),
                sites=", ".join(sites),
            )
        )
    modules = dict(model.named_modules())
    # From the back, so that without shortcuts each is the last one when its turn comes.
    for name in reversed([name for name in sites if name in names]):
        _remove(modules[sites[name].block], sites[name].key)


@torch.no_grad()
def _remove(block: Any, key: str) -> None:
    keys = [name for name, _ in block.m.named_children()]
    place, gone = keys.index(key), block.m.get_submodule(key)
    widths = [part.conv.out_channels for part in (block.cv0, block.cv1, *(m.cv2 for m in block.m))]
    slices = list(block.cv2.conv.weight.split(widths, dim=1))
    mine = slices.pop(place + 2)
    if gone.add:
        slices[place + 1] = slices[place + 1] + mine
    elif place + 1 < len(keys):
        raise ValueError(
            msg("bottleneck {key} has no shortcut, and others stand behind it", key=key)
        )
    conv = block.cv2.conv
    conv.weight = nn.Parameter(torch.cat(slices, 1), requires_grad=conv.weight.requires_grad)
    conv.in_channels = conv.weight.shape[1]
    delattr(block.m, key)  # `del block.m[...]` would number the others anew


def _end(sites: Sequence[Site], site: Site) -> int:
    """Index behind the last bottleneck of the same block."""
    return max(i for i, other in enumerate(sites) if other.block == site.block) + 1
