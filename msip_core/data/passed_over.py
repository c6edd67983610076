"""Files of a source that may hold labels and were not read.

Known kinds are named with what to export instead, others in one note.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from pathlib import PurePosixPath

from msip_core.data.manifest import Problem
from msip_core.messages import Message, mark

# Ends of names -> what they are, and what to export instead.
_KNOWN: tuple[tuple[tuple[str, ...], str], ...] = (
    (("_seg.npy",), mark("Cellpose's own file is not read: save the masks as PNG or TIFF")),
    ((".qpdata", ".qpproj"), mark("QuPath's own file is not read: export the objects as GeoJSON")),
    ((".roi", "roiset.zip"),
     mark("ImageJ's ROIs are not read: export them as a mask (ROI Manager, Combine, Create Mask) "
          "or as CSV")),
    ((".ilp", ".h5", ".hdf5"),
     mark("ilastik and HDF5 files are not read: export the objects as TIFF masks")),
    ((".xlsx", ".xls", ".ods"), mark("tables of Excel are not read: save the boxes as CSV")),
    ((".tfrecord", ".record", ".tfrecords"), mark("TFRecords are not read: export COCO or YOLO")),
    ((".mat", ".npy", ".npz", ".pkl", ".pickle", ".parquet"),
     mark("arrays and pickles are not read: export COCO, YOLO, or masks as PNG or TIFF")),
    ((".jsonl", ".ndjson", ".vott", ".manifest"),
     mark("this export is not read: choose COCO or YOLO")),
    ((".zip", ".rar", ".7z", ".tar", ".tgz", ".gz", ".bz2", ".xz"),
     mark("is packed inside the folder or zip, and was not opened: unpack it there")),
    ((".imzml", ".svg"),
     mark("this kind of file is not read as labels: export COCO, YOLO or masks")),
)  # fmt: skip
_TEXTS = (".json", ".geojson", ".xml", ".csv", ".tsv", ".txt")
# Files that every export brings along; they are never labels.
_ORDINARY = ("readme", "license", "licence", "notes", "changelog", "requirements", "dataset",
             "summary", "metadata", "classes", "names", "notes", "predefined_classes", "_darknet",
             "labelling_interface", "index", "imageindex", "assaylayout")  # fmt: skip
_LISTS = ("labels", "train", "val", "valid", "test", "trainval")  # .txt, such as lists of parts
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
        elif low.endswith(_TEXTS):
            stem = PurePosixPath(low).stem.split(".")[0]
            if stem not in _ORDINARY and not (stem in _LISTS and low.endswith(".txt")):
                others.append(name)
    if not others:
        return problems, None
    facts: dict[str, object] = {"shown": ", ".join(others[:_SHOWN])}
    said = mark(
        "Files in which no labels were recognised: {shown}. If they hold labels, export these as "
        "COCO or YOLO."
    )
    if (more := len(others) - _SHOWN) > 0:
        facts["more"] = more
        said = mark(
            "Files in which no labels were recognised: {shown} and {more} more. If they hold "
            "labels, export these as COCO or YOLO."
        )
    return problems, Message(said, facts)
