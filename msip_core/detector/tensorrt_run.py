"""A network in TensorRT, built for the GPU at hand from an ONNX file.

The network is strongly typed: its numbers are those of the file (TensorRT 10 and later).
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from msip_core.errors import WorkError


def tensorrt_run(onnx: Path, device: str) -> Callable[[], Any]:
    """A call that starts the network once on the current stream, on buffers of its own.

    Raises:
        WorkError: TensorRT cannot build it.
    """
    import tensorrt as trt

    logger = trt.Logger(trt.Logger.ERROR)
    with torch.cuda.device(device):
        builder = trt.Builder(logger)
        typed = 1 << int(trt.NetworkDefinitionCreationFlag.STRONGLY_TYPED)
        network = builder.create_network(typed)
        parser = trt.OnnxParser(network, logger)
        if not parser.parse_from_file(str(onnx)):
            raise WorkError(
                "TensorRT cannot read the network: {get_error}", get_error=parser.get_error(0)
            )
        plan = builder.build_serialized_network(network, builder.create_builder_config())
        if plan is None:
            raise WorkError("TensorRT could not build the network for this GPU.")
        engine = trt.Runtime(logger).deserialize_cuda_engine(plan)
        context = engine.create_execution_context()
        numbers = {trt.DataType.FLOAT: torch.float32, trt.DataType.HALF: torch.float16}
        buffers = {}
        for place in range(engine.num_io_tensors):
            name = engine.get_tensor_name(place)
            shape, kind = tuple(engine.get_tensor_shape(name)), engine.get_tensor_dtype(name)
            buffers[name] = torch.rand(shape, device=device).to(numbers[kind])
            context.set_tensor_address(name, buffers[name].data_ptr())

    def run() -> Any:
        context.execute_async_v3(torch.cuda.current_stream(device).cuda_stream)
        return engine, buffers  # which must live as long as the call

    return run
