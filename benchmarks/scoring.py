"""Seconds to score and to cut, for every criterion of the catalog, beside plain torch-pruning.

    python benchmarks/scoring.py                                    YOLOv8s, 128 images, 640 px
    python benchmarks/scoring.py --images 8 --imgsz 160 --rounds 1  a look in a minute
    python benchmarks/scoring.py --json benchmarks/results/scoring.json

Plain torch-pruning, on the same network, images and labels, in the same process:

    plain taylor     forward and backward over all images, then GroupTaylorImportance
    plain magnitude  GroupMagnitudeImportance, no image

Scoring is the calibration pass and the scores of all groups; cutting is the choice of channels and
the surgery, from a third of the multiply-adds in one step. What is compared (MSIP with its four
terms, and the two plain ones) runs in turn, round after round, so that other work on the computer
hurts all alike; the other criteria are timed once, between the rounds. Images are noise and the
network is untrained: neither changes what the work is. Seconds are those of the clock; processor
seconds of the scoring, which other work on the computer hardly changes, stand beside them.

Goals: MSIP's scoring at most 1.5 times plain Taylor's, cutting at most 2 seconds.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from msip_core.workspace import Workspace, write_json

KEEP, STEPS = 0.335, 16  # the paper's goal, and the iterations whose limits one cut may use up
MOST_TIMES_TAYLOR, MOST_CUT_S = 1.5, 2.0
COMPARED = ("msip", "plain taylor", "plain magnitude")


def main() -> int:
    options = _options()
    with tempfile.TemporaryDirectory() as folder:
        Workspace.open(folder).isolate_libraries()
        import torch

        if options.threads:
            torch.set_num_threads(options.threads)
        timing = Timing(options)
        timing.run()
    return 0 if _show(timing.result()) else 1


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--model", default="yolov8s.yaml")
    parser.add_argument("--imgsz", type=int, default=640)
    parser.add_argument("--images", type=int, default=128)
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--micro-batch", type=int, default=4)
    parser.add_argument("--rounds", type=int, default=3, help="of what is compared")
    parser.add_argument("--methods", nargs="+", help="criteria to time; default: all")
    parser.add_argument("--threads", type=int, help="default: torch's own")
    parser.add_argument("--json", type=Path, help="write what was measured here")
    return parser.parse_args()


class Timing:
    """One network and one set of images, timed by every method."""

    def __init__(self, options: argparse.Namespace) -> None:
        from msip_core.catalog import CRITERIA
        from msip_core.groups.coupling import prunable_groups

        self.options = options
        self.model = network(options.model)
        self.calibration = drawn(options)
        self.groups = prunable_groups(self.model).groups
        asked = options.methods or list(CRITERIA)
        self.methods = [name for name in CRITERIA if name in asked]
        self.score_s: dict[str, list[float]] = {}
        self.cut_s: dict[str, list[float]] = {}
        self.processor_s: dict[str, list[float]] = {}
        self.macs_ratio: dict[str, float] = {}

    def run(self) -> None:
        """Time everything; what is measured is written at once, so a stop loses little."""
        compared = [n for n in COMPARED if n in self.methods or n.startswith("plain")]
        others = [n for n in self.methods if n not in compared]
        rounds = max(1, self.options.rounds)
        for i in range(rounds):
            turn = i % len(compared)
            for name in [*compared[turn:], *compared[:turn], *others[i::rounds]]:
                self._time(name)
                if self.options.json:
                    self.options.json.parent.mkdir(parents=True, exist_ok=True)
                    write_json(self.options.json, self.result())

    def result(self) -> dict[str, Any]:
        """What was measured so far."""
        return {
            "what": "seconds to score all channels and to cut, one entry a round",
            **{k: v for k, v in vars(self.options).items() if k not in ("json", "methods")},
            "machine": machine(),
            "score_s": rounded(self.score_s),
            "score_processor_s": rounded(self.processor_s),
            "cut_s": rounded(self.cut_s),
            "macs_ratio": {"asked": KEEP, **self.macs_ratio},
            "times_plain_taylor": self._ratios(self.score_s),
            "times_plain_taylor_processor": self._ratios(self.processor_s),
        }

    def _time(self, name: str) -> None:
        plain = {"plain taylor": self._plain_taylor, "plain magnitude": self._plain_magnitude}
        began = time.process_time()
        scores, seconds = timed(plain.get(name, lambda: self._scores(name)))
        self.processor_s.setdefault(name, []).append(time.process_time() - began)
        self.score_s.setdefault(name, []).append(seconds)
        print(f"{name:<18} scored in {seconds:8.2f} s", end="", flush=True)
        if name in plain:
            print()
            return
        ratio, seconds = self._cut(name, scores)
        self.cut_s.setdefault(name, []).append(seconds)
        self.macs_ratio[name] = round(ratio, 4)
        print(f", cut to {ratio:.3f} in {seconds:5.2f} s", flush=True)

    @staticmethod
    def _ratios(seconds: dict[str, list[float]]) -> dict[str, float]:
        """Each method's seconds by plain Taylor's; medians of the rounds."""
        if "plain taylor" not in seconds:
            return {}
        taylor = statistics.median(seconds["plain taylor"])
        return {n: round(statistics.median(v) / taylor, 3) for n, v in seconds.items()}

    # --- ours ------------------------------------------------------------------------

    def _scores(self, name: str) -> dict[str, Any]:
        from msip_core.catalog import CRITERIA
        from msip_core.config import MsipOptions
        from msip_core.importance.statistics import gather

        kind, options = CRITERIA[name].load(), MsipOptions()
        found = gather(self.model, self.calibration, kind.required(options))
        criterion = kind(found, options, 0)
        return {key: criterion(group).numpy() for key, group in self.groups.items()}

    def _cut(self, name: str, scores: dict[str, Any]) -> tuple[float, float]:
        """MACs left as counted after the surgery, and the seconds that choice and surgery took."""
        from msip_core.catalog import CRITERIA, find
        from msip_core.config import AllocationOptions
        from msip_core.detector.cost import count_cost
        from msip_core.detector.library import copy_model
        from msip_core.pruning.surgery import prune_channels

        twin, limits = copy_model(self.model), AllocationOptions()
        kind = find("allocation", CRITERIA[name].default_allocation).load()

        def cut() -> None:
            prune_channels(twin, self._chosen(kind(limits), scores))

        _, seconds = timed(cut)
        size = self.options.imgsz
        return count_cost(twin, size).macs / count_cost(self.model, size).macs, seconds

    def _chosen(self, allocation: Any, scores: dict[str, Any]) -> dict[str, Any]:
        from msip_core.allocation.table import GroupTable
        from msip_core.groups.budget import Budget
        from msip_core.pruning.iteration import widths_of
        from msip_core.pruning.schedule import final_window

        budget = Budget(self.model, list(self.groups.values()), self.options.imgsz)
        window = final_window(KEEP * budget.macs_now, allocation.limits.multiple)
        table = GroupTable(budget, scores, widths_of(budget))
        return dict(allocation.allocate(table, window, iterations=STEPS).removed)

    # --- plain torch-pruning -------------------------------------------------------------

    def _plain_taylor(self) -> None:
        import torch_pruning as tp
        from ultralytics.utils.loss import v8DetectionLoss

        from msip_core.importance.statistics import ready

        with ready(self.model):
            criterion = v8DetectionLoss(self.model)
            for batch in self.calibration.batches():
                for part in self.calibration.micro_batches(batch):
                    output = self.model(self.calibration.pixels(part))
                    criterion(output, self.calibration.targets(part))[0].sum().backward()
            score = tp.importance.GroupTaylorImportance()
            for group in self.groups.values():
                score(group)

    def _plain_magnitude(self) -> None:
        import torch_pruning as tp

        score = tp.importance.GroupMagnitudeImportance()
        for group in self.groups.values():
            score(group)


def network(name: str) -> Any:
    """An untrained detector with two classes, ready to be cut, batch norms as after training."""
    import torch
    from torch import nn

    from msip_core.detector.build import build_model
    from msip_core.detector.c2f import to_c2f_v2

    torch.manual_seed(0)
    model = to_c2f_v2(build_model(name, ("crypt", "no_crypt")))
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.uniform_(module.weight, 0.5, 1.5)
            nn.init.normal_(module.bias, 0, 0.1)
    return model


def drawn(options: argparse.Namespace) -> Any:
    """Images of noise with twenty boxes each."""
    import torch

    from msip_core.importance.calibration import CalibrationSet

    n, size = options.images, options.imgsz
    generator = torch.Generator().manual_seed(0)
    images = torch.randint(0, 256, (n, 3, size, size), dtype=torch.uint8, generator=generator)
    centres = torch.rand(n, 20, 2, generator=generator) * 0.8 + 0.1
    labels = tuple(
        torch.cat([torch.arange(20).remainder(2)[:, None], xy, torch.full((20, 2), 0.1)], 1)
        for xy in centres
    )
    ids = tuple(str(i) for i in range(n))
    return CalibrationSet(images, labels, ids, options.batch, options.micro_batch)


def rounded(seconds: dict[str, list[float]]) -> dict[str, list[float]]:
    return {name: [round(s, 3) for s in values] for name, values in seconds.items()}


def timed(work: Callable[[], Any]) -> tuple[Any, float]:
    started = time.perf_counter()
    result = work()
    return result, time.perf_counter() - started


def machine() -> dict[str, Any]:
    import os
    import platform
    from importlib.metadata import version

    import torch

    from msip_core.detector.devices import describe_device

    return {
        "processor": describe_device("cpu").name,
        "cores": os.cpu_count(),
        "threads": torch.get_num_threads(),
        "load": [round(x, 1) for x in os.getloadavg()] if hasattr(os, "getloadavg") else None,
        "system": platform.platform(terse=True),
        **{name: version(name) for name in ("torch", "ultralytics", "torch-pruning")},
    }


def _show(result: dict[str, Any]) -> bool:
    """Print the table and whether the goals hold."""
    print(
        f"\n{result['model']}, {result['images']} images of {result['imgsz']} px, "
        f"{result['machine']['threads']} threads\n"
        f"{'':<18}{'score s':>10}{'x Taylor':>10}{'cut s':>8}{'MACs left':>11}"
    )
    for name, seconds in result["score_s"].items():
        cut = result["cut_s"].get(name)
        print(
            f"{name:<18}{statistics.median(seconds):>10.2f}"
            f"{result['times_plain_taylor'][name]:>10.2f}"
            + (f"{statistics.median(cut):>8.2f}{result['macs_ratio'][name]:>11.3f}" if cut else "")
        )
    ratio = result["times_plain_taylor"].get("msip", 0.0)
    processor = result["times_plain_taylor_processor"].get("msip", 0.0)
    slowest = max((statistics.median(v) for v in result["cut_s"].values()), default=0.0)
    print(
        f"\nMSIP by plain Taylor: {ratio:.2f} (goal {MOST_TIMES_TAYLOR}), "
        f"{processor:.2f} in processor time; "
        f"slowest cut: {slowest:.2f} s (goal {MOST_CUT_S})"
    )
    return ratio <= MOST_TIMES_TAYLOR and slowest <= MOST_CUT_S


if __name__ == "__main__":
    sys.exit(main())
