"""Distillation: the unpruned network shows the pruned one what its feature maps should look like.

    loss per image = weight * sum over layers of  divergence(adapter(student map), teacher map)

    channel-wise   T^2 / (N C) * sum over n, c of  KL(softmax(t/T) || softmax(s/T)),
                   each softmax over the positions of one channel, not over channels
    feature        mean of (s' - t')^2, every channel of a map standardised over the batch

Maps are those of layers 15, 18 and 21 of the YOLOv8 graph, which feed the head. The adapter is a
1x1 convolution from the student's width to the teacher's, trained along and dropped with the fit.
Neither divergence sees what is constant in a channel, so it has no bias. It begins as the least
squares map from the student's calibration maps to the teacher's [own]: recoveries of a few epochs
would otherwise mostly train a random adapter.

The teacher is in eval mode, gets no gradient, and is only computed up to its last map.

Sources: Shu et al. 2021, arXiv:2011.13256 (channel-wise); Romero et al. 2015, arXiv:1412.6550
(feature maps through an adapter).
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from msip_core.config import DistillOptions
from msip_core.detector.fit_state import fingerprint
from msip_core.detector.library import DetectionModel, copy_model
from msip_core.errors import ConfigError
from msip_core.groups.hooks import heard
from msip_core.importance.calibration import CalibrationSet

Divergence = Callable[[Tensor, Tensor], Tensor]
Maps = dict[int, Tensor]

_FEEDS = [15, 18, 21]  # layers that the head of YOLOv8 reads
_PROBE = 64  # px; enough for every layer of the graph
_RIDGE = 1e-3  # of the mean variance: keeps the start finite where channels repeat each other
_EPS = 1e-6  # below any variance that a channel in use has


def channel_wise(student: Tensor, teacher: Tensor, temperature: float = 1.0) -> Tensor:
    """T^2 / (N C) * sum of KL(teacher || student), each channel a distribution over positions.

    Args:
        student, teacher: (n, channels, height, width), equal shapes.
    """
    n, channels = teacher.shape[:2]
    log_s = F.log_softmax(student.float().flatten(2) / temperature, dim=-1)
    log_t = F.log_softmax(teacher.float().flatten(2) / temperature, dim=-1)
    divergence = F.kl_div(log_s, log_t, reduction="sum", log_target=True)
    return divergence * temperature**2 / (n * channels)


def feature_error(student: Tensor, teacher: Tensor) -> Tensor:
    """Mean squared error of the maps, every channel with mean 0 and variance 1 over the batch."""
    return F.mse_loss(_standardised(student), _standardised(teacher))


def _standardised(maps: Tensor) -> Tensor:
    maps = maps.float()
    variance, mean = torch.var_mean(maps, dim=(0, 2, 3), keepdim=True, correction=0)
    return (maps - mean) * (variance + _EPS).rsqrt()


class Taught(ABC):
    """Base of the ExtraLosses (msip_core.detector.extras) with a teacher: the unpruned network, and
    adapters from the student's widths to its own.

    Args:
        adapters: what is trained along, by name; may be none.
        calibration: images that the adapters start from.
        tick: called once per calibration batch; may raise to stop.
        facts: for the fit's fingerprint.
    """

    name = "distill"

    def __init__(
        self,
        teacher: DetectionModel,
        adapters: Mapping[str, nn.Conv2d],
        *,
        options: DistillOptions,
        calibration: CalibrationSet,
        tick: Callable[[], None],
        facts: Mapping[str, object],
    ) -> None:
        self._teacher = copy_model(teacher).eval().requires_grad_(False)
        self._options, self._calibration, self._tick = options, calibration, tick
        self._adapters = dict(adapters)
        self.parts: nn.Module = nn.ModuleDict(self._adapters)
        self.facts: dict[str, object] = {
            **facts,
            "teacher": fingerprint(teacher, {}),
            "calibration": list(calibration.ids),
        }

    def begin(self, model: DetectionModel) -> None:
        """Set every adapter to the least squares map from student to teacher."""
        if not self._adapters:
            return
        # A copy in train mode: with the statistics of the batch, as in training.
        student, device = copy_model(model).train(), next(model.parameters()).device
        self._teacher.to(device)
        moments = {name: Moments() for name in self._adapters}
        with torch.no_grad():
            for batch in self._calibration.batches():
                self._tick()
                images = self._calibration.pixels(batch, device)
                for name, (thin, wide) in self._pairs(student, images).items():
                    moments[name].add(thin, wide)
            for name, found in moments.items():
                weight, bias = found.map_with_bias()
                adapter = self._adapters[name]
                adapter.weight.copy_(weight[:, :, None, None])
                if adapter.bias is not None:
                    adapter.bias.copy_(bias)

    @abstractmethod
    def _pairs(self, student: DetectionModel, images: Tensor) -> dict[str, tuple[Tensor, Tensor]]:
        """Adapter -> what it reads of the student, and what it is to give, of the teacher."""


class Distillation(Taught):
    """The teacher shows its feature maps.

    Args:
        student: the pruned network; only its widths are read, the fit trains a copy.
        method: name of the divergence, for the fit's fingerprint.

    Raises:
        ConfigError: a layer that the networks do not have, or two different graphs.
    """

    def __init__(
        self,
        teacher: DetectionModel,
        student: DetectionModel,
        *,
        method: str,
        divergence: Divergence,
        options: DistillOptions,
        calibration: CalibrationSet,
        tick: Callable[[], None] = lambda: None,
    ) -> None:
        check_layers(teacher, options)
        check_same_graph(teacher, student)
        self._divergence, self._layers = divergence, tuple(sorted(options.layers))
        self._seen: Maps = {}
        wide, thin = (_probe(model, self._layers) for model in (teacher, student))
        adapters = {str(i): adapter(thin[i].shape[1], wide[i].shape[1]) for i in self._layers}
        facts = {"divergence": method, **options.model_dump()}
        super().__init__(
            teacher, adapters, facts=facts, options=options, calibration=calibration, tick=tick
        )

    def _pairs(self, student: DetectionModel, images: Tensor) -> dict[str, tuple[Tensor, Tensor]]:
        thin, wide = maps_of(student, images, self._layers), self._taught(images)
        return {str(i): (thin[i], wide[i]) for i in self._layers}

    @contextmanager
    def watching(self, model: DetectionModel) -> Iterator[None]:
        self._teacher.to(next(model.parameters()).device)
        with _captured(model, self._layers, self._seen):
            yield

    def __call__(self, images: Tensor) -> Tensor:
        wide = self._taught(images)
        # In float32: a softmax over hundreds of positions is lost in 8 bits.
        parts = [
            self._divergence(self._adapters[str(i)](self._seen[i]).float(), wide[i].float())
            for i in self._layers
        ]
        self._seen.clear()
        return torch.stack(parts).sum() * self._options.weight

    def _taught(self, images: Tensor) -> Maps:
        self._teacher.to(images.device)
        with torch.no_grad():
            return maps_of(self._teacher, images, self._layers)


def check_layers(model: DetectionModel, options: DistillOptions) -> None:
    """Refuse a detector whose layers are not numbered like YOLOv8's, or have no such number.

    Raises:
        ConfigError: says what the detector has instead.
    """
    feeds, head = list(model.model[-1].f), len(model.model) - 1
    if feeds != _FEEDS:
        raise ConfigError(
            "Distillation compares layers of the YOLOv8 graph, whose head reads layers 15, 18 and "
            "21; the head of this detector reads {feeds}: choose the recovery 'finetune'.",
            feeds=", ".join(map(str, feeds)),
        )
    unknown = [i for i in options.layers if i >= head]
    if unknown:
        raise ConfigError(
            "Distillation cannot compare layer {unknown}: the feature maps of this detector "
            "are those of layers 0 to {head}; 15, 18 and 21 are usual.",
            unknown=unknown[0],
            head=head - 1,
        )


def check_same_graph(teacher: DetectionModel, student: DetectionModel) -> None:
    """Refuse a teacher whose layers are not the student's, apart from widths.

    Raises:
        ConfigError: the networks have other layers, or read them in another order.
    """
    routes = [[(layer.i, layer.f) for layer in model.model] for model in (teacher, student)]
    if routes[0] != routes[1]:
        raise ConfigError(
            "The unpruned and the pruned network have different layers, so their maps cannot be "
            "compared: choose the recovery 'finetune'."
        )


def maps_of(model: DetectionModel, images: Tensor, layers: tuple[int, ...]) -> Maps:
    """Outputs of these layers, computed no further than the last of them."""
    seen: Maps = {}
    with _captured(model, layers, seen):
        model.predict(images, embed=[max(layers)])
    return seen


def kept(modules: Mapping[Any, nn.Module], seen: dict[Any, Any]) -> AbstractContextManager[None]:
    """While open, every forward leaves what these modules gave in `seen`, under their keys."""
    return heard(modules, lambda key, _inputs, output: seen.__setitem__(key, output))


def _captured(
    model: DetectionModel, layers: tuple[int, ...], seen: Maps
) -> AbstractContextManager[None]:
    """While open, every forward leaves the outputs of these layers in `seen`."""
    return kept({i: model.model[i] for i in layers}, seen)


def _probe(model: DetectionModel, layers: tuple[int, ...]) -> Maps:
    twin = copy_model(model).eval()
    image = torch.zeros(1, 3, _PROBE, _PROBE, device=next(twin.parameters()).device)
    with torch.no_grad():
        return maps_of(twin, image, layers)


def adapter(inputs: int, outputs: int, *, bias: bool = False) -> nn.Conv2d:
    """A 1x1 convolution of zeros: whoever uses it gives it its start."""
    # Not initialised by lot: that would move the random numbers of the fit.
    made: nn.Conv2d = nn.utils.skip_init(nn.Conv2d, inputs, outputs, 1, bias=bias)
    for parameter in made.parameters():
        nn.init.zeros_(parameter)
    return made


class Moments:
    """Sums over positions from which the least squares map follows."""

    def __init__(self) -> None:
        self.n = 0
        self.x, self.y, self.xx, self.yx = (torch.zeros(()) for _ in range(4))

    def add(self, x: Tensor, y: Tensor) -> None:
        """x: (n, c_x, height, width); y: (n, c_y, height, width)."""
        x, y = (m.float().transpose(0, 1).flatten(1) for m in (x, y))
        self.n += x.shape[1]
        self.x, self.y = self.x + x.sum(1).double().cpu(), self.y + y.sum(1).double().cpu()
        self.xx = self.xx + (x @ x.T).double().cpu()
        self.yx = self.yx + (y @ x.T).double().cpu()

    def map(self) -> Tensor:
        """(c_y, c_x): minimises the mean of |(y - mean) - W (x - mean)|^2 plus a small ridge."""
        x, y = self.x / self.n, self.y / self.n
        xx = self.xx / self.n - torch.outer(x, x)
        yx = self.yx / self.n - torch.outer(y, x)
        xx = xx + torch.eye(len(x)) * (_RIDGE * xx.diagonal().mean() + _EPS)
        return torch.linalg.solve(xx, yx.T).T.float()

    def map_with_bias(self) -> tuple[Tensor, Tensor]:
        """That map, and the (c_y,) that makes the means agree."""
        weight = self.map()
        return weight, (self.y - weight.double() @ self.x).float() / self.n
