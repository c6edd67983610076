"""The ways to run a network, one class each: whether it is there, how it runs, how it is timed.

    Eager          PyTorch, layer by layer                        processor, GPU
    Recorded       PyTorch as a CUDA graph                        GPU
    OnnxRuntime    the ONNX file in ONNX Runtime                  processor, GPU (CUDA provider)
    OpenVino       the OpenVINO file                              processor
    TensorRT       the ONNX file, built for the GPU at hand       GPU

Each gives a call that runs a network once, or a layer some times, on images that are on the device
already. On a processor it is timed by the wall clock, on a GPU by the GPU's own; a made-up device
in tests is an engine with another clock. On a GPU weights and maps lie channels-last, in which
tensor cores read them.
"""

from __future__ import annotations

import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from msip_core.detector import cuda_timing
from msip_core.detector.c2f import to_stock
from msip_core.detector.devices import describe_device
from msip_core.detector.export import check_format, export_module
from msip_core.detector.library import DetectionModel
from msip_core.errors import ConfigError
from msip_core.groups.layers import Layer
from msip_core.messages import msg
from msip_core.ways import GPU_BATCHES, GPU_FORMATS, PRECISIONS, PROCESSOR_FORMATS, Way, refusal

Run = Callable[[], Any]
Pixels = NDArray[np.float32]
# A layer of a GPU takes a hundredth of what starting it takes: it is repeated until so many bytes
# are read and written, which takes some tenths of a millisecond, at most so often.
_REPEATED_BYTES, _MOST_REPEATS = 512e6, 32
_GPU_TYPES = {"fp32": torch.float32, "fp16": torch.float16}


class Repeated(NamedTuple):
    """A call that does its work so many times."""

    run: Run
    times: int = 1


class Engine(ABC):
    """One way to run networks on this computer.

    Attributes:
        at_once: how many layers may be in memory together.
    """

    def __init__(self, way: Way) -> None:
        self.way = way
        self.at_once = 4 if way.on_gpu else 20
        self._images: dict[int, Pixels] = {}

    @property
    def torch_device(self) -> str:
        """Where torch's tensors are."""
        return self.way.device

    # --- is it there ---------------------------------------------------------------

    def missing(self) -> str | None:
        """Why networks cannot be run so on this computer, with what to do; None where they can."""
        way = self.way
        why = refusal(way.device, way.format, way.precision)
        if why:
            return msg("This cannot be measured: {why}.", why=why)
        return no_gpu(way.device) if way.on_gpu else None

    @property
    def hardware(self) -> str:
        """Name of the device."""
        return hardware_of(self.way.device)

    # --- how it runs -----------------------------------------------------------------

    @abstractmethod
    def network(self, model: DetectionModel, side: int, path: Path) -> Run:
        """A call that runs the network once on `way.batch` images of this side.

        Args:
            path: file to write to, where the format has one; its suffix is added.
        """

    @abstractmethod
    def layer(self, layer: Layer) -> Repeated:
        """A call that runs a convolution with bias (the folded batch norm) and SiLU."""

    def images(self, side: int) -> Pixels:
        """(batch, 3, side, side) noise, the same for every network."""
        if side not in self._images:
            shape = (self.way.batch, 3, side, side)
            self._images[side] = np.random.default_rng(0).random(shape, dtype=np.float32)
        return self._images[side]

    # --- how it is timed -----------------------------------------------------------

    def milliseconds(self, run: Run) -> float:
        """Of one call, until all of it is done."""
        if self.way.on_gpu:
            return cuda_timing.gpu_milliseconds(run, self.way.device)
        return wall_milliseconds(run)


