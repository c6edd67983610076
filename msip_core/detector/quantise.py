"""A detector in 8-bit integers: the light model that needs no pruning at all.

ONNX Runtime's static quantisation (QDQ): every convolution computes in int8, each output channel of
its weight with a scale of its own; the ranges of the activations are those of calibration images.
What turns the head's output into boxes stays in floating point: its distances are a softmax, in
which a step of 1/255 of the largest number would move every box. Weights keep seven bits, since
processors without VNNI add pairs of products in 16 bits, which full weights overflow (so ONNX
Runtime's documentation of quantisation).
"""

from __future__ import annotations

import logging
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from onnxruntime.quantization import CalibrationDataReader, QuantType, quantize_static
from torch import Tensor

from msip_core.data.dataset import Dataset
from msip_core.detector.batch import Batch
from msip_core.detector.engines import onnx_session
from msip_core.detector.export import export_module
from msip_core.detector.images import EvaluationBatches
from msip_core.detector.library import DetectionModel

CALIBRATION_IMAGES = 64
_DECODING = "/dfl/"  # in the name of the convolution that turns distances into boxes


def quantise(
    model: DetectionModel,
    dataset: Dataset,
    imgsz: int,
    out: Path,
    *,
    images: int = CALIBRATION_IMAGES,
    tick: Callable[[], None] | None = None,
) -> Path:
    """Write the model in int8, calibrated on images of the train split, as the .onnx file `out`.

    Raises:
        DatasetError: there are no train images.
    """
    batches = EvaluationBatches(dataset, "train", imgsz=imgsz, batch=1, limit=images, tick=tick)
    out.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="int8-", dir=out.parent) as folder:
        whole = export_module(model, "onnx", Path(folder) / "whole.onnx", imgsz, dynamic=True)
        logging.disable(logging.WARNING)  # it advises a preprocessing that changes nothing here
        try:
            quantize_static(
                whole,
                out,
                _Images(batches),
                op_types_to_quantize=["Conv"],
                nodes_to_exclude=_decoding_nodes(whole),
                per_channel=True,
                reduce_range=True,
                activation_type=QuantType.QUInt8,
                weight_type=QuantType.QInt8,
            )
        finally:
            logging.disable(logging.NOTSET)
    return out


def onnx_forward(path: Path) -> Callable[[Tensor], Tensor]:
    """The prediction of an .onnx file, image by image: what an Evaluator takes as `forward`."""
    session = onnx_session(str(path))
    name = session.get_inputs()[0].name

    def forward(images: Tensor) -> Tensor:
        pixels = images.float().cpu().numpy()
        found = [session.run(None, {name: pixels[n : n + 1]})[0] for n in range(len(pixels))]
        return torch.from_numpy(np.concatenate(found))

    return forward


class _Images(CalibrationDataReader):  # type: ignore[misc]
    def __init__(self, batches: EvaluationBatches) -> None:
        self._left: Iterator[Batch] = iter(batches)

    def get_next(self) -> dict[str, NDArray[Any]] | None:
        batch = next(self._left, None)
        return None if batch is None else {"images": batch["img"].float().numpy() / 255}


def _decoding_nodes(path: Path) -> list[str]:
    import onnx

    nodes = onnx.load(str(path)).graph.node
    return [node.name for node in nodes if _DECODING in node.name]
