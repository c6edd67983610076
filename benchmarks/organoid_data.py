"""OrgaQuant out of the two-class zip, split so that no field of view lies on both sides.

File names carry the subset (`Subset_3_450x450_017`) and crops of one subset overlap, so a random
split leaks. Training: subsets 2-4, of which every tenth image (in an order drawn from a seed) is
set aside for validation, which drives all feedback; test: subset 5, which is only reported. Both
classes become `organoid`: in the zip, class and source are confounded.
"""

from __future__ import annotations

import random
import zipfile
from pathlib import Path, PurePosixPath

CLASS = "organoid"
TEST_SUBSET = "Subset_5_"


def extract(
    archive: Path, folder: Path, *, seed: int = 0, val_share: float = 0.1, every: int = 1
) -> Path:
    """Write a YOLO folder (train/, val/, test/) of the OrgaQuant images below `folder`.

    Args:
        every: take every so many-th image of each part, for a quicker look.

    Returns:
        `folder`; a second call finds it complete and does nothing.
    """
    done = folder / "data.yaml"
    if done.is_file():
        return folder
    with zipfile.ZipFile(archive) as source:
        images = sorted(
            name
            for name in source.namelist()
            if PurePosixPath(name).name.startswith("Subset_") and name.endswith(".jpg")
        )
        fit = [name for name in images if TEST_SUBSET not in name]
        random.Random(seed).shuffle(fit)
        held_out = set(fit[: round(val_share * len(fit))])
        parts = [[n for n in images if n in part] for part in (set(fit), set(images) - set(fit))]
        for name in (name for part in parts for name in part[::every]):
            split = "test" if TEST_SUBSET in name else "val" if name in held_out else "train"
            _copy(source, name, folder / split)
    done.write_text(
        f"train: train/images\nval: val/images\ntest: test/images\nnames:\n  0: {CLASS}\n",
        encoding="utf-8",
    )
    return folder


def _copy(source: zipfile.ZipFile, name: str, folder: Path) -> None:
    """Copy one image and its labels, every class as class 0."""
    stem = PurePosixPath(name).stem
    label = name.replace("/images/", "/labels/").removesuffix(".jpg") + ".txt"
    rows = [row.split() for row in source.read(label).decode().splitlines() if row.strip()]
    for kind in ("images", "labels"):
        (folder / kind).mkdir(parents=True, exist_ok=True)
    (folder / "images" / f"{stem}.jpg").write_bytes(source.read(name))
    text = "".join(f"0 {' '.join(row[1:])}\n" for row in rows)
    (folder / "labels" / f"{stem}.txt").write_text(text, encoding="utf-8")
