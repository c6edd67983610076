"""A plausible pruning run and comparison, made up for tests: every number here is invented."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from msip_core.boxes import Box, Detection, Pair, PairKind, match_detections
from msip_core.config import PruneConfig
from msip_core.events import (
    BaselineRecord,
    Cost,
    EpochRecord,
    FinalRecord,
    IterationRecord,
    LayerChannels,
    Metrics,
)
from msip_core.questions.detecting import ComparedImage, ComparedModel, Comparison
from msip_core.questions.looking import BoundaryScores, Explained, HeatMap, ShapValues
from msip_core.views import style
from msip_core.ways import Latency

CLASSES = ("crypt", "no_crypt")

# (name, channels) of yolov8n with C2f_v2, in the order of the network
LAYERS: list[tuple[str, int]] = [("model.0.conv", 16), ("model.1.conv", 32)]
for _index, _width, _repeats in ((2, 32, 1), (4, 64, 2), (6, 128, 2), (8, 256, 1)):
    LAYERS += [(f"model.{_index}.cv0.conv", _width // 2), (f"model.{_index}.cv1.conv", _width // 2)]
    for _n in range(_repeats):
        LAYERS += [(f"model.{_index}.m.{_n}.cv{k}.conv", _width // 2) for k in (1, 2)]
    LAYERS += [(f"model.{_index}.cv2.conv", _width)]
    if _index < 8:
        LAYERS += [(f"model.{_index + 1}.conv", _width * 2)]
LAYERS += [("model.9.cv1.conv", 128), ("model.9.cv2.conv", 256)]
for _index, _width in ((12, 128), (15, 64), (18, 128), (21, 256)):
    LAYERS += [(f"model.{_index}.cv0.conv", _width // 2), (f"model.{_index}.cv1.conv", _width // 2)]
    LAYERS += [(f"model.{_index}.m.0.cv{k}.conv", _width // 2) for k in (1, 2)]
    LAYERS += [(f"model.{_index}.cv2.conv", _width)]
LAYERS += [("model.16.conv", 64), ("model.19.conv", 128)]
for _scale in range(3):
    LAYERS += [(f"model.22.cv2.{_scale}.{k}.conv", 64) for k in (0, 1)]
    LAYERS += [(f"model.22.cv3.{_scale}.{k}.conv", 64) for k in (0, 1)]


def metrics(map50: float, split: str = "val", **more: Any) -> Metrics:
    """Metrics around one mAP50."""
    values = {
        "map50_95": round(map50 * 0.76, 4),
        "precision": map50 - 0.02,
        "recall": map50 - 0.05,
        "loss": 3.4 - map50,
        "images": 40,
        "per_class": {"crypt": map50 + 0.02, "no_crypt": map50 - 0.02},
    }
    return Metrics(split=split, map50=map50, **{**values, **more})  # type: ignore[arg-type]


def baseline_record() -> BaselineRecord:
    return BaselineRecord(
        metrics=metrics(0.904),
        cost=Cost(macs=4_060_000_000, params=3_010_000, size_mb=6.2, imgsz=640),
        seconds=12.0,
    )


def layers(step: int, steps: int) -> tuple[LayerChannels, ...]:
    rows = []
    for number, (name, width) in enumerate(LAYERS):
        gone = 0.25 + 0.5 * ((number * 7) % 11) / 11
        before = max(8, round(width * (1 - gone * (step - 1) / steps) / 8) * 8)
        after = max(8, round(width * (1 - gone * step / steps) / 8) * 8)
        rows.append(LayerChannels(name=name, before=before, after=after, original=width))
    return tuple(rows)


def iteration_records(count: int = 5) -> list[IterationRecord]:
    records = []
    for index in range(1, count + 1):
        ratio = 1 - (1 - 0.333) * index / count
        dip = 0.01 + 0.05 * index / count
        after = 0.904 - 0.02 * (index / count) ** 2
        shift = 0.15 * index / count
        records.append(
            IterationRecord(
                index=index, macs=int(4_060_000_000 * ratio), params=int(3_010_000 * ratio**1.3),
                size_mb=6.2 * ratio**1.3, macs_ratio=ratio,
                map50_before=after - dip, map50_95_before=(after - dip) * 0.74,
                map50_after=after, map50_95_after=after * 0.757, loss_after=2.5,
                bn_recalibrated=index % 2 == 0,
                seconds={"importance": 9.1, "pruning": 1.4, "evaluation": 7.7, "finetuning": 83.0},
                weights={
                    "gradient": 0.4 + shift, "geometry": 0.3 - shift / 2,
                    "sparsity": 0.2 - shift / 2, "information": 0.1,
                },
                alpha=0.5 + 0.06 * index, layers=layers(index, count),
                model=f"iterations/{index}/model.pt",
            )
        )  # fmt: skip
    return records


def epoch_records(iterations: int = 5, each: int = 4) -> list[EpochRecord]:
    records = []
    for index in range(1, iterations + 1):
        for epoch in range(1, each + 1):
            fall = 1 / (epoch + 1)
            records.append(
                EpochRecord(
                    iteration=index, phase="finetune", epoch=epoch, epochs=each,
                    losses={"box": 1.1 + 0.5 * fall, "cls": 0.7 + 0.6 * fall, "dfl": 0.9},
                    map50=0.9 - 0.06 * fall - 0.002 * index, map50_95=0.68 - 0.06 * fall,
                    lr=1e-3 * fall, seconds=20.0,
                )
            )  # fmt: skip
    return records


def prune_config(**more: Any) -> PruneConfig:
    return PruneConfig(dataset="plate7", model="baseline-1", name="plate 7, a third", **more)


def final_record() -> FinalRecord:
    last = iteration_records()[-1]
    return FinalRecord(
        iteration=5,
        metrics=metrics(0.884),
        test=metrics(0.871, "test", images=80),
        baseline_test=metrics(0.889, "test", images=80),
        cost=Cost(macs=last.macs, params=last.params, size_mb=last.size_mb, imgsz=640),
        macs_ratio=last.macs_ratio,
        model_id="pruned-1",
        artifacts={"model": "models/pruned-1"},
    )


def micrograph(side: int = 256, seed: int = 1) -> np.ndarray:
    """A grey ground with a few ring-shaped bodies at the places of `detections()`."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[0:side, 0:side] / side
    grey = 150 + 25 * x - 18 * y + rng.normal(0, 4, (side, side))
    for cx, cy, r in ((0.28, 0.3, 0.16), (0.7, 0.33, 0.12), (0.35, 0.75, 0.11), (0.75, 0.75, 0.15)):
        far = np.hypot(x - cx, y - cy)
        wobble = r * (1 + 0.13 * np.cos(5 * np.arctan2(y - cy, x - cx)))
        grey = np.where(far < wobble, grey + 15, grey)
        grey -= 75 * np.exp(-(((far - wobble) / 0.012) ** 2))
    return np.repeat(np.clip(grey, 0, 255).astype(np.uint8)[..., None], 3, axis=2)


