"""One drawn dataset and one thin baseline for the room."""

from __future__ import annotations

import pytest
import torch

from msip_core.data.dataset import Dataset, open_dataset
from msip_core.detector.build import register_model
from msip_core.detector.library import DetectionModel
from msip_core.pruning.network import Network
from msip_core.workspace import Workspace
from tests.drawn import copy_example
from tests.importance.kit import thin_detector
from tests.pruning.kit import BASELINE, DATASET, IMGSZ, network_of


@pytest.fixture(autouse=True, scope="session")
def one_thread():
    """Bit for bit the same results: sums in one order."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="session")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    """A workspace with data and a baseline; runs are added, nothing else changes."""
    workspace = Workspace.open(tmp_path_factory.mktemp("pruning") / "workspace")
    dataset = copy_example(workspace, name=DATASET, images=20, size=96)
    model = thin_detector(0.125)
    model.names = dict(enumerate(dataset.classes))
    register_model(
        workspace, model, name="thin", kind="baseline", imgsz=IMGSZ, model_id=BASELINE,
        dataset=dataset,
    )  # fmt: skip
    return workspace


@pytest.fixture(scope="session")
def dataset(lab: Workspace) -> Dataset:
    return open_dataset(lab, DATASET)


@pytest.fixture(scope="session")
def detector() -> DetectionModel:
    return thin_detector(0.125)


@pytest.fixture(scope="session")
def network(detector: DetectionModel) -> Network:
    return network_of(detector)
