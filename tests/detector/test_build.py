"""New detectors, other classes, and models with a card."""

from __future__ import annotations

import errno
import math
import os

import pytest
import torch

from msip_core.detector.build import adapt_classes, add_upload, build_model, register_model
from msip_core.detector.checkpoints import architecture_of, load_model, save_stock
from msip_core.detector.cost import count_cost
from msip_core.errors import ConfigError, UnsafeCheckpointError
from msip_core.models import list_models, open_card, weights_path
from msip_core.questions.contents import sha256_of
from tests.detector.conftest import CLASSES, IMGSZ, outputs, pruned_model, thin_model


def test_the_same_seed_builds_the_same_model_and_leaves_the_random_numbers_alone():
    torch.manual_seed(5)
    expected = torch.rand(1)
    torch.manual_seed(5)

    models = [build_model("yolov8n.yaml", CLASSES, seed) for seed in (3, 3, 4)]

    assert torch.equal(torch.rand(1), expected)
    first = [model.model[0].conv.weight for model in models]
    assert torch.equal(first[0], first[1])
    assert not torch.equal(first[0], first[2])
    assert models[0].names == {0: "crypt", 1: "no_crypt"}


@pytest.mark.parametrize(
    "name", ["yolo11n.yaml", "../yolov8n.yaml", "yolov8n-seg.yaml", "yolov8n-p6.yaml", "x"]
)
def test_only_yolov8_descriptions_are_built(name):
    with pytest.raises(ConfigError, match=r"choose yolov8n\.yaml"):
        build_model(name, CLASSES)


def test_adapting_keeps_rows_of_known_classes_and_all_other_weights():
    old = thin_model(("cell", "Crypt", "debris"))

    adapted = adapt_classes(old, ("crypt", "cyst"))

    new_head, old_head = adapted.model.model[-1], old.model[-1]
    for new, was, stride in zip(new_head.cv3, old_head.cv3, (8, 16, 32), strict=True):
        assert torch.equal(new[-1].weight[0], was[-1].weight[1])
        assert new[-1].bias[1].item() == pytest.approx(math.log(5 / 2 / (640 / stride) ** 2))
    assert torch.equal(adapted.model.model[0].conv.weight, old.model[0].conv.weight)
    assert torch.equal(new_head.cv2[0][-1].weight, old_head.cv2[0][-1].weight)
    assert adapted.note.endswith("classes kept: crypt; classes learned anew: cyst.")
    assert outputs(adapted.model).shape[1] == 4 + 2
    assert (new_head.nc, new_head.no, adapted.model.yaml["nc"]) == (2, 66, 2)
    assert (old_head.nc, old.yaml["nc"], len(old.names)) == (3, 3, 3)


def test_adapting_to_the_same_classes_changes_nothing():
    old = thin_model()

    adapted = adapt_classes(old, CLASSES)

    assert torch.equal(outputs(adapted.model), outputs(old))
    assert "unchanged" in adapted.note


def test_a_registered_model_has_a_card_and_a_stock_file(workspace):
    card = register_model(workspace, thin_model(), name="Plate 7", kind="baseline", imgsz=IMGSZ)

    assert open_card(workspace, card.id) == card
    assert card.classes == CLASSES
    assert card.cost.imgsz == IMGSZ
    assert weights_path(workspace, card.id).name == "model.pt"


def test_a_model_that_a_full_disk_keeps_from_being_whole_leaves_nothing(workspace, monkeypatch):
    def full_disk(*_):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", full_disk)  # of its card: model.pt is there already
    with pytest.raises(OSError, match="No space left"):
        register_model(workspace, thin_model(), name="", kind="baseline", imgsz=IMGSZ)
    assert list(workspace.models.iterdir()) == []


def test_a_pruned_model_also_keeps_its_working_copy(workspace):
    pruned = pruned_model()

    card = register_model(workspace, pruned, name="", kind="pruned", imgsz=IMGSZ, macs_ratio=0.4)

    path = weights_path(workspace, card.id)
    assert path.name == "work.pt"
    assert torch.equal(outputs(load_model(path)), outputs(pruned))
    stock = load_model(path.with_name("model.pt"))
    assert torch.allclose(outputs(stock), outputs(pruned), atol=1e-5)


def test_an_upload_becomes_a_model_whose_file_was_written_by_us(workspace, tmp_path):
    path = tmp_path / "theirs.pt"
    save_stock(thin_model(), path, imgsz=96)

    card = add_upload(workspace, path, "Their detector")

    assert (card.name, card.kind, card.imgsz) == ("Their detector", "uploaded", 96)
    assert card.origin == {"file": "theirs.pt", "sha256": sha256_of(path)}
    assert [model.id for model in list_models(workspace)] == [card.id]


def test_a_refused_upload_leaves_no_model(workspace, tmp_path):
    class Bad:
        def __reduce__(self):
            return print, ("ran",)

    torch.save({"model": Bad()}, tmp_path / "bad.pt")

    with pytest.raises(UnsafeCheckpointError, match="print"):
        add_upload(workspace, tmp_path / "bad.pt")

    assert list(workspace.models.iterdir()) == []


def test_the_narrow_network_is_half_as_wide_as_n_and_known_by_its_name(tmp_path):
    narrow = build_model("yolov8p.yaml", ("crypt", "no_crypt"))
    whole = build_model("yolov8n.yaml", ("crypt", "no_crypt"))
    assert architecture_of(narrow) == "yolov8p"
    assert narrow.model[9].cv2.conv.out_channels * 2 == whole.model[9].cv2.conv.out_channels
    ratio = count_cost(narrow, 64).macs / count_cost(whole, 64).macs
    assert 0.25 < ratio < 0.5
    save_stock(narrow, tmp_path / "model.pt", imgsz=64)
    assert architecture_of(load_model(tmp_path / "model.pt")) == "yolov8p"


@pytest.mark.parametrize("scale", ["n", "s"])
def test_a_depthwise_yolov8_reads_the_same_layers_and_comes_back_from_its_file(
    scale: str, tmp_path
) -> None:
    from msip_core.detector.checkpoints import architecture_of, is_pruned, load_model, save_stock

    name = f"yolov8{scale}-depthwise"
    model, plain = (
        build_model(text, ("a", "b")) for text in (f"{name}.yaml", f"yolov8{scale}.yaml")
    )
    assert model.stride.tolist() == plain.stride.tolist()
    outputs = [[m.model[i].cv2.conv.out_channels for i in m.model[-1].f] for m in (model, plain)]
    assert outputs[0] == outputs[1]  # the head reads maps of the same widths
    assert sum(p.numel() for p in model.parameters()) < sum(p.numel() for p in plain.parameters())
    assert sum(type(layer).__name__ == "DWConv" for layer in model.model) == 6

    save_stock(model, tmp_path / "model.pt")
    again = load_model(tmp_path / "model.pt")
    assert architecture_of(again) == name
    assert not is_pruned(again)
