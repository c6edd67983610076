from __future__ import annotations

import numpy as np
import pytest
import torch
from pytorch_grad_cam import GradCAM
from pytorch_grad_cam.utils.svd_on_activations import get_2d_projection
from torch import nn

from msip_core.boxes import Box
from msip_core.detector.frame import Frame
from msip_core.errors import ConfigError
from msip_core.explain import cam
from msip_core.explain.targets import BoxTarget, Candidates, private_copy
from tests.explain.toy import (
    GREEN_BOX,
    IMGSZ,
    RED_BOX,
    ColourDetector,
    energy_in,
    micrograph,
    red_and_green,
)

# --- hand-computed maps -------------------------------------------------------


def raw_map(method: str, activation: np.ndarray, gradient: np.ndarray) -> np.ndarray:
    """The map of a layer with these activations whose target has this gradient, both (C, h, w)."""
    make = {"gradcam": cam.gradcam_map, "layercam": cam.layercam_map}[method]
    return make(torch.from_numpy(activation), torch.from_numpy(gradient)).numpy()


def test_one_channel_of_gradient_one_gives_the_positive_part_of_the_activation():
    activation = np.array([[[1.0, -2.0], [3.0, 0.5]]], np.float32)

    for method in ("gradcam", "layercam"):
        found = raw_map(method, activation, np.ones_like(activation))
        np.testing.assert_allclose(found, [[1.0, 0.0], [3.0, 0.5]])


def test_grad_cam_weighs_channels_by_their_mean_gradient():
    activation = np.array([[[1, 2], [3, 4]], [[4, 3], [2, 1]]], np.float32)
    gradient = np.array([[[4, 0], [0, 0]], [[-2, 0], [0, 0]]], np.float32)  # means 1 and -.5

    found = raw_map("gradcam", activation, gradient)

    np.testing.assert_allclose(found, [[0.0, 0.5], [2.0, 3.5]])  # (1-2<0, 2-1.5, 3-1, 4-.5)


def test_layer_cam_weighs_each_place_by_its_own_positive_gradient():
    activation = np.array([[[1, 2], [3, 4]], [[4, 3], [2, 1]]], np.float32)
    gradient = np.array([[[4, 0], [0, 1]], [[-2, 1], [0, 2]]], np.float32)

    found = raw_map("layercam", activation, gradient)

    np.testing.assert_allclose(found, [[4.0, 3.0], [0.0, 6.0]])


def test_eigen_cam_finds_the_one_pattern_in_which_channels_vary_together():
    pattern = np.array([[0.0, 0.0, 0.0], [0.0, 9.0, 0.0], [0.0, 0.0, 0.0]])
    activation = np.stack([2 * pattern + 5, -1 * pattern, 0 * pattern])[None]

    found = cam.principal_map(activation)[0]

    centred = (pattern - pattern.mean()) * np.sqrt(5)  # length of (2, -1, 0)
    np.testing.assert_allclose(found, centred, atol=1e-5)
    assert abs(found.min()) <= abs(found.max())  # the sign that was chosen


def test_eigen_cam_equals_the_librarys_svd_up_to_sign():
    activation = np.random.default_rng(0).normal(size=(1, 6, 7, 5)).astype(np.float32)

    ours, theirs = cam.principal_map(activation), get_2d_projection(activation)

    sign = np.sign((ours * theirs).sum())
    np.testing.assert_allclose(ours, sign * theirs, atol=1e-4)


# --- on YOLOv8 ----------------------------------------------------------------


def test_maps_equal_the_plain_librarys_up_to_its_scaling(yolo):
    image = micrograph()
    box = Box(cls=1, x1=8, y1=8, x2=90, y2=90)
    found = cam.explain_detection(yolo, image, box, imgsz=IMGSZ)
    network = Candidates(private_copy(yolo).requires_grad_(True))
    pixels = Frame.fit(image, IMGSZ).tensor(image)[None]
    assert found.layers

    for name in found.layers:
        layer = network.model.model[cam.detect_layers(yolo)[name]]
        tool = GradCAM(network, [layer])
        theirs = tool(pixels, [found.target])[0]
        tool.activations_and_grads.release()
        ours = torch.from_numpy(found.maps[name])[None, None]
        large = nn.functional.interpolate(ours, (IMGSZ, IMGSZ), mode="bilinear")[0, 0].numpy()
        # The library resizes with OpenCV, then stretches to [0, 1].
        large, theirs = ((m - m.min()) / np.ptp(m) for m in (large, theirs))
        np.testing.assert_allclose(large, theirs, atol=2e-3)


