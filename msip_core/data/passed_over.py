"""Files of a source that may hold labels and were not read.

Known kinds are named with what to export instead, others in one note.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from pathlib import PurePosixPath

from msip_core.data.manifest import Problem

# Ends of names -> what they are, and what to export instead.
_KNOWN: tuple[tuple[tuple[str, ...], str], ...] = (
    (("_seg.npy",), "Cellpose's own file is not read: save the masks as PNG or TIFF"),
    ((".qpdata", ".qpproj"), "QuPath's own file is not read: export the objects as GeoJSON"),
    ((".roi", "roiset.zip"), "ImageJ's ROIs are not read: export them as a mask (ROI Manager, "
     "Combine, Create Mask) or as CSV"),
    ((".ilp", ".h5", ".hdf5"), "ilastik and HDF5 files are not read: export the objects as TIFF "
     "masks"),
    ((".xlsx", ".xls", ".ods"), "tables of Excel are not read: save the boxes as CSV"),
    ((".tfrecord", ".record", ".tfrecords"), "TFRecords are not read: export COCO or YOLO"),
    ((".mat", ".npy", ".npz", ".pkl", ".pickle", ".parquet"), "arrays and pickles are not read: "
     "export COCO, YOLO, or masks as PNG or TIFF"),
    ((".jsonl", ".ndjson", ".vott"), "this export is not read: choose COCO or YOLO"),
    ((".imzml", ".svg"), "this kind of file is not read as labels: export COCO, YOLO or masks"),
)  # fmt: skip
_TEXTS = (".json", ".geojson", ".xml", ".csv", ".tsv", ".txt")
# Files that every export brings along; they are never labels.
_ORDINARY = ("readme", "license", "licence", "notes", "changelog", "requirements", "dataset",
             "summary", "metadata", "classes", "names", "labels", "notes", "train", "val", "valid",
             "test", "trainval", "predefined_classes", "_darknet")  # fmt: skip
_SHOWN = 5


def passed_over(names: Sequence[str], used: Collection[str]) -> tuple[list[Problem], str | None]:
    """Rows of the report for label files of a known kind, and a note on others that may be labels.

    Args:
        names: all files of the source.
        used: files that a reader knew.
    """
    problems, others = [], []
    for name in names:
        if name in used:
            continue
        low = name.lower()
        what = next((what for ends, what in _KNOWN if low.endswith(ends)), None)
        if what:
            problems.append(Problem(file=name, what=what))
        elif low.endswith(_TEXTS) and PurePosixPath(low).stem.split(".")[0] not in _ORDINARY:
            others.append(name)
    if not others:
        return problems, None
    more = f" and {len(others) - _SHOWN} more" if len(others) > _SHOWN else ""
    return problems, (
        f"Files in which no labels were recognised: {', '.join(others[:_SHOWN])}{more}. If they "
        "hold labels, export these as COCO or YOLO."
    )
