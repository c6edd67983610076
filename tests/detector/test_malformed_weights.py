"""Forty-odd ways in which a .pt file can be no detector: each gets one sentence, on every door."""

from __future__ import annotations

import io
import math
import zipfile
from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn
from ultralytics.nn.tasks import ClassificationModel, DetectionModel, PoseModel, SegmentationModel

from msip_core.detector.build import add_upload
from msip_core.detector.checkpoints import load_model, save_stock, save_work
from msip_core.detector.library import copy_model
from msip_core.errors import CheckpointError, NotFoundError
from msip_core.models import list_models
from msip_core.questions.base import Job
from msip_core.questions.detecting import Export, Predict
from msip_core.questions.sources import ImageFile, WeightsFile
from tests.detector.conftest import thin_model

Change = Callable[[Any], Any]


@pytest.fixture(scope="module")
def whole() -> Any:
    return thin_model()


def changed(change: Change) -> Callable[[Any, Path], None]:
    """A checkpoint that is right but for one thing."""

    def write(model: Any, path: Path) -> None:
        twin = copy_model(model)
        twin.args = {"task": "detect"}
        checkpoint = {"epoch": -1, "model": twin, "ema": None, "train_args": {"imgsz": 64}}
        torch.save(change(checkpoint) or checkpoint, path)

    return write


def on_model(change: Change) -> Callable[[Any, Path], None]:
    def apply(checkpoint: Any) -> None:
        change(checkpoint["model"])

    return changed(apply)


def put(place: str, value: Any) -> Callable[[Any, Path], None]:
    """Set an attribute of a module: "model.0.conv|padding"."""

    def change(model: Any) -> None:
        module, _, name = place.partition("|")
        setattr(model.get_submodule(module), name, value)

    return on_model(change)


def without(name: str) -> Callable[[Any, Path], None]:
    return on_model(lambda model: vars(model).pop(name))


def bytes_of(make: Callable[[bytes], bytes]) -> Callable[[Any, Path], None]:
    def write(model: Any, path: Path) -> None:
        save_stock(model, path)
        path.write_bytes(make(path.read_bytes()))

    return write


def repacked(change: Callable[[dict[str, bytes]], None], **options: Any) -> Change:
    def make(data: bytes) -> bytes:
        with zipfile.ZipFile(io.BytesIO(data)) as source:
            files = {name: source.read(name) for name in source.namelist()}
        change(files)
        packed = io.BytesIO()
        with zipfile.ZipFile(packed, "w", **options) as target:
            for name, content in files.items():
                target.writestr(name, content)
        return packed.getvalue()

    return make


def encrypted(data: bytes) -> bytes:
    """Set the flag of encryption in every directory entry."""
    found = bytearray(data)
    for sign, offset in ((b"PK\x01\x02", 8), (b"PK\x03\x04", 6)):
        place = found.find(sign)
        while place >= 0:
            found[place + offset] |= 1
            place = found.find(sign, place + 4)
    return bytes(found)


def first_numbers(files: dict[str, bytes]) -> str:
    return next(name for name in files if name.split("/")[-2:-1] == ["data"])


def cut_entry(files: dict[str, bytes]) -> None:
    name = first_numbers(files)
    files[name] = files[name][:-4]


def drop_entry(files: dict[str, bytes]) -> None:
    del files[first_numbers(files)]


def big_endian(files: dict[str, bytes]) -> None:
    files[next(name for name in files if name.endswith("byteorder"))] = b"big"


def second_pickle(files: dict[str, bytes]) -> None:
    files["other/data.pkl"] = b"N."


def in_itself(model: Any) -> None:
    block = model.model[2]
    block.m.add_module("0", block)


def network(cls: Any, yaml: str, **options: Any) -> Callable[[Any, Path], None]:
    return lambda _, path: torch.save({"model": cls(yaml, nc=2, verbose=False, **options)}, path)


def written(value: Any) -> Callable[[Any, Path], None]:
    return lambda _, path: torch.save(value, path)


def raw(data: bytes) -> Callable[[Any, Path], None]:
    return lambda _, path: path.write_bytes(data) and None


class Outsider(nn.Module):
    """A module of nobody's package."""


