"""What the pickle in a weights file says, worked out without running it.

A pickle is a program for a machine with a stack: it names functions and classes and has them
called. Here the same machine runs on descriptions: a name stays a `Name`, a call becomes a `Made`,
a tensor a `TensorRef`; nothing is imported and nothing is called. Since the whole stack and memo
are followed, a name that is put together, hidden behind others or never used is seen all the same.
"""

from __future__ import annotations

import pickletools
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any, NamedTuple

# A YOLOv8x with its optimizer needs 104,000; each costs about 100 bytes of memory.
MAX_OPCODES = 500_000

PLAIN = frozenset(
    {
        "collections.OrderedDict",
        "torch._utils._rebuild_tensor_v2",
        "torch._utils._rebuild_parameter",
        "torch.Size",
        "torch.device",
        *(f"torch.{k}Storage" for k in ("Float", "Half", "BFloat16", "Double", "Long", "Int")),
        *(f"torch.{k}Storage" for k in ("Short", "Char", "Byte", "Bool")),
    }
)
"""All that a file of tensors in plain containers needs."""

# Everything else that a YOLOv8 detector's file, written by Ultralytics, may name.
_BLOCKS = ("Conv", "DWConv", "C2f", "Bottleneck", "SPPF", "Concat", "Detect", "DFL")
_ACTIVATIONS = ("SiLU", "ReLU", "ReLU6", "LeakyReLU", "Hardswish", "Mish", "GELU", "ELU", "PReLU")
ALLOWED = PLAIN | frozenset(
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
        "torch.serialization._get_layout",
        "_codecs.encode",
        *(f"{b}.{c}" for b in ("builtins", "__builtin__") for c in ("set", "complex")),
        *(f"torch.{dtype}" for dtype in ("float32", "float16", "bfloat16", "float64", "int64")),
    }
)

# Other people's models: refused as the wrong model, not as an attack.
_OTHER_MODELS = ("ultralytics.", "torch.nn.modules.", "models.", "torchvision.")
_CLASSES = ("ultralytics.", "torch.nn.", "msip_core.")
_KNOWN_HELPERS = frozenset({"builtins.getattr", "__builtin__.getattr"})  # fused or other tasks


def is_foreign_model(name: str) -> bool:
    """Whether an unknown name belongs to model code rather than to anything at all."""
    return name.startswith(_OTHER_MODELS) or name in _KNOWN_HELPERS


@dataclass(frozen=True)
class Name:
    """A function or class that the pickle names, "module.name"."""

    text: str


@dataclass(eq=False)
class Made:
    """What a call would have given: an object of which only its recipe is known."""

    name: str
    args: tuple[Any, ...]
    state: Any = None
    items: list[Any] = field(default_factory=list)


@dataclass(frozen=True)
class Stored:
    """Numbers that lie in an entry of the archive of their own."""

    dtype: str
    key: str
    count: int


class TensorRef(NamedTuple):
    """A view of stored numbers, as `torch.as_strided` makes it."""

    stored: Stored
    offset: int
    size: tuple[int, ...]
    stride: tuple[int, ...]


class BrokenPickleError(ValueError):
    """The program cannot be followed to its end."""


class HiddenNameError(Exception):
    """The program computes what it calls, so that its name stands nowhere."""


