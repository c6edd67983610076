"""Images, loaders and evaluators of one run, made once and shared by all its iterations."""

from __future__ import annotations

from typing import Literal, TypeAlias

from ultralytics.data.build import InfiniteDataLoader, build_dataloader
from ultralytics.utils import IterableSimpleNamespace

from msip_core.config import Loader
from msip_core.data.dataset import Dataset
from msip_core.detector.device_loader import DeviceImages, DeviceLoader
from msip_core.detector.evaluation import Evaluator
from msip_core.detector.images import SplitImages, Tick
from msip_core.processors import usable_cores

TrainLoader: TypeAlias = InfiniteDataLoader | DeviceLoader
_MOST_WORKERS = 8  # more wait for the disk, and each holds some hundred megabytes


def loader_workers(device: str, wanted: int | None) -> int:
    """Processes that load images beside the training.

    None on a CPU, whatever was wanted: they would only compete with the work itself. For a GPU, if
    nobody wanted a number, one for each core but the last: by what the computer has and not by what
    is free now, since augmentation is drawn in them, and a run that is resumed needs as many again.
    """
    if not device.startswith("cuda"):
        return 0
    return min(_MOST_WORKERS, usable_cores() - 1) if wanted is None else wanted


def resolve_loader(wanted: Loader, device: str) -> Literal["device", "ultralytics"]:
    """The loader that `wanted` means for training on `device`.

    On one processor core Ultralytics' takes a third of the time (benchmarks/loaders.py: OpenCV
    turns bytes, we turn floats); on a GPU it is what everything else waits for.
    """
    if wanted == "auto":
        return "device" if device.startswith("cuda") else "ultralytics"
    return wanted


class DataPool:
    """What a run reads its images from.

    Args:
        batch: images of a batch.
        parts: a batch comes in so many equal parts, loaded one after the other; see `piece`.
        workers: data-loading processes for training; see `loader_workers`. The loader "device" has
            none.
        loader: who makes the training batches; see msip_core.config.RunBase.
        tick: called for every image read and every batch evaluated; may raise to stop.
    """

    def __init__(
        self,
        dataset: Dataset,
        *,
        imgsz: int,
        batch: int,
        device: str = "cpu",
        workers: int | None = None,
        loader: Loader = "auto",
        parts: int = 1,
        tick: Tick | None = None,
    ) -> None:
        self.dataset, self.imgsz, self.batch, self.device = dataset, imgsz, batch, device
        self.loader = resolve_loader(loader, device)
        self.workers = 0 if self.loader == "device" else loader_workers(device, workers)
        self.parts = parts
        self._tick = tick
        self._train: TrainLoader | None = None
        self._evaluators: dict[tuple[str, int | None], Evaluator] = {}

    @property
    def piece(self) -> int:
        """Images that are on the device at a time."""
        return self.batch // self.parts

    def train_loader(self, settings: IterableSimpleNamespace) -> TrainLoader:
        """The one training loader, augmenting from now on as `settings` say."""
        if self._train is None:
            self._train = self._device() if self.loader == "device" else self._ultralytics()
        self._train.dataset.renew(settings)
        self._train.reset()
        return self._train

    def _device(self) -> DeviceLoader:
        images = DeviceImages(
            self.dataset,
            self.dataset.split("train"),
            imgsz=self.imgsz,
            device=self.device,
            tick=self._tick,
        )
        return DeviceLoader(images, self.batch, self.parts)

    def _ultralytics(self) -> InfiniteDataLoader:
        images = SplitImages(
            self.dataset,
            self.dataset.split("train"),
            imgsz=self.imgsz,
            batch=self.piece,
            augment=True,
            tick=self._tick,
        )
        return build_dataloader(images, self.piece, self.workers, shuffle=True, device=self.device)

    def evaluator(self, split: str, limit: int | None = None) -> Evaluator:
        """The one evaluator of a split; its letterboxed images stay in memory."""
        key = (split, limit)
        if key not in self._evaluators:
            self._evaluators[key] = Evaluator(
                self.dataset,
                split,
                self.imgsz,
                self.batch,
                self.device,
                parts=self.parts,
                limit=limit,
                tick=self._tick,
            )
        return self._evaluators[key]

    def close(self) -> None:
        """End the loader's processes."""
        if self._train is not None:
            self._train.reset()
