"""Images, loaders and evaluators of one run, made once and shared by all its iterations."""

from __future__ import annotations

from ultralytics.data.build import InfiniteDataLoader, build_dataloader
from ultralytics.utils import IterableSimpleNamespace

from msip_core.data.dataset import Dataset
from msip_core.detector.evaluation import Evaluator
from msip_core.detector.images import SplitImages, Tick


class DataPool:
    """What a run reads its images from.

    Args:
        workers: data-loading processes for training; ignored (0) on the CPU, where they would
            only compete with the work itself.
        tick: called for every image read and every batch evaluated; may raise to stop.
    """

    def __init__(
        self,
        dataset: Dataset,
        *,
        imgsz: int,
        batch: int,
        device: str = "cpu",
        workers: int = 0,
        tick: Tick | None = None,
    ) -> None:
        self.dataset, self.imgsz, self.batch, self.device = dataset, imgsz, batch, device
        self.workers = 0 if device in ("cpu", "mps") else workers
        self._tick = tick
        self._train: InfiniteDataLoader | None = None
        self._evaluators: dict[tuple[str, int | None], Evaluator] = {}

    def train_loader(self, settings: IterableSimpleNamespace) -> InfiniteDataLoader:
        """The one training loader, augmenting from now on as `settings` say."""
        if self._train is None:
            images = SplitImages(
                self.dataset,
                self.dataset.split("train"),
                imgsz=self.imgsz,
                batch=self.batch,
                augment=True,
                tick=self._tick,
            )
            self._train = build_dataloader(
                images, self.batch, self.workers, shuffle=True, device=self.device
            )
        self._train.dataset.renew(settings)
        self._train.reset()
        return self._train

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
                limit=limit,
                tick=self._tick,
            )
        return self._evaluators[key]

    def close(self) -> None:
        """End the loader's processes."""
        if self._train is not None:
            self._train.reset()