class Machine:
    """Works one pickle out.

    Attributes:
        names: every name met, also when the pickle breaks off later.
        constructed: classes of models that it has made with arguments. Weights restore a module's
            state and never have it built, which may do anything its arguments say.
    """

    def __init__(self) -> None:
        self.names: set[str] = set()
        self.constructed: set[str] = set()
        self._stack: list[Any] = []
        self._below: list[list[Any]] = []  # stacks that marks have put aside
        self._memo: dict[int, Any] = {}

    def run(self, data: bytes, start: int = 0) -> tuple[Any, int]:
        """Follow the pickle at `start`; returns its value and where the next one begins.

        Raises:
            BrokenPickleError: not a pickle, or a damaged one.
            HiddenNameError: a call of something without a name.
        """
        self._stack, self._below, self._memo = [], [], {}
        try:
            for count, (opcode, argument, place) in enumerate(pickletools.genops(data[start:])):
                if opcode.name == "STOP":
                    return self._stack.pop(), start + (place or 0) + 1
                if count > MAX_OPCODES:
                    raise BrokenPickleError
                self._step(opcode.name, argument)
        except (ValueError, IndexError, KeyError, TypeError, AttributeError, EOFError,
                OverflowError) as error:  # fmt: skip
            raise BrokenPickleError from error
        raise BrokenPickleError

    def _step(self, opcode: str, argument: Any) -> None:
        if opcode in _LITERALS:
            self._stack.append(argument)
        elif opcode in _CONSTANTS:
            self._stack.append(_CONSTANTS[opcode]())
        elif opcode in _PUTS:
            self._memo[len(self._memo) if argument is None else argument] = self._stack[-1]
        elif opcode in _GETS:
            self._stack.append(self._memo[argument])
        elif opcode not in ("PROTO", "FRAME"):
            _ACTIONS[opcode](self, argument)

    def _marked(self) -> list[Any]:
        items, self._stack = self._stack, self._below.pop()
        return items

    def _name(self, module: str, name: str) -> Name:
        text = f"{module}.{name}"
        self.names.add(text)
        return Name(text)

    def _call(self, what: Any, args: Any) -> Any:
        if not isinstance(what, Name):
            raise HiddenNameError
        if not isinstance(args, tuple):
            raise BrokenPickleError
        if args and what.text.startswith(_CLASSES):
            self.constructed.add(what.text)
        return _value(what.text, args)

    # --- opcodes that do more than push ---

    def global_(self, argument: str) -> None:
        module, _, name = argument.partition(" ")
        self._stack.append(self._name(module, name))

    def stack_global(self, _: None) -> None:
        name, module = self._stack.pop(), self._stack.pop()
        if not (isinstance(name, str) and isinstance(module, str)):
            raise HiddenNameError
        self._stack.append(self._name(module, name))

    def inst(self, argument: str) -> None:
        module, _, name = argument.partition(" ")
        args = tuple(self._marked())
        self._stack.append(self._call(self._name(module, name), args))

    def obj(self, _: None) -> None:
        what, *args = self._marked()
        self._stack.append(self._call(what, tuple(args)))

    def call(self, _: None) -> None:
        args, what = self._stack.pop(), self._stack.pop()
        self._stack.append(self._call(what, args))

    def call_with_keywords(self, _: None) -> None:
        keywords, args, what = self._stack.pop(), self._stack.pop(), self._stack.pop()
        self._stack.append(self._call(what, (*args, keywords) if keywords else args))

    def extension(self, argument: Any) -> None:
        raise HiddenNameError  # a number that stands for a name in Python's registry

    def build(self, _: None) -> None:
        state, target = self._stack.pop(), self._stack[-1]
        if isinstance(target, Made) and target.state is None:
            target.state = state
        elif not (isinstance(target, dict) and isinstance(state, dict)):  # a dict's own attributes
            raise BrokenPickleError

    def persistent(self, _: Any) -> None:
        match self._stack.pop():
            case ("storage", Name(text=text), str(key), str(), int(count)) if count >= 0:
                self._stack.append(Stored(text, key, count))
            case _:
                raise BrokenPickleError

    def mark(self, _: None) -> None:
        self._below.append(self._stack)
        self._stack = []

    def pop(self, _: None) -> None:
        if self._stack:
            self._stack.pop()
        else:
            self._marked()

    def pop_mark(self, _: None) -> None:
        self._marked()

    def dup(self, _: None) -> None:
        self._stack.append(self._stack[-1])

    def tuple_of_marked(self, _: None) -> None:
        items = self._marked()
        self._stack.append(tuple(items))

    def list_of_marked(self, _: None) -> None:
        items = self._marked()
        self._stack.append(items)

    def dict_of_marked(self, _: None) -> None:
        items = self._marked()
        self._stack.append(dict(_pairs(items)))

    def frozenset_of_marked(self, _: None) -> None:
        items = self._marked()
        self._stack.append(Made("builtins.frozenset", (), items=items))

    def append(self, _: None) -> None:
        self._extend([self._stack.pop()])

    def extend(self, _: None) -> None:
        self._extend(self._marked())

    def _extend(self, items: list[Any]) -> None:
        target = self._stack[-1]
        (target.items if isinstance(target, Made) else target).extend(items)

    def set_item(self, _: None) -> None:
        value, key = self._stack.pop(), self._stack.pop()
        self._update([key, value])

    def set_items(self, _: None) -> None:
        self._update(self._marked())

    def _update(self, items: list[Any]) -> None:
        target = self._stack[-1]
        if isinstance(target, Made):
            target.items.extend(_pairs(items))
        else:
            target.update(_pairs(items))


