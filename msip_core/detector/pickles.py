"""What a weights file asks for, read without running it.

A .pt file is a zip around a pickle, and a pickle names the functions and classes that unpickling
would call. Here these names are only read.
"""

from __future__ import annotations

import pickletools
import zipfile
from pathlib import Path
from typing import Any

from msip_core.errors import CheckpointError

# Everything a YOLOv8 detector's file needs, beside tensors and plain containers.
_BLOCKS = ("Conv", "DWConv", "C2f", "Bottleneck", "SPPF", "Concat", "Detect", "DFL")
_ACTIVATIONS = ("SiLU", "ReLU", "ReLU6", "LeakyReLU", "Hardswish", "Mish", "GELU", "ELU", "PReLU")
ALLOWED = frozenset(
    {
        "ultralytics.nn.tasks.DetectionModel",
        *(f"ultralytics.nn.modules.{m}.{b}" for b in _BLOCKS for m in ("conv", "block", "head")),
        *(f"ultralytics.nn.modules.{b}" for b in _BLOCKS),  # files of early 2023
        "msip_core.detector.c2f.C2fV2",
        "torch.nn.modules.conv.Conv2d",
        "torch.nn.modules.batchnorm.BatchNorm2d",
        "torch.nn.modules.container.ModuleList",
        "torch.nn.modules.container.Sequential",
        "torch.nn.modules.linear.Identity",
        "torch.nn.modules.loss.BCEWithLogitsLoss",
        "torch.nn.modules.pooling.MaxPool2d",
        "torch.nn.modules.upsampling.Upsample",
        *(f"torch.nn.modules.activation.{a}" for a in _ACTIVATIONS),
        "ultralytics.utils.IterableSimpleNamespace",
        "ultralytics.yolo.utils.IterableSimpleNamespace",
        "ultralytics.utils.loss.v8DetectionLoss",
        "ultralytics.utils.loss.BboxLoss",
        "ultralytics.utils.loss.DFLoss",
        "ultralytics.utils.tal.TaskAlignedAssigner",
        *(f"numpy.{core}.multiarray.scalar" for core in ("core", "_core")),
        "numpy.dtype",
        *(f"{m}.{p}Path" for m in ("pathlib", "pathlib._local") for p in ("Posix", "Windows")),
        # Tensors and containers.
        "collections.OrderedDict",
        "torch._utils._rebuild_tensor_v2",
        "torch._utils._rebuild_parameter",
        "torch.Size",
        "torch.device",
        "torch.serialization._get_layout",
        "_codecs.encode",
        *(f"{b}.{c}" for b in ("builtins", "__builtin__") for c in ("set", "bytearray", "complex")),
        *(f"torch.{dtype}" for dtype in ("float32", "float16", "bfloat16", "float64", "int64")),
        *(f"torch.{k}Storage" for k in ("Float", "Half", "BFloat16", "Double", "Long", "Int")),
        *(f"torch.{k}Storage" for k in ("Short", "Char", "Byte", "Bool")),
    }
)  # fmt: skip

# Other people's models: refused as the wrong model, not as an attack.
_OTHER_MODELS = ("ultralytics.", "torch.nn.modules.", "models.", "torchvision.")
_KNOWN_HELPERS = frozenset({"builtins.getattr", "__builtin__.getattr"})  # fused or other tasks


def is_foreign_model(name: str) -> bool:
    """Whether an unknown name belongs to model code rather than to anything at all."""
    return name.startswith(_OTHER_MODELS) or name in _KNOWN_HELPERS


def names_in(path: Path) -> frozenset[str]:
    """Every "module.name" that the pickles of this file would import.

    Raises:
        CheckpointError: the file holds no pickle that can be read to its end.
    """
    try:
        if zipfile.is_zipfile(path):
            with zipfile.ZipFile(path) as archive:
                pickles = [n for n in archive.namelist() if n.endswith(".pkl")]
                return frozenset().union(*(_names(archive.read(n)) for n in pickles))
        return _names(path.read_bytes())
    except (ValueError, zipfile.BadZipFile, EOFError, UnicodeDecodeError) as error:
        raise CheckpointError(
            f"{path.name} is not a readable weights file: it may be cut off, or not a .pt file at "
            "all."
        ) from error


def _names(data: bytes) -> frozenset[str]:
    names: set[str] = set()
    strings: list[str] = []  # STACK_GLOBAL takes module and name from the two strings before it
    memo: dict[Any, str | None] = {}
    pushed: str | None = None  # the string that the last opcode put on the stack, if it was one
    for opcode, argument, _ in pickletools.genops(data):
        if opcode.name in ("MEMOIZE", "PUT", "BINPUT", "LONG_BINPUT"):
            memo[len(memo) if argument is None else argument] = pushed
            continue
        if opcode.name in ("GLOBAL", "INST"):
            names.add(str(argument).replace(" ", "."))
        elif opcode.name == "STACK_GLOBAL":
            names.add(".".join(strings[-2:]))
        pushed = None
        if opcode.name in ("GET", "BINGET", "LONG_BINGET"):
            pushed = memo.get(argument)
        elif isinstance(argument, str) and "UNICODE" in opcode.name:
            pushed = argument
        if pushed is not None:
            strings.append(pushed)
    return frozenset(names)
