"""What every explainer of the catalog keeps to; a new one is tested by being listed."""

from __future__ import annotations

import copy
from typing import Any

import numpy as np
import pytest
import torch
from ultralytics.nn.tasks import DetectionModel

from msip_core import catalog
from msip_core.boxes import Box
from msip_core.errors import ConfigError, InputError
from msip_core.explain.cam import detect_layers
from tests.explain.toy import IMGSZ, LAYOUTS, micrograph

BOX = Box(cls=0, x1=20, y1=10, x2=80, y2=60)
FAST: dict[str, dict[str, Any]] = {"shap": {"features": 9, "samples": 24, "segments": "grid"}}

every_explainer = pytest.mark.parametrize("name", catalog.EXPLAINERS)
every_layout = pytest.mark.parametrize("layout", LAYOUTS)


def explain(name: str, model: DetectionModel, *, height: int = 72, width: int = 104) -> Any:
    image = micrograph(height, width)
    entry = catalog.EXPLAINERS[name]
    return entry.load()(model, image, BOX, imgsz=IMGSZ, **FAST.get(name, {}))


@every_layout
@every_explainer
def test_a_map_is_finite_never_negative_and_as_large_as_the_micrograph(name, layout, layouts):
    found = explain(name, layouts[layout])

    assert found.heat.shape == (72, 104)
    assert found.heat.dtype == np.float32
    assert np.isfinite(found.heat).all()
    assert (found.heat >= 0).all()
    assert float(found.heat.sum()) == pytest.approx(1, abs=1e-4)


@every_explainer
def test_asking_twice_gives_the_same_map(name, yolo):
    np.random.seed(1)
    first = explain(name, yolo)
    np.random.seed(2)
    torch.manual_seed(3)

    np.testing.assert_array_equal(first.heat, explain(name, yolo).heat)


@every_layout
@every_explainer
def test_every_input_of_detect_is_either_used_or_named_as_skipped(name, layout, layouts):
    model = layouts[layout]
    found = explain(name, model)
    if name == "shap":
        assert (found.layers, dict(found.skipped)) == ((), {})
        return

    assert set(found.layers) | set(found.skipped) == set(detect_layers(model))
    assert not set(found.layers) & set(found.skipped)
    assert all(found.skipped.values())


@pytest.mark.parametrize("training", [False, True])
@every_explainer
def test_the_callers_model_is_left_as_it_is(name, training, yolo):
    model = copy.deepcopy(yolo).train(training)
    model.criterion = lambda: None  # what Ultralytics caches there
    frozen = next(model.parameters()).requires_grad_(False)
    calls: list[int] = []
    handle = model.model[15].register_forward_hook(lambda *_: calls.append(1))
    before = {key: value.clone() for key, value in model.state_dict().items()}
    criterion, hooks = model.criterion, _hooks(model)
    modes = [module.training for module in model.modules()]
    wanted = [parameter.requires_grad for parameter in model.parameters()]

    explain(name, model)

    assert [module.training for module in model.modules()] == modes
    assert [parameter.requires_grad for parameter in model.parameters()] == wanted
    assert not frozen.requires_grad
    assert all(parameter.grad is None for parameter in model.parameters())
    assert model.criterion is criterion
    assert _hooks(model) == hooks
    assert calls == []  # not even the caller's own hooks were called
    assert all(torch.equal(value, before[key]) for key, value in model.state_dict().items())
    handle.remove()


@every_explainer
def test_a_model_that_has_predicted_under_inference_mode_can_be_explained(name, yolo):
    model = copy.deepcopy(yolo)
    with torch.inference_mode():
        model(torch.rand(1, 3, 96, 96))  # caches anchors that no gradient may pass

    np.testing.assert_array_equal(explain(name, model).heat, explain(name, yolo).heat)
    with torch.inference_mode():  # and the other way about
        model(torch.rand(1, 3, 96, 96))


@every_explainer
def test_the_picture_given_is_left_as_it_is(name, yolo):
    image = micrograph(96, 96)
    before = image.copy()
    load = catalog.EXPLAINERS[name].load()

    load(yolo, image, BOX, imgsz=IMGSZ, **FAST.get(name, {}))

    np.testing.assert_array_equal(image, before)


@every_explainer
def test_what_cannot_be_explained_is_refused_in_words(name, yolo):
    load, more = catalog.EXPLAINERS[name].load(), FAST.get(name, {})
    image = micrograph()
    with pytest.raises(ConfigError, match="2 classes; class number 7"):
        load(yolo, image, BOX.model_copy(update={"cls": 7}), imgsz=IMGSZ, **more)
    with pytest.raises(ConfigError, match="no area"):
        load(yolo, image, BOX.model_copy(update={"x2": BOX.x1}), imgsz=IMGSZ, **more)
    with pytest.raises(ConfigError, match="multiple of 32, got 100"):
        load(yolo, image, BOX, imgsz=100, **more)
    with pytest.raises(InputError, match="8-bit colour"):
        load(yolo, image.astype(np.uint16), BOX, imgsz=IMGSZ, **more)


def _hooks(model: DetectionModel) -> list[int]:
    return [
        len(module._forward_hooks) + len(module._forward_pre_hooks) + len(module._backward_hooks)
        for module in model.modules()
    ]