def detections(side: int = 256) -> tuple[list[Detection], list[Detection]]:
    """What baseline and pruned model find: one agrees, one changes class, one lost, one new."""

    def at(cx: float, cy: float, r: float, cls: int, score: float, number: int) -> Detection:
        x1, y1, x2, y2 = (round(v * side) for v in (cx - r, cy - r, cx + r, cy + r))
        return Detection(cls=cls, x1=x1, y1=y1, x2=x2, y2=y2, score=score, number=number)

    baseline = [
        at(0.28, 0.3, 0.18, 0, 0.93, 1),
        at(0.7, 0.33, 0.14, 1, 0.84, 2),
        at(0.35, 0.75, 0.13, 1, 0.41, 3),
    ]
    pruned = [
        at(0.285, 0.305, 0.18, 0, 0.9, 1),
        at(0.695, 0.33, 0.14, 0, 0.7, 2),
        at(0.75, 0.75, 0.17, 0, 0.55, 3),
    ]
    return baseline, pruned


def compare_result(images: int = 3) -> Comparison:
    """What the comparison of two models says."""
    baseline, pruned = detections()
    pairs = match_detections(baseline, pruned)
    items = [
        ComparedImage(
            id=f"img{n}",
            group=f"well{n % 2}",
            file=f"images/img{n}.png",
            baseline=tuple(baseline),
            pruned=tuple(pruned),
            pairs=tuple(pairs),
        )
        for n in range(images)
    ]
    final, first = final_record(), baseline_record()
    return Comparison(
        baseline=ComparedModel(
            model="baseline-1", name="plate 7 baseline", metrics=first.metrics, cost=first.cost
        ),
        pruned=ComparedModel(
            model="pruned-1", name="plate 7, a third", metrics=final.metrics, cost=final.cost
        ),
        split="test",
        latency=(
            latency("baseline", "pytorch", 61.0),
            latency("pruned", "pytorch", 33.0),
            latency("baseline", "onnx", 40.0),
            latency("pruned", "onnx", 38.5),
        ),
        images=tuple(items),
        agreement={"both": images, "class changed": images, "lost": images, "new": images},
    )


