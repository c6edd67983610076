"""Which reader a file has, and whether it is installed."""

from __future__ import annotations

from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from pkgutil import resolve_name

from msip_core.data.readers.base import Kind, Reader
from msip_core.errors import DatasetError
from msip_core.messages import msg

BRING = "python -m pip install --no-deps -r requirements-microscopes.txt"
ZARR = ".zarr"


KINDS = (
    Kind("CZI", (".czi",), "pylibCZIrw", "msip_core.data.readers.czi:CziFile"),
    Kind("LIF", (".lif",), "liffile", "msip_core.data.readers.lif:LifFile"),
    Kind("ND2", (".nd2",), "nd2", "msip_core.data.readers.nikon:Nd2File"),
    Kind("OME-Zarr", (ZARR,), "zarr", "msip_core.data.readers.ome_zarr:OmeZarr"),
)
SUFFIXES = tuple(suffix for kind in KINDS for suffix in kind.suffixes)


def kind_of(name: str) -> Kind | None:
    """The kind that a name tells; None for images that need no reader of their own."""
    low = name.lower()
    return next((kind for kind in KINDS if low.endswith(kind.suffixes)), None)


def is_there(kind: Kind) -> bool:
    """Whether the kind's library is installed."""
    return find_spec(kind.module) is not None


def missing(kind: Kind) -> str:
    """What a file is told of whose reader is not installed."""
    return msg(
        "needs the reader for {name}, which is not installed here: run '{bring}' in the "
        "program's folder (make run does), then import again",
        name=kind.name,
        bring=BRING,
    )


def open_reader(name: str, path: Path) -> Reader:
    """Open a file of one of the kinds.

    Raises:
        DatasetError: not one of them, or its reader is not installed. What a library raises on
            damage goes through: `confined` makes it a row of the report.
    """
    kind = kind_of(name)
    if kind is None:
        raise DatasetError("{name} is of no kind that has a reader of its own.", name=name)
    if not is_there(kind):
        raise DatasetError("{name} {why}.", name=name, why=missing(kind))
    reader: Reader = resolve_name(kind.reader)(path)
    return reader


def load(kind: Kind) -> None:
    """Import the library now, before processes are forked that would each do so."""
    if is_there(kind):
        import_module(kind.module)