def test_a_target_on_the_finest_level_alone_has_no_map_at_the_coarser_ones(yolo):
    image = micrograph()
    frame = Frame.fit(image, IMGSZ)
    on_p3 = BoxTarget(cls=0, anchors=(5, 6), best_iou=1.0, score=0.5)  # 12 x 12 come first

    found = cam.explain_target(
        private_copy(yolo), frame, frame.tensor(image)[None], on_p3, method="layercam"
    )

    assert found.layers == ("P3 (layer 15)",)
    assert dict(found.skipped) == {
        "P4 (layer 18)": cam.NO_GRADIENT,
        "P5 (layer 21)": cam.NO_GRADIENT,
    }


def test_the_heat_is_the_mean_of_the_layers_energies(yolo):
    image, box = micrograph(), Box(cls=0, x1=0, y1=0, x2=96, y2=96)
    together = cam.explain_detection(yolo, image, box, imgsz=IMGSZ, method="eigencam")

    alone = [
        cam.explain_detection(yolo, image, box, imgsz=IMGSZ, method="eigencam", layers=[name]).heat
        for name in ("P3", 18, "P5")
    ]

    assert len(together.layers) == 3
    np.testing.assert_allclose(together.heat, np.mean(alone, axis=0), atol=1e-7)


def test_layers_are_read_from_the_graph_of_an_unrolled_model(layouts):
    names = cam.detect_layers(layouts["unrolled"])

    assert [name.split(" ")[0] for name in names] == ["P3", "P4", "P5"]
    assert list(names.values()) == layouts["unrolled"].model[-1].f
    assert min(names.values()) > 15  # stock layers came before


def test_an_unknown_layer_or_method_is_refused_with_what_there_is(yolo):
    image, box = micrograph(), Box(cls=0, x1=0, y1=0, x2=50, y2=50)
    with pytest.raises(ConfigError, match=r"layers P9; this model has P3 \(layer 15\), P4"):
        cam.explain_detection(yolo, image, box, imgsz=IMGSZ, layers=["P9"])
    with pytest.raises(ConfigError, match="no CAM named 'cam'; known: gradcam, layercam, eigencam"):
        cam.explain_detection(yolo, image, box, imgsz=IMGSZ, method="cam")


def test_the_backbone_is_not_part_of_the_backward_pass(yolo):
    twin = private_copy(yolo)
    seen: list[bool] = []
    twin.model[4].register_forward_hook(lambda m, i, o: seen.append(o.requires_grad))
    image = micrograph()
    frame = Frame.fit(image, IMGSZ)
    target = BoxTarget(0, (0,), 1.0, 0.5)

    cam.explain_target(twin, frame, frame.tensor(image)[None], target, method="gradcam")

    assert seen == [False]  # and one forward serves all layers


# --- synthetic truth ----------------------------------------------------------


@pytest.mark.parametrize("method", ["gradcam", "layercam"])
@pytest.mark.parametrize(("asked", "other"), [(RED_BOX, GREEN_BOX), (GREEN_BOX, RED_BOX)])
def test_the_heat_lies_on_the_thing_that_the_detector_looks_at(method, asked, other):
    found = cam.explain_detection(
        ColourDetector().eval(), red_and_green(), asked, imgsz=128, method=method
    )

    assert found.target.best_iou > 0.6
    assert energy_in(found.heat, asked) > 0.85
    assert energy_in(found.heat, other) < 0.02


def test_the_heat_keeps_its_place_in_a_large_picture_that_is_not_square():
    picture = np.full((256, 384, 3), 100, np.uint8)
    picture[:, :256] = np.kron(red_and_green(), np.ones((2, 2, 1), np.uint8))
    box = Box(cls=0, x1=40, y1=152, x2=120, y2=232)

    found = cam.explain_detection(ColourDetector().eval(), picture, box, imgsz=192)

    assert found.heat.shape == (256, 384)
    assert energy_in(found.heat, box) > 0.8
    row, column = np.unravel_index(found.heat.argmax(), found.heat.shape)
    assert (column, row) == (pytest.approx(80, abs=16), pytest.approx(192, abs=16))


def test_a_detector_that_draws_no_such_box_says_so():
    found = cam.explain_detection(
        ColourDetector().eval(), red_and_green(), Box(cls=0, x1=0, y1=0, x2=8, y2=8), imgsz=128
    )

    assert found.target.best_iou < 0.5
    assert "draws no box here that matches" in found.note


def test_a_map_without_energy_is_zero_and_says_so():
    grey = np.full((128, 128, 3), 100, np.uint8)

    found = cam.explain_detection(ColourDetector().eval(), grey, RED_BOX, imgsz=128)

    assert found.heat.sum() == 0
    assert found.layers == ()
    assert len(found.skipped) == 3
    assert "No layer gave a map" in found.note