class Eager(Engine):
    """PyTorch, in inference mode, batch norms folded."""

    def network(self, model: DetectionModel, side: int, path: Path) -> Run:
        twin: Any = to_stock(model).cpu().float().eval().fuse(verbose=False)
        images = self._placed(torch.from_numpy(self.images(side)))
        if self.way.on_gpu:
            twin = twin.to(images.device, images.dtype, memory_format=torch.channels_last)

        def run() -> Any:
            with torch.inference_mode():
                return twin(images)

        return run

    def layer(self, layer: Layer) -> Repeated:
        from torch.nn.functional import conv2d, silu

        weight, bias = layer_weights(layer)
        shape = (self.way.batch, *layer.reads)
        if self.way.on_gpu:  # large, and made there: the processor would need longer than the GPU
            images = self._placed(torch.rand(shape, device=self.torch_device))
        else:
            images = torch.from_numpy(np.random.default_rng(0).random(shape, dtype=np.float32))
        x, w, b = images, *(self._placed(torch.from_numpy(a)) for a in (weight, bias))
        times = self._repeats(layer)

        def run() -> Any:
            with torch.inference_mode():
                for _ in range(times):
                    found = silu(
                        conv2d(x, w, b, layer.stride, layer.kernel // 2, groups=layer.groups),
                        inplace=True,
                    )
                return found

        return Repeated(run, times)

    def _placed(self, tensor: Tensor) -> Tensor:
        if not self.way.on_gpu:
            return tensor
        placed = tensor.to(self.torch_device, _GPU_TYPES[self.way.precision])
        return placed.contiguous(memory_format=torch.channels_last) if placed.ndim == 4 else placed

    def _repeats(self, layer: Layer) -> int:
        if not self.way.on_gpu:
            return 1
        values = int(np.prod(layer.reads)) + layer.outputs * layer.side**2
        size = _GPU_TYPES[self.way.precision].itemsize
        return int(np.clip(_REPEATED_BYTES / (self.way.batch * values * size), 1, _MOST_REPEATS))


class Recorded(Eager):
    """The same as a CUDA graph: without the processor's time between two layers, which is what
    small networks mostly wait for."""

    def network(self, model: DetectionModel, side: int, path: Path) -> Run:
        return cuda_timing.recorded(super().network(model, side, path), self.way.device)

    def layer(self, layer: Layer) -> Repeated:
        run, times = super().layer(layer)
        return Repeated(cuda_timing.recorded(run, self.way.device), times)


class OnnxRuntime(Engine):
    """ONNX Runtime, with torch's number of threads on a processor, with its CUDA provider on a
    GPU."""

    def missing(self) -> str | None:
        if lacks := super().missing() or _no_package("onnx"):
            return lacks
        if find_spec("onnxruntime") is None:
            return msg("This needs the package 'onnxruntime': pip install onnxruntime.")
        if self.way.on_gpu and _PROVIDER[True] not in _providers():
            return msg(
                "This ONNX Runtime has no CUDA provider: pip install onnxruntime-gpu in the place "
                "of onnxruntime."
            )
        return None

    def network(self, model: DetectionModel, side: int, path: Path) -> Run:
        return self.file(onnx_file(model, side, path, self.way), side)

    def file(self, path: Path, side: int) -> Run:
        """The same of a file that is there."""
        return self._call(str(path), self.images(side))

    def layer(self, layer: Layer) -> Repeated:
        if self.way.on_gpu:
            raise ValueError(msg("layers of a GPU are timed as CUDA graphs: see Way.of_layers"))
        shape = (self.way.batch, *layer.reads)
        images = np.random.default_rng(0).random(shape, dtype=np.float32)
        return Repeated(self._call(onnx_layer(layer, self.way.batch), images))

    def _call(self, model: str | bytes, images: Pixels) -> Run:
        import onnxruntime as ort

        session = onnx_session(model, self.way.device)
        name, half = session.get_inputs()[0].name, session.get_inputs()[0].type == "tensor(float16)"
        numbers: Any = np.float16 if half else np.float32
        if not self.way.on_gpu:
            feed = {name: images.astype(numbers, copy=False)}
            return lambda: session.run(None, feed)
        index = _index(self.way.device)
        binding = session.io_binding()
        value = ort.OrtValue.ortvalue_from_numpy(images.astype(numbers), "cuda", index)
        binding.bind_ortvalue_input(name, value)
        for output in session.get_outputs():
            binding.bind_output(output.name, "cuda", index)

        def run() -> Any:
            session.run_with_iobinding(binding)
            binding.synchronize_outputs()
            return value  # which must live as long as the call

        return run


class OpenVino(Engine):
    """OpenVINO on the processor, with torch's number of threads."""

    def missing(self) -> str | None:
        return super().missing() or _no_package("openvino")

    def network(self, model: DetectionModel, side: int, path: Path) -> Run:
        folder = export_module(
            model,
            "openvino",
            path.with_name(f"{path.name}_openvino_model"),
            side,
            batch=self.way.batch,
        )
        return self._call(str(next(folder.glob("*.xml"))), self.images(side))

    def layer(self, layer: Layer) -> Repeated:
        shape = (self.way.batch, *layer.reads)
        images = np.random.default_rng(0).random(shape, dtype=np.float32)
        return Repeated(self._call(onnx_layer(layer, self.way.batch), images))

    def _call(self, model: str | bytes, images: Pixels) -> Run:
        settings = {
            "PERFORMANCE_HINT": "LATENCY",
            "INFERENCE_NUM_THREADS": torch.get_num_threads(),
            "INFERENCE_PRECISION_HINT": "f32",  # else bf16 where the processor has it
        }
        core = _openvino_core()
        compiled = core.compile_model(core.read_model(model), "CPU", settings)
        request = compiled.create_infer_request()
        return lambda: request.infer([images])


class TensorRT(Engine):
    """TensorRT, which tries out kernels for every layer while it builds: a minute for a network."""

    def missing(self) -> str | None:
        if lacks := super().missing() or _no_package("onnx"):
            return lacks
        if find_spec("tensorrt") is None:
            return msg("This needs the package 'tensorrt': pip install tensorrt.")
        return None

    def network(self, model: DetectionModel, side: int, path: Path) -> Run:
        from msip_core.detector.tensorrt_run import tensorrt_run

        return tensorrt_run(onnx_file(model, side, path, self.way), self.way.device)

    def layer(self, layer: Layer) -> Repeated:
        raise ValueError(msg("layers of a GPU are timed as CUDA graphs: see Way.of_layers"))


_KINDS: dict[str, type[Engine]] = {
    "pytorch": Eager,
    "cudagraph": Recorded,
    "onnx": OnnxRuntime,
    "openvino": OpenVino,
    "tensorrt": TensorRT,
}


def wall_milliseconds(run: Run) -> float:
    """Of one call, by the clock on the wall."""
    start = time.perf_counter()
    run()
    return (time.perf_counter() - start) * 1e3


def engine_for(way: Way) -> Engine:
    """The engine of a way, there or not.

    Raises:
        ConfigError: no such format.
    """
    if way.format not in _KINDS:
        raise ConfigError(
            "Speed is measured in {kinds}, not in '{format}'.",
            kinds=", ".join(_KINDS),
            format=way.format,
        )
    return _KINDS[way.format](way)


def ready_engine(way: Way) -> Engine:
    """The same, or a sentence with what it lacks.

    Raises:
        ConfigError: networks cannot be run so on this computer.
    """
    engine = engine_for(way)
    if why := engine.missing():
        raise ConfigError(why)
    return engine


def ways_of(
    device: str,
    formats: Sequence[str] | None = None,
    precisions: Sequence[str] | None = None,
    batches: Sequence[int] | int | None = None,
) -> list[Way]:
    """All ways on a device, whether they are there or not, of those that are named: on the
    processor one image in fp32, on a GPU every format in both precisions, one image and 32."""
    gpu = device.startswith("cuda")
    sizes = (batches,) if isinstance(batches, int) else batches
    return [
        Way(device, form, precision, int(batch))  # type: ignore[arg-type]
        for batch in sizes or (GPU_BATCHES if gpu else (1,))
        for precision in precisions or (PRECISIONS if gpu else ("fp32",))
        for form in formats or (GPU_FORMATS if gpu else PROCESSOR_FORMATS)
    ]


def no_gpu(device: str) -> str | None:
    """Why torch cannot compute on this NVIDIA GPU; None where it can."""
    count = torch.cuda.device_count() if torch.cuda.is_available() else 0
    if count == 0:
        return msg("This is measured on an NVIDIA GPU, and torch finds none on this computer.")
    if _index(device) >= count:
        return msg(
            "There is no GPU '{device}' on this computer: torch finds {count}.",
            device=device,
            count=count,
        )
    return None


@cache
def hardware_of(device: str) -> str:
    """Name of a device; "" for a GPU that is not there."""
    if device.startswith("cuda"):
        return "" if no_gpu(device) else torch.cuda.get_device_name(_index(device))
    return describe_device("cpu").name


# --- files and layers in ONNX ------------------------------------------------------

_PROVIDER = {False: "CPUExecutionProvider", True: "CUDAExecutionProvider"}


def onnx_session(model: str | bytes, device: str = "cpu") -> Any:
    """A session of ONNX Runtime; on the processor with torch's number of threads, which do not
    spin."""
    import onnxruntime as ort

    options = ort.SessionOptions()
    options.intra_op_num_threads = torch.get_num_threads()
    options.inter_op_num_threads = 1
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    options.log_severity_level = 3
    if device == "cpu":
        return ort.InferenceSession(model, options, providers=[_PROVIDER[False]])
    providers = [(_PROVIDER[True], {"device_id": _index(device)}), _PROVIDER[False]]
    return ort.InferenceSession(model, options, providers=providers)


def onnx_file(model: DetectionModel, side: int, path: Path, way: Way) -> Path:
    """The network as an .onnx file in the precision of `way`, inputs and outputs included."""
    whole = export_module(model, "onnx", path.with_suffix(".onnx"), side, batch=way.batch)
    return _halved(whole) if way.precision == "fp16" else whole


def _halved(path: Path) -> Path:
    import onnx
    from onnxruntime.transformers.float16 import convert_float_to_float16

    onnx.save(convert_float_to_float16(onnx.load(str(path))), str(path))
    return path


def layer_weights(layer: Layer) -> tuple[Pixels, Pixels]:
    """Random filters and a bias of zeros."""
    shape = (layer.outputs, layer.reads[0] // layer.groups, layer.kernel, layer.kernel)
    drawn = np.random.default_rng(1).standard_normal(shape, dtype=np.float32)
    weight = (drawn / np.sqrt(np.prod(shape[1:]))).astype(np.float32)
    return weight, np.zeros(layer.outputs, np.float32)


def onnx_layer(layer: Layer, batch: int) -> bytes:
    """The layer as an ONNX model."""
    from onnx import TensorProto, helper, numpy_helper

    weight, bias = layer_weights(layer)
    pad = layer.kernel // 2
    nodes = [
        helper.make_node(
            "Conv", ["x", "w", "b"], ["y"], kernel_shape=[layer.kernel] * 2,
            strides=[layer.stride] * 2, pads=[pad] * 4, group=layer.groups,
        ),
        helper.make_node("Sigmoid", ["y"], ["s"]),
        helper.make_node("Mul", ["y", "s"], ["z"]),
    ]  # fmt: skip
    known = [numpy_helper.from_array(v, name) for name, v in (("w", weight), ("b", bias))]
    floats, shape = TensorProto.FLOAT, [batch, *layer.reads]
    graph = helper.make_graph(
        nodes,
        "layer",
        [helper.make_tensor_value_info("x", floats, shape)],
        [helper.make_tensor_value_info("z", floats, None)],
        known,
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    found: bytes = model.SerializeToString()
    return found


@cache
def _openvino_core() -> Any:
    """One for the life of the process.

    Its CPU plugin puts its own stack in the place where signal handlers run, and takes it away
    when the plugin goes. Of two, the first to go leaves the second's way back pointing at freed
    memory, and the next signal (SIGTERM, a child's end) kills the process (OpenVINO 2026.4).
    """
    import openvino

    return openvino.Core()


def _index(device: str) -> int:
    number = device.removeprefix("cuda").removeprefix(":")
    return int(number) if number else 0


def _providers() -> list[str]:
    import onnxruntime as ort

    return list(ort.get_available_providers())


def _no_package(format: str) -> str | None:
    try:
        check_format(format)
    except ConfigError as error:
        return error.message
    return None
