"""Time and memory of importing many small images.

    python benchmarks/import_memory.py [--images 10000] [--size 300] [--kind jpg|png|tif16] [--zip]

Draws a few organoid images, writes as many copies with a few changed pixels as asked, imports
the folder (or zip) in a fresh process and prints that process's peak memory.
"""

from __future__ import annotations

import argparse
import json
import platform
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import cv2
import numpy as np

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from msip_core.config import ImportConfig  # noqa: E402
from msip_core.data.dataset import open_dataset  # noqa: E402
from msip_core.data.importing import import_dataset  # noqa: E402
from msip_core.data.synthetic import draw_field  # noqa: E402
from msip_core.workspace import Workspace  # noqa: E402


def write_source(folder: Path, images: int, size: int, kind: str) -> None:
    """A YOLO folder of `images` images that all differ."""
    for name in ("images", "labels"):
        (folder / name).mkdir(parents=True)
    drawn = [draw_field(0, i, size) for i in range(20)]
    rng = np.random.default_rng(0)
    for i in range(images):
        picture = drawn[i % len(drawn)]
        pixels = picture.pixels[..., 0].copy()
        pixels[:4, :4] = rng.integers(0, 255, (4, 4))
        stem = f"plate{i // 960}_{'ABCDEFGH'[i // 120 % 8]}{i // 10 % 12 + 1:02d}_f{i}"
        suffix = "tif" if kind == "tif16" else kind
        array = pixels.astype(np.uint16) * 16 if kind == "tif16" else pixels
        cv2.imwrite(str(folder / "images" / f"{stem}.{suffix}"), array)
        lines = [
            f"{b.cls} {(b.x1 + b.x2) / 2 / size:.6f} {(b.y1 + b.y2) / 2 / size:.6f} "
            f"{(b.x2 - b.x1) / size:.6f} {(b.y2 - b.y1) / size:.6f}\n"
            for b in picture.boxes
        ]
        (folder / "labels" / f"{stem}.txt").write_text("".join(lines))
    (folder / "data.yaml").write_text("names: [crypt, no_crypt]\n")


def measure(source: Path, workspace_root: Path) -> dict[str, float]:
    """Import and open in this process; seconds and peak memory."""
    workspace = Workspace.open(workspace_root)
    start = time.perf_counter()
    dataset = import_dataset(workspace, ImportConfig(source=source, name="many"))
    imported = time.perf_counter() - start
    start = time.perf_counter()
    open_dataset(workspace, "many")
    opened = time.perf_counter() - start
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return {
        "images": len(dataset.images),
        "boxes": sum(dataset.report.boxes.values()),
        "import_s": imported,
        "open_s": opened,
        "peak_mb": peak / (1024**2 if platform.system() == "Darwin" else 1024),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--images", type=int, default=10_000)
    parser.add_argument("--size", type=int, default=300)
    parser.add_argument("--kind", choices=("jpg", "png", "tif16"), default="jpg")
    parser.add_argument("--zip", action="store_true")
    parser.add_argument("--child", nargs=2, metavar=("SOURCE", "WORKSPACE"), help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.child:
        print(json.dumps(measure(Path(args.child[0]), Path(args.child[1]))))
        return
    with tempfile.TemporaryDirectory(prefix="import-memory-") as folder:
        source = Path(folder) / "source"
        write_source(source, args.images, args.size, args.kind)
        if args.zip:
            source = Path(shutil.make_archive(str(source), "zip", source))
        command = [sys.executable, __file__, "--child", str(source), str(Path(folder) / "ws")]
        done = subprocess.run(command, check=True, capture_output=True, text=True)
        found = json.loads(done.stdout.splitlines()[-1])
    print("| images | pixels | kind | boxes | import, s | open, s | peak memory, MB |")
    print("| ---: | ---: | --- | ---: | ---: | ---: | ---: |")
    kind = args.kind + (" in a zip" if args.zip else "")
    print(
        f"| {found['images']:,} | {args.size}x{args.size} | {kind} | {found['boxes']:,} | "
        f"{found['import_s']:.1f} | {found['open_s']:.2f} | {found['peak_mb']:.0f} |"
    )
    print(f"\n{platform.platform()}, {platform.processor() or platform.machine()}")


if __name__ == "__main__":
    main()
