"""What a convolution reads and where it is looked at; shared by the criteria and the refit."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class Places:
    """Positions of a map that are looked at: drawn for each image by its number, so that they are
    the same for every network and for every size of block."""

    def __init__(self, images: int, positions: int, seed: int) -> None:
        self.each, self.seed = -(-positions // images), seed
        self._drawn: dict[tuple[int, int], Tensor] = {}
        self._there: dict[tuple[range, int, str], Tensor] = {}

    def __call__(self, images: range, cells: int, device: torch.device | str = "cpu") -> Tensor:
        """(images, p) flat positions in maps of `cells`; brought to the device once."""
        key = (images, cells, str(device))
        if key not in self._there:
            drawn = torch.stack([self._of(image, cells) for image in images])
            self._there[key] = drawn.to(device)
        return self._there[key]

    def _of(self, image: int, cells: int) -> Tensor:
        if (image, cells) not in self._drawn:
            generator = torch.Generator().manual_seed(self.seed * 1_000_003 + image)
            order = torch.randperm(cells, generator=generator)
            self._drawn[image, cells] = order[: self.each].sort().values
        return self._drawn[image, cells]


def windows(conv: nn.Conv2d, x: Tensor, cells: Tensor, width: int) -> Tensor:
    """Inputs of the kernel at these positions of an output that is `width` wide.

    Args:
        x: (b, c, h, w), what the convolution reads.
        cells: (b, p) flat positions in the output.

    Returns:
        (b * p, groups, c / groups * kernel), in the order of the weights.
    """
    padding = conv._reversed_padding_repeated_twice
    mode = "constant" if conv.padding_mode == "zeros" else conv.padding_mode
    x = F.pad(x, padding, mode=mode)
    rows, columns = cells // width * conv.stride[0], cells % width * conv.stride[1]
    down = torch.arange(conv.kernel_size[0], device=x.device) * conv.dilation[0]
    right = torch.arange(conv.kernel_size[1], device=x.device) * conv.dilation[1]
    flat = (rows[..., None, None] + down[:, None]) * x.shape[3] + columns[..., None, None] + right
    index = flat.flatten(1)[:, None].expand(-1, x.shape[1], -1)
    taken = x.flatten(2).gather(2, index).unflatten(2, (cells.shape[1], -1))
    return taken.transpose(1, 2).reshape(cells.numel(), conv.groups, -1)


def norms_behind(model: nn.Module) -> dict[nn.Conv2d, nn.BatchNorm2d]:
    """The batch norm behind each convolution of a Conv block."""
    blocks = [(getattr(m, "conv", None), getattr(m, "bn", None)) for m in model.modules()]
    return {
        conv: norm
        for conv, norm in blocks
        if isinstance(conv, nn.Conv2d) and isinstance(norm, nn.BatchNorm2d)
    }
