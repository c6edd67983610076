"""Options that say in which way milliseconds are measured, alike for runs and studies."""

from __future__ import annotations

from typing import Annotated

import typer

LatencyDevice = Annotated[
    str | None,
    typer.Option(
        help="Where milliseconds are measured: cpu, auto (where the run runs), cuda:0.",
        show_default="cpu",
    ),
]
LatencyFormatName = Annotated[
    str | None,
    typer.Option(
        help="What is timed: pytorch, onnx, openvino; on a GPU pytorch, cudagraph, onnx, tensorrt; "
        "or auto.",
        show_default="onnx, on a GPU cudagraph",
    ),
]
LatencyPrecisionName = Annotated[
    str | None, typer.Option(help="fp32, or on a GPU fp16.", show_default="fp32")
]
LatencyBatch = Annotated[
    int | None,
    typer.Option(min=1, help="Images at a time when it is timed.", show_default="1"),
]


def gpu_of(latency_device: str | None) -> str | None:
    """The device of a run whose milliseconds are measured on this one, where that is a GPU by name:
    it is the one that the run is for."""
    return latency_device if (latency_device or "").startswith("cuda") else None
