"""How much a bottleneck matters; low ones go first (method sheet, section 5).

    map50    mAP50 on validation, minus that of a copy without the bottleneck, neither tuned
    gamma    mean |gamma| of its last batch norm: what it adds, at the scale of its output
    cosine   1 - cos(x, m(x)), mean over calibration images: how far it turns its input

Without a shortcut, a bottleneck can only go together with those behind it in its block; its `map50`
is that of both. The cosine is for shortcuts alone, where m(x) = x + F(x).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import cosine_similarity

from msip_core.detector.library import DetectionModel, copy_model
from msip_core.events import RunContext
from msip_core.groups.hooks import heard, modes_kept
from msip_core.importance.calibration import CalibrationSet
from msip_core.importance.statistic import on_cpu
from msip_core.messages import mark
from msip_core.pruning.bottlenecks import Site, bottlenecks, remove_bottlenecks, with_followers
from msip_core.pruning.folder import IterationFolder

_TRIALS = "trials.json"
WHOLE = mark("whole network")  # its own trial, by whose mAP50 the others are measured


def map50_scores(
    model: DetectionModel,
    sites: Sequence[Site],
    evaluate: Callable[[DetectionModel], float],
    done: Mapping[str, float],
    keep: Callable[[Mapping[str, float]], None],
) -> dict[str, float]:
    """Loss of mAP50 on validation without each bottleneck.

    Args:
        evaluate: mAP50 of a model.
        done: mAP50 of the trials that an earlier sitting has made.
        keep: told of all trials after each new one.
    """
    everything, trials = bottlenecks(model), dict(done)
    if WHOLE not in trials:
        trials[WHOLE] = evaluate(model)
        keep(trials)
    for site in sites:
        if site.name not in trials:
            trial = copy_model(model)
            remove_bottlenecks(trial, [s.name for s in with_followers(everything, site)])
            trials[site.name] = evaluate(trial)
            keep(trials)
    return {site.name: trials[WHOLE] - trials[site.name] for site in sites}


def gamma_scores(model: nn.Module, sites: Sequence[Site]) -> dict[str, float]:
    """Mean absolute scale of each bottleneck's last batch norm."""
    return {
        site.name: float(_parts(model, site).cv2.bn.weight.detach().abs().mean()) for site in sites
    }


@torch.no_grad()
def cosine_scores(
    model: nn.Module, sites: Sequence[Site], calibration: CalibrationSet, ctx: Any = None
) -> dict[str, float]:
    """How far each bottleneck turns what it gets, over all calibration images."""
    sums: dict[str, Tensor] = {}
    device = next(model.parameters()).device

    def look(name: str, inputs: tuple[Tensor, ...], output: Tensor) -> None:
        turned = 1 - cosine_similarity(inputs[0].flatten(1), output.flatten(1), dim=1)
        sums[name] = sums.get(name, 0) + turned.double().sum()

    with modes_kept(model), heard({site.name: _parts(model, site) for site in sites}, look):
        model.eval()
        for batch in calibration.batches():
            for part in calibration.micro_batches(batch):
                if ctx is not None:
                    ctx.check_stop()
                model(calibration.pixels(part, device))
    return {name: float(value) / len(calibration) for name, value in on_cpu(sums).items()}


class BlockScorer:
    """Scores the bottlenecks of one network, by the kind that a run asks for.

    Args:
        kind: "map50", "gamma" or "cosine".
        files: where trials lie that an earlier sitting has made.
        evaluate: mAP50 of a model on validation.

    Attributes:
        found: bottleneck name -> score, of all that were asked for.
    """

    def __init__(
        self, kind: str, model: DetectionModel, calibration: CalibrationSet,
        files: IterationFolder, ctx: RunContext, *, evaluate: Callable[[DetectionModel], float],
    ) -> None:  # fmt: skip
        self._kind, self._model, self._calibration = kind, model, calibration
        self._files, self._ctx, self._evaluate = files, ctx, evaluate
        self.found: dict[str, float] = {}

    def __call__(self, sites: Sequence[Site]) -> Mapping[str, float]:
        self.found |= self._scores(sites)
        return self.found

    def _scores(self, sites: Sequence[Site]) -> dict[str, float]:
        if self._kind == "gamma":
            return gamma_scores(self._model, sites)
        if self._kind == "cosine":
            return cosine_scores(self._model, sites, self._calibration, self._ctx)
        return map50_scores(
            self._model,
            sites,
            self._evaluate,
            done=self._files.read_json(_TRIALS) or {},
            keep=lambda trials: self._files.write_json(_TRIALS, dict(trials)),
        )


def _parts(model: nn.Module, site: Site) -> Any:
    return model.get_submodule(site.name)
