"""A pruned model.pt works in an environment that has never seen this package."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch

from msip_core.detector.checkpoints import round_to_half, save_stock
from msip_core.detector.prediction import predict
from tests.detector.conftest import assert_same_boxes, finding, outputs, pruned_model
from tests.fresh import run_fresh

SCRIPT = """
import json, sys
import numpy as np
sys.modules["msip_core"] = None  # importing it fails from here on
from ultralytics import YOLO

model = YOLO("model.pt")
image = np.load("image.npy")
outputs = np.load("inputs.npy")
import torch
with torch.no_grad():
    raw = model.model(torch.from_numpy(outputs))[0].numpy()
np.save("outputs.npy", raw)
found = model.predict(image, imgsz=96, conf=0.4, device="cpu", save=False, verbose=False)[0]
metrics = YOLO("model.pt").val(data="data/data.yaml", split="val", imgsz=96, batch=4, workers=0,
                               device="cpu", plots=False, save_dir="val", verbose=False)
fused = YOLO("model.pt").model.fuse(verbose=False)
onnx = YOLO("model.pt").export(format="onnx", imgsz=96, simplify=False, device="cpu")
exported = YOLO(onnx, task="detect").predict(image, imgsz=96, conf=0.4, save=False, verbose=False)
ours = [name for name, module in sys.modules.items() if name.startswith("msip_core") and module]
print(json.dumps({
    "ours": ours,
    "classes": list({type(m).__module__.split(".")[0] for m in model.model.modules()}),
    "boxes": found.boxes.data.tolist(),
    "exported": exported[0].boxes.data.tolist(),
    "map50": float(metrics.box.map50),
    "names": model.names,
}))
"""


@pytest.fixture(scope="module")
def abroad(dataset, tmp_path_factory) -> dict:
    """What a fresh process with nothing but stock Ultralytics says about our model.pt."""
    folder = tmp_path_factory.mktemp("abroad")
    model = round_to_half(finding(pruned_model()))
    save_stock(model, folder / "model.pt", imgsz=96)
    shutil.copytree(dataset.root, folder / "data")
    pixels = dataset.pixels(dataset.images[0])
    np.save(folder / "image.npy", np.ascontiguousarray(pixels[..., ::-1]))  # arrays are BGR there
    inputs = torch.rand(2, 3, 96, 96, generator=torch.Generator().manual_seed(0))
    np.save(folder / "inputs.npy", inputs.numpy())
    said = json.loads(run_fresh(SCRIPT, cwd=folder, without=("PYTHONPATH",)).splitlines()[-1])
    return {
        **said,
        "model": model,
        "pixels": pixels,
        "inputs": inputs,
        "outputs": np.load(Path(folder) / "outputs.npy"),
    }


def test_nothing_of_ours_is_needed(abroad):
    assert abroad["ours"] == []
    assert sorted(abroad["classes"]) == ["torch", "ultralytics"]
    assert abroad["names"] == {"0": "crypt", "1": "no_crypt"}


def test_its_outputs_equal_ours(abroad):
    ours = outputs(abroad["model"], abroad["inputs"]).numpy()

    np.testing.assert_allclose(abroad["outputs"], ours, atol=1e-4, rtol=1e-5)


def test_it_predicts_the_same_boxes(abroad):
    ours = predict(abroad["model"], [abroad["pixels"]], imgsz=96, conf=0.4)[0]

    rows = [[*d.xyxy, d.score, d.cls] for d in ours]
    assert_same_boxes(rows, abroad["boxes"], atol=1e-2)


def test_it_validates_and_its_onnx_file_finds_as_many(abroad):
    assert 0 <= abroad["map50"] <= 1
    assert len(abroad["exported"]) == pytest.approx(len(abroad["boxes"]), abs=2)
