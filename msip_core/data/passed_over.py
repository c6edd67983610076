"""Files of a source that may hold labels and were not read.

Known kinds are named with what to export instead, others in one note.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Sequence
from pathlib import PurePosixPath

from msip_core.data.archive import FileTree
from msip_core.data.manifest import Problem
from msip_core.messages import mark, msg

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
# How files of pictures begin, whatever they are called: PNG, JPEG, TIFF and what cameras make of
# it, BMP, GIF, HEIF and video, JPEG 2000, PSD, CZI.
_BEGINNINGS = re.compile(
    rb"\x89PNG|\xff\xd8\xff|II[*+U]\0|MM\0[*+]|BM.{4}\0{4}|GIF8|RIFF.{4}WEBP|.{4}ftyp|\0\0\0\x0cjP"
    rb"|8BPS|ZISRAWFILE|FUJIFILM",
    re.DOTALL,
)
# Kinds of files that are neither micrographs nor labels.
_BESIDE = (
    ".yaml", ".yml", ".names", ".data", ".labels", ".cfg", ".ini", ".toml", ".log", ".md", ".rst",
    ".html", ".htm", ".css", ".js", ".py", ".ipynb", ".r", ".ijm", ".groovy", ".sh", ".bat", ".pt",
    ".pth", ".onnx", ".cache", ".db", ".tmp", ".lock", ".sha256", ".md5",
)  # fmt: skip
# Files that every export brings along; they are never labels.
_ORDINARY = ("readme", "license", "licence", "notes", "changelog", "requirements", "dataset",
             "summary", "metadata", "classes", "names", "notes", "predefined_classes", "_darknet",
             "labelling_interface", "index", "imageindex", "assaylayout")  # fmt: skip
_LISTS = ("labels", "train", "val", "valid", "test", "trainval")  # .txt, such as lists of parts
_SHOWN = 5
_LOOKED_AT = 16  # bytes


def hidden_pictures(tree: FileTree, names: Sequence[str]) -> list[Problem]:
    """Files that begin like pictures, and are not called so: `scan1`, `a.png.bak`, `a.tif (1)`."""
    ends = (*_TEXTS, *_BESIDE, *(end for ends, _ in _KNOWN for end in ends))
    what = msg("is a picture, and its name does not end as one: let it end in .png, .jpg or .tif")
    return [
        Problem(file=name, what=what)
        for name in names
        if not name.lower().endswith(ends) and _BEGINNINGS.match(tree.head(name, _LOOKED_AT))
    ]


def passed_over(names: Sequence[str], used: Collection[str]) -> tuple[list[Problem], list[str]]:
    """Rows of the report for label files of a known kind, and notes on others: those that may be
    labels, and those of kinds that nobody knows.

    Args:
        names: all files of the source.
        used: files that a reader knew, or that are named already.
    """
    problems, others, strange = [], [], []
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
        elif not low.endswith(_BESIDE) and PurePosixPath(low).stem not in _ORDINARY:
            strange.append(name)
    notes = []
    if others:
        notes.append(
            msg(
                "Files in which no labels were recognised: {shown}. If they hold labels, export "
                "these as COCO or YOLO.",
                shown=_some(others),
            )
        )
    if strange:
        notes.append(
            msg(
                "Files of kinds that are not read: {shown}. If they are micrographs, save them as "
                "TIFF or PNG.",
                shown=_some(strange),
            )
        )
    return problems, notes


def _some(names: Sequence[str]) -> str:
    shown, more = ", ".join(names[:_SHOWN]), len(names) - _SHOWN
    return msg("{shown} and {more} more", shown=shown, more=more) if more > 0 else shown