KINDS: dict[str, Callable[[Any, Path], None]] = {
    # classes
    "names as list of other length": put("|names", ["a", "b", "c"]),
    "names with a gap": put("|names", {0: "a", 2: "b"}),
    "names with negative keys": put("|names", {-1: "a", 0: "b"}),
    "names with words as keys": put("|names", {"a": 0, "b": 1}),
    "names are a text": put("|names", "crypt"),
    "names are none": put("|names", None),
    "names are empty": put("|names", {}),
    "a name is a list": put("|names", {0: ["a"], 1: "b"}),
    "a name is a megabyte": put("|names", {0: "a" * 2**20, 1: "b"}),
    "no names": without("names"),
    "a billion classes": put("model.22|nc", 10**9),
    "classes that the head lacks": put("model.22|nc", 3),
    "outputs that the head lacks": put("model.22|no", 7),
    # around the model
    "train_args is a list": changed(lambda c: c.update(train_args=[1])),
    "train_args is a text": changed(lambda c: c.update(train_args="imgsz=64")),
    "ema is a tensor": changed(lambda c: c.update(ema=torch.zeros(3))),
    "ema is a number": changed(lambda c: c.update(ema=1)),
    "model is none": changed(lambda c: c.update(model=None)),
    "model is a dict": changed(lambda c: c.update(model={"a": 1})),
    "model is bare weights": changed(lambda c: c.update(model=c["model"].state_dict())),
    "model is a text": changed(lambda c: c.update(model="yolov8n")),
    "model is a list": changed(lambda c: c.update(model=[c["model"]])),
    "model is a class": changed(lambda c: c.update(model=DetectionModel)),
    "no model": changed(lambda c: c.pop("model") and None),
    "only a tensor": written(torch.zeros(4)),
    "only a number": written(1),
    "only weights": written(OrderedDict(a=torch.zeros(2))),
    "8-bit": changed(lambda c: c.update(modelopt={"a": 1})),
    # inside the model
    "strides missing": without("stride"),
    "strides of another network": put("|stride", torch.tensor([4.0, 8.0, 16.0])),
    "strides of nothing": put("|stride", torch.zeros(3)),
    "strides are not numbers": put("|stride", torch.full((3,), math.nan)),
    "yaml missing": without("yaml"),
    "yaml is a text": put("|yaml", "yolov8n.yaml"),
    "yaml of another family": put("|yaml", {"backbone": [[-1, 1, "C3", []]], "head": []}),
    "yaml with odd rows": put("|yaml", {"backbone": [1, 2], "head": []}),
    "a module in itself": on_model(in_itself),
    "no layers": on_model(lambda m: setattr(m, "model", nn.Sequential())),
    "layers are a list": on_model(lambda m: setattr(m, "model", nn.ModuleList(m.model))),
    "no head": on_model(lambda m: setattr(m, "model", m.model[:-1])),
    "a layer too few": on_model(lambda m: setattr(m, "model", nn.Sequential(*m.model[1:]))),
    "a layer reads a later one": put("model.3|f", 20),
    "a layer reads far back": put("model.3|f", -9),
    "a layer reads a text": put("model.3|f", "first"),
    "a layer of nobody": on_model(lambda m: m.model.__setitem__(0, Outsider())),
    "a layer of torch": on_model(lambda m: m.model.__setitem__(0, nn.Linear(3, 3))),
    "weights are NaN": on_model(lambda m: m.model[0].conv.weight.data.fill_(math.nan)),
    "a weight is infinite": on_model(lambda m: m.model[4].cv1.bn.weight.data[0].fill_(math.inf)),
    "a running mean is NaN": on_model(lambda m: m.model[1].bn.running_mean.fill_(math.nan)),
    "weights of a wrong shape": put("model.1.conv|weight", nn.Parameter(torch.zeros(9, 5, 3, 3))),
    "weights are flat": put("model.1.conv|weight", nn.Parameter(torch.zeros(5))),
    "weights are whole numbers": put(
        "model.1.conv|weight", nn.Parameter(torch.zeros(4, 4, 3, 3).int(), requires_grad=False)
    ),
    "no weights": put("model.1.conv|weight", None),
    "a batch norm of a wrong shape": put("model.1.bn|running_var", torch.ones(3)),
    "a kernel of a million": put("model.1.conv|kernel_size", (10**6, 10**6)),
    "a kernel of words": put("model.1.conv|kernel_size", "three"),
    "strides of zero": put("model.1.conv|stride", (0, 0)),
    "groups of nothing": put("model.1.conv|groups", 0),
    "an epsilon of NaN": put("model.1.bn|eps", math.nan),
    "one channel": network(DetectionModel, "yolov8n.yaml", ch=1),
    "four channels": network(DetectionModel, "yolov8n.yaml", ch=4),
    # other models
    "segmentation": network(SegmentationModel, "yolov8n-seg.yaml"),
    "classification": network(ClassificationModel, "yolov8n-cls.yaml"),
    "pose": network(PoseModel, "yolov8n-pose.yaml"),
    "YOLO11": network(DetectionModel, "yolo11n.yaml"),
    "YOLOv5": network(DetectionModel, "yolov5n.yaml"),
    # the file
    "empty": raw(b""),
    "zero bytes": raw(bytes(10_000)),
    "a picture": raw(b"\x89PNG\r\n\x1a\n" + bytes(200)),
    "text": raw(b"these are no weights\n" * 100),
    "safetensors": raw(b"\x40" + bytes(7) + b'{"a":{"dtype":"F32","shape":[1]}}' + b" " * 64),
    "onnx": raw(b"\x08\x08\x12\x07pytorch\x1a\x052.0.0" + bytes(100)),
    "half written": bytes_of(lambda data: data[: len(data) // 2]),
    "cut at the end": bytes_of(lambda data: data[:-30]),
    "a flipped byte in the numbers": bytes_of(lambda d: d[:-60_000] + b"\xff" + d[-59_999:]),
    "encrypted": bytes_of(encrypted),
    "packed anew": bytes_of(repacked(lambda f: None, compression=zipfile.ZIP_DEFLATED)),
    "packed by another method": bytes_of(repacked(lambda f: None, compression=zipfile.ZIP_LZMA)),
    "numbers cut": bytes_of(repacked(cut_entry)),
    "numbers gone": bytes_of(repacked(drop_entry)),
    "numbers turned": bytes_of(repacked(big_endian)),
    "two pickles": bytes_of(repacked(second_pickle)),
    "a zip of pictures": bytes_of(repacked(lambda f: (f.clear(), f.update({"a.png": b"1"})))),
    "an empty zip": bytes_of(repacked(lambda f: f.clear())),
    "the format of 2019": lambda model, path: torch.save(
        {"model": copy_model(model)}, path, _use_new_zipfile_serialization=False
    ),
}


def told(error: pytest.ExceptionInfo[Any]) -> str:
    return str(error.value.message)


@pytest.mark.parametrize("kind", KINDS)
def test_a_malformed_file_gets_one_sentence(tmp_path, whole, kind):
    path = tmp_path / "odd.pt"
    KINDS[kind](whole, path)

    with pytest.raises(CheckpointError) as error:
        load_model(path)

    assert error.value.exit_code == 2
    assert "odd.pt" in told(error)
    assert "\n" not in told(error)
    assert len(told(error)) < 400
    assert told(error).endswith(".")


def test_the_changes_start_from_a_file_that_opens(tmp_path, whole):
    changed(lambda c: None)(whole, tmp_path / "right.pt")
    put("|names", ["a", "b"])(whole, tmp_path / "listed.pt")

    assert load_model(tmp_path / "right.pt").names == whole.names
    assert load_model(tmp_path / "listed.pt").names == {0: "a", 1: "b"}


@pytest.mark.parametrize("damage", ["tensors", "description", "parts", "names"])
def test_a_damaged_work_file_gets_one_sentence(tmp_path, whole, damage):
    save_work(whole, tmp_path / "work.pt")
    content = torch.load(tmp_path / "work.pt", weights_only=True)
    content["description"] = {
        "tensors": content["description"],
        "description": "{" + content["description"],
        "parts": content["description"].replace('"parts"', '"party"', 1),
        "names": content["description"].replace('"names": [', '"names": ["third", '),
    }[damage]
    if damage == "tensors":
        content["tensors"].popitem()
    torch.save(content, tmp_path / "work.pt")

    with pytest.raises(CheckpointError, match=r"work\.pt"):
        load_model(tmp_path / "work.pt")


def test_a_folder_and_a_missing_file_get_one_sentence(tmp_path):
    (tmp_path / "folder.pt").mkdir()

    for name in ("folder.pt", "missing.pt"):
        with pytest.raises(NotFoundError, match=name):
            load_model(tmp_path / name)


def test_one_channel_is_refused_at_every_door(tmp_path, workspace):
    KINDS["one channel"](None, tmp_path / "grey.pt")
    picture = tmp_path / "a.png"
    model = WeightsFile(weights=tmp_path / "grey.pt")
    at = Job(workspace, tmp_path, lambda done, text: None)

    doors: list[Callable[[], Any]] = [
        lambda: add_upload(workspace, tmp_path / "grey.pt"),
        lambda: Predict(model=model, images=(ImageFile(path=picture),)).answer(at),
        lambda: Export(model=model, format="onnx", imgsz=64).answer(at),
    ]
    for door in doors:
        with pytest.raises(CheckpointError, match=r"grey\.pt.*1-channel images.*three"):
            door()

    assert list_models(workspace) == []
