"""The calibration pass: one pass, right sums, and the model left as it was."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch import nn
from ultralytics.utils.loss import v8DetectionLoss

from msip_core.errors import Stopped
from msip_core.importance.calibration import letterbox
from msip_core.importance.statistics import gather
from tests.importance.kit import IMGSZ, drawn_calibration, thin_detector

ALL = frozenset({"taylor", "taylor-abs", "grad2", "taylor-2", "sparsity", "information", "rank",
                 "nisp", "nisp-inffs"})  # fmt: skip


@pytest.fixture(scope="module")
def model():
    return thin_detector()


@pytest.fixture(scope="module")
def found(model):
    return gather(model, drawn_calibration(), ALL)


def by_hand(model, calibration, name: str) -> torch.Tensor:
    """Mean over batches of (w * g)^2 of one convolution, each batch at once."""
    layer = dict(model.named_modules())[name]
    criterion, total = v8DetectionLoss(model), 0.0
    batches = list(calibration.batches())
    for batch in batches:
        model.zero_grad()
        criterion(model(calibration.pixels(batch)), calibration.targets(batch))[0].sum().backward()
        total = total + (layer.weight.detach() * layer.weight.grad).double() ** 2
    model.zero_grad()
    return (total / len(batches)).flatten(2).sum(2)


def test_scores_are_squared_per_batch_and_then_averaged(model, found):
    name = "model.4.cv1.conv"

    expected = by_hand(model, drawn_calibration(), name)

    torch.testing.assert_close(found.gradient["taylor"][name], expected)


@pytest.mark.parametrize("part", [1, 3, 4])
def test_how_a_batch_is_split_for_memory_changes_no_score(model, found, part: int):
    kinds = frozenset({"taylor", "taylor-abs", "grad2"})

    other = gather(model, replace(drawn_calibration(), micro_batch=part), kinds)

    for kind in kinds:
        for name, value in other.gradient[kind].items():
            expected = found.gradient[kind][name]
            assert float((value - expected).abs().sum()) <= 1e-3 * float(expected.sum())


def test_a_batch_without_any_object_still_is_as_if_it_passed_at_once(model):
    empty = drawn_calibration()
    empty = replace(empty, labels=tuple(rows[:0] for rows in empty.labels))
    whole, split = (
        gather(model, replace(empty, micro_batch=n), frozenset({"taylor"}))
        for n in (empty.batch, 1)
    )

    for name, value in split.gradient["taylor"].items():
        expected = whole.gradient["taylor"][name]
        assert float((value - expected).abs().sum()) <= 1e-3 * float(expected.sum()) + 1e-20


def test_second_order_scores_come_from_every_image_alone(model, found):
    name, calibration = "model.4.cv1.conv", drawn_calibration()

    single = replace(calibration, batch=1, micro_batch=1)
    expected = by_hand(model, single, name) / 2

    torch.testing.assert_close(found.gradient["taylor-2"][name], expected)
    # The square of a batch's gradient is another ranking.
    batch = found.gradient["taylor"][name].flatten()
    assert batch.argsort().tolist() != expected.flatten().argsort().tolist()


class Beats:
    """Counts the safe points of a pass."""

    def __init__(self) -> None:
        self.count = 0

    def check_stop(self) -> None:
        self.count += 1


@pytest.mark.parametrize(
    ("kinds", "forwards"),
    [
        ({"nisp"}, 1),  # a linear copy, no image
        ({"rank"}, 4),  # 8 images, two at a time
        ({"nisp-inffs"}, 5),
        ({"taylor"}, 4),
        ({"taylor", "taylor-abs", "grad2"}, 4),  # gradients are shared
        ({"taylor-2"}, 8),
        ({"taylor", "sparsity", "information"}, 8),  # MSIP: a look, then the pass
    ],
)
def test_only_what_is_asked_for_is_done(model, kinds: set[str], forwards: int):
    beats = Beats()

    gather(model, drawn_calibration(), frozenset(kinds), beats)

    assert beats.count == forwards


def test_two_batches_average_what_each_alone_gives(model, found):
    calibration = drawn_calibration()
    halves = [
        replace(calibration, images=calibration.images[s], labels=calibration.labels[s])
        for s in (slice(0, 4), slice(4, 8))
    ]
    first, second = (gather(model, half, frozenset({"taylor"})) for half in halves)

    for name, value in found.gradient["taylor"].items():
        mean = (first.gradient["taylor"][name] + second.gradient["taylor"][name]) / 2
        torch.testing.assert_close(value, mean)


def test_one_pass_gives_what_single_passes_give(model, found):
    for kind in sorted(ALL):
        alone = gather(model, drawn_calibration(), frozenset({kind}))
        part = "gradient" if kind in alone.gradient else "response"
        for name, value in getattr(alone, part)[kind].items():
            torch.testing.assert_close(value, getattr(found, part)[kind][name])


def test_every_scored_layer_is_covered_and_fixed_ones_are_not(model, found):
    convs = {n for n, m in model.named_modules() if isinstance(m, nn.Conv2d)}
    norms = {n for n, m in model.named_modules() if isinstance(m, nn.BatchNorm2d)}

    assert set(found.gradient["taylor"]) == (convs - {"model.22.dfl.conv"}) | norms
    blocks = {n for n in convs if n.endswith(".conv") and "dfl" not in n}
    for kind in ("sparsity", "information", "rank", "nisp", "nisp-inffs"):
        assert set(found.response[kind]) == blocks


def test_micro_batches_bound_memory_and_leave_responses_alone(model, found):
    whole = gather(model, drawn_calibration(micro_batch=4), ALL)

    for name, value in whole.response["sparsity"].items():
        torch.testing.assert_close(value, found.response["sparsity"][name], atol=1e-3, rtol=0)


def test_the_model_is_left_as_it_was(model):
    model.train()
    model.model[0].eval()
    first = next(model.parameters())
    first.requires_grad_(False)
    before = {k: v.clone() for k, v in model.state_dict().items()}
    modes = [m.training for m in model.modules()]

    gather(model, drawn_calibration(), ALL)

    assert [m.training for m in model.modules()] == modes
    assert all(torch.equal(v, before[k]) for k, v in model.state_dict().items())
    assert not first.requires_grad
    assert all(p.grad is None for p in model.parameters())
    assert not any(m._forward_hooks for m in model.modules())
    first.requires_grad_(True)
    model.eval()


def test_a_model_that_predicted_under_inference_mode_can_still_be_scored(model, found):
    with torch.inference_mode():
        model(torch.zeros(2, 3, IMGSZ, IMGSZ))

    again = gather(model, drawn_calibration(), frozenset({"taylor"}))

    name = "model.0.conv"
    torch.testing.assert_close(again.gradient["taylor"][name], found.gradient["taylor"][name])


def test_a_checkpoints_plain_dictionary_of_arguments_will_do(model, found):
    kept, model.args = model.args, {"box": 7.5, "cls": 0.5, "dfl": 1.5}
    try:
        again = gather(model, drawn_calibration(), frozenset({"taylor"}))
        assert isinstance(model.args, dict)
    finally:
        model.args = kept

    name = "model.0.conv"
    torch.testing.assert_close(again.gradient["taylor"][name], found.gradient["taylor"][name])


def test_switching_to_image_loss_labels_by_quartile(model):
    found = gather(model, drawn_calibration(), frozenset({"loss-information"}))

    values = torch.cat(list(found.response["loss-information"].values()))
    assert (values >= 0).all()
    assert (values <= 2).all()  # bits of four equal quartiles


def test_unknown_wishes_are_refused(model):
    with pytest.raises(ValueError, match="cannot gather nonsense"):
        gather(model, drawn_calibration(), frozenset({"nonsense"}))


def test_a_stop_is_heard_in_every_micro_batch(model):
    class Stop:
        beats = 0

        def check_stop(self) -> None:
            if self.beats == 3:
                raise Stopped("pause")
            self.beats += 1

    with pytest.raises(Stopped, match="pause"):
        gather(model, drawn_calibration(), ALL, Stop())  # type: ignore[arg-type]
    assert not any(m._forward_hooks for m in model.modules())


def test_letterbox_keeps_aspect_and_moves_boxes_along():
    from msip_core.boxes import Box

    image = torch.full((50, 100, 3), 200, dtype=torch.uint8).numpy()

    square, rows = letterbox(image, [Box(cls=1, x1=0, y1=0, x2=100, y2=50)], 64)

    assert square.shape == (64, 64, 3)
    assert (square[:16] == 114).all()
    assert (square[16:48] == 200).all()
    assert rows.tolist() == [[1, 0.5, 0.5, 1.0, 0.5]]