def _tuple_of(count: int) -> Callable[[Machine, Any], None]:
    def action(machine: Machine, _: Any) -> None:
        stack = machine._stack
        if len(stack) < count:
            raise BrokenPickleError
        stack[-count:] = [tuple(stack[-count:])]

    return action


_LITERALS = frozenset(
    {
        "INT", "BININT", "BININT1", "BININT2", "LONG", "LONG1", "LONG4", "FLOAT", "BINFLOAT",
        "STRING", "BINSTRING", "SHORT_BINSTRING", "BINBYTES", "SHORT_BINBYTES", "BINBYTES8",
        "BYTEARRAY8", "UNICODE", "SHORT_BINUNICODE", "BINUNICODE", "BINUNICODE8",
    }
)  # fmt: skip
_CONSTANTS: dict[str, Callable[[], Any]] = {
    "NONE": lambda: None,
    "NEWTRUE": lambda: True,
    "NEWFALSE": lambda: False,
    "EMPTY_LIST": list,
    "EMPTY_DICT": dict,
    "EMPTY_TUPLE": tuple,
    "EMPTY_SET": lambda: Made("builtins.set", ()),
}
_PUTS = frozenset({"MEMOIZE", "PUT", "BINPUT", "LONG_BINPUT"})
_GETS = frozenset({"GET", "BINGET", "LONG_BINGET"})
_ACTIONS: dict[str, Callable[[Machine, Any], None]] = {
    "GLOBAL": Machine.global_, "STACK_GLOBAL": Machine.stack_global, "INST": Machine.inst,
    "OBJ": Machine.obj, "REDUCE": Machine.call, "NEWOBJ": Machine.call,
    "NEWOBJ_EX": Machine.call_with_keywords, "EXT1": Machine.extension,
    "EXT2": Machine.extension, "EXT4": Machine.extension, "BUILD": Machine.build,
    "BINPERSID": Machine.persistent, "MARK": Machine.mark, "POP": Machine.pop,
    "POP_MARK": Machine.pop_mark, "DUP": Machine.dup, "TUPLE": Machine.tuple_of_marked,
    "TUPLE1": _tuple_of(1), "TUPLE2": _tuple_of(2), "TUPLE3": _tuple_of(3),
    "LIST": Machine.list_of_marked, "DICT": Machine.dict_of_marked,
    "FROZENSET": Machine.frozenset_of_marked, "APPEND": Machine.append,
    "APPENDS": Machine.extend, "ADDITEMS": Machine.extend, "SETITEM": Machine.set_item,
    "SETITEMS": Machine.set_items,
}  # fmt: skip


def _pairs(items: list[Any]) -> Iterable[tuple[Any, Any]]:
    return zip(items[::2], items[1::2], strict=True)


def _value(name: str, args: tuple[Any, ...]) -> Any:
    """What a call gives, for the few that stand for plain values; else its recipe."""
    value: Any = Made(name, args)
    match name, args:
        case "collections.OrderedDict", ():
            value = {}
        case "collections.OrderedDict", (list(items),):
            value = dict(items)
        case "torch.Size", (tuple(size),):
            value = size
        case "_codecs.encode", (str(text), "latin1"):
            value = text.encode("latin1")
        case "torch._utils._rebuild_tensor_v2", (Stored() as stored, int(offset), size, stride, *_):
            value = TensorRef(stored, offset, _naturals(size), _naturals(stride))
        case "torch._utils._rebuild_parameter", (TensorRef() as tensor, _, hooks) if not hooks:
            value = tensor
    return value


def _naturals(values: Any) -> tuple[int, ...]:
    if not (isinstance(values, tuple) and all(type(v) is int and v >= 0 for v in values)):
        raise BrokenPickleError
    return values