def latency(name: str, form: str, median: float) -> Latency:
    """On the processor, one image, by 30 runs."""
    return Latency(name, form, 1, median, median * 0.96, median * 1.05, 30, 2)


def compared_image(name: str, kinds: Sequence[PairKind]) -> ComparedImage:
    """An image with a pair of each of these kinds; without boxes."""
    pairs = tuple(Pair(kind=kind, baseline=0, pruned=0) for kind in kinds)
    return ComparedImage(id=name, file="", group="", baseline=(), pruned=(), pairs=pairs)


def border_scores(**changes: Any) -> BoundaryScores:
    fields: dict[str, Any] = {
        "ber": 0.41,
        "enrichment": 3.2,
        "energy_in_box": 0.71,
        "hit": True,
        "contour": "mask",
        "band_px": 4.0,
    }
    return BoundaryScores(**{**fields, **changes})


def heat_map(box: Box | None = None, **changes: Any) -> HeatMap:
    """A Grad-CAM map of a crypt, all three layers used."""
    fields: dict[str, Any] = {
        "overlay": "overlay.png", "box": box or Box(cls=0, x1=10, y1=10, x2=50, y2=50),
        "label": "crypt", "reference": "chosen by hand", "imgsz": 128, "scores": border_scores(),
        "crypt_scores": None, "note": "", "heat": "heat.npz", "method": "gradcam",
        "layers": ("P3 (layer 15)", "P4 (layer 18)", "P5 (layer 21)"), "skipped": (),
        "target": Explained(score=0.84, best_iou=0.9, anchors=12), "randomised": None,
    }  # fmt: skip
    return HeatMap(**{**fields, **changes})


def shap_values(box: Box | None = None, **changes: Any) -> ShapValues:
    """SHAP values of a crypt on 16 patches."""
    fields: dict[str, Any] = {
        "overlay": "overlay.png", "box": box or Box(cls=0, x1=10, y1=10, x2=50, y2=50),
        "label": "crypt", "reference": "chosen by hand", "imgsz": 128,
        "scores": border_scores(ber=0.36, enrichment=None), "crypt_scores": None, "note": "",
        "values": tuple(np.linspace(-0.02, 0.1, 16).tolist()), "segments": "segments.npz",
        "score": 0.84, "base": 0.12, "c_at_10": 0.31, "converged": True, "correlation": 0.95,
        "evaluations": 392, "seconds": 3.0,
    }  # fmt: skip
    return ShapValues(**{**fields, **changes})


def contrast(one: str, other: str) -> float:
    """Contrast ratio of two colours in [1, 21] (WCAG 2.2)."""
    low, high = sorted((style.luminance(one), style.luminance(other)))
    return (high + 0.05) / (low + 0.05)
