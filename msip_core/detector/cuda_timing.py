"""All that timing on an NVIDIA GPU needs of CUDA: its clock, and a piece of work recorded whole.

Everything else of `msip_core.detector.engines` runs on any device; tests put others in the place of
these two functions.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch

Run = Callable[[], Any]
_WARM = 3  # calls before recording: kernels and their workspaces are chosen in the first


def gpu_milliseconds(run: Run, device: str) -> float:
    """Milliseconds that pass on the GPU from an idle start to the end of all that `run` asks for,
    the processor's share in starting it included."""
    with torch.cuda.device(device):
        torch.cuda.synchronize()
        start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
        start.record()
        run()
        end.record()
        end.synchronize()
        return float(start.elapsed_time(end))


def recorded(run: Run, device: str) -> Run:
    """`run` as a CUDA graph: its kernels are recorded once, and a call replays all of them by one
    command. What it reads and writes must stay where it is.

    `torch.cuda.graph` would empty the allocator's cache for each; a table of layers has a
    thousand.
    """
    with torch.cuda.device(device):
        stream, graph = torch.cuda.Stream(), torch.cuda.CUDAGraph()
        stream.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(stream):
            for _ in range(_WARM):
                run()
            stream.synchronize()
            graph.capture_begin()
            try:
                kept = run()
            finally:
                graph.capture_end()
        torch.cuda.current_stream().wait_stream(stream)

    def replay() -> Any:
        graph.replay()
        return kept

    return replay
