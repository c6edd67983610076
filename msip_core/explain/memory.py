"""How many images go through the network at once: as many as memory allows, and no more."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import psutil
import torch
from numpy.typing import NDArray
from torch import Tensor

log = logging.getLogger(__name__)

# Measured growth of the resident set per image of a batch, 640 px, float32, no gradients: YOLOv8n
# 26 MB, s 48 MB, m 80 MB, that is 5, 10 and 16 times the input. Twice the largest for safety.
BYTES_PER_INPUT_BYTE = 33
SHARE_OF_FREE = 0.25
# On CPU a batch that outgrows the caches is slower (8 x 640 px a fifth slower than 4 x 640 px).
CPU_PIXELS = 1_700_000
LARGEST = 256


def batch_size(image: Tensor) -> int:
    """Images like this (3, H, W) per forward pass, from the free memory of its device."""
    device = image.device
    if device.type == "cuda":
        free, _ = torch.cuda.mem_get_info(device)
        largest = LARGEST
    else:
        free = psutil.virtual_memory().available
        largest = max(1, CPU_PIXELS // (image.shape[-1] * image.shape[-2]))
    need = image.numel() * image.element_size() * BYTES_PER_INPUT_BYTE
    return int(np.clip(free * SHARE_OF_FREE // need, 1, min(largest, LARGEST)))


def evaluate_batched(
    forward: Callable[[NDArray[Any]], NDArray[np.float64]],
    rows: NDArray[Any],
    image: Tensor,
    done: Callable[[int, float], None],
) -> NDArray[np.float64]:
    """forward(rows) in batches that fit; a batch that does not fit after all is halved.

    Args:
        rows: (n, ...), what `forward` takes.
        image: one input image, for its size and device.
        done: told rows and seconds after each batch; may raise to stop.
    """
    batch = batch_size(image)
    parts: list[NDArray[np.float64]] = []
    start = 0
    while start < len(rows):
        piece = rows[start : start + batch]
        began = time.perf_counter()
        try:
            parts.append(forward(piece))
        except torch.OutOfMemoryError:
            if batch == 1:
                raise
            batch = max(1, batch // 2)
            torch.cuda.empty_cache()
            log.warning("A batch did not fit into the device's memory: going on with %d.", batch)
            continue
        start += len(piece)
        done(len(piece), time.perf_counter() - began)
    return np.concatenate(parts)
