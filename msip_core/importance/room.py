"""How many images of a calibration pass are in memory at once.

On a processor as many as the settings say: more are no faster, and others need the memory too. On a
GPU as many as a share of what is free holds, up to a whole batch, and never fewer than the settings
say. It changes how fast the pass is, not what it finds.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

SHARE = 0.25  # of what is free: other runs may be on the same GPU, and come to need theirs
PEAK = 2.0  # of what the backward pass keeps: gradients, and what is counted on the way


def images_at_once(model: nn.Module, image: Tensor, least: int, most: int, free: int | None) -> int:
    """How many images of one size pass the network at a time.

    Args:
        model: as it will run, with gradients.
        image: (1, 3, s, s), on the device of the model.
        least: as the settings say; also where nothing is known of the memory.
        most: more would be of no use.
        free: bytes, or None where it is not to be asked.
    """
    if free is None or most <= least:
        return least
    fit = int(SHARE * free / (PEAK * max(1, bytes_kept(model, image))))
    return max(least, min(most, fit))


def free_bytes(device: torch.device) -> int | None:
    """What is free on a GPU for this process, or None for another device."""
    if device.type != "cuda":
        return None
    free, _ = torch.cuda.mem_get_info(device)
    mine = torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
    return free + mine


def bytes_kept(model: nn.Module, image: Tensor) -> int:
    """What a forward pass of `image` keeps for the backward pass, the weights apart."""
    own = {p.untyped_storage().data_ptr() for p in [*model.parameters(), *model.buffers()]}
    kept: dict[int, int] = {}

    def note(tensor: Tensor) -> Tensor:
        memory = tensor.untyped_storage()
        if memory.data_ptr() not in own:
            kept[memory.data_ptr()] = memory.nbytes()
        return tensor

    with torch.enable_grad(), torch.autograd.graph.saved_tensors_hooks(note, lambda kept: kept):
        output = model(image)  # held until all is counted: memory that is free is given out again
    del output
    return sum(kept.values())
