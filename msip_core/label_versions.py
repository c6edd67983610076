"""Which versions the labels of a dataset have, told from small files: what a run writes down of its
data. How versions are made and read, `data.versions` says.

  <dataset>/versions/<n>/version.json   one for each, from the first correction on
"""

from __future__ import annotations

from pathlib import Path

from msip_core.documents import Summary, facts_in

VERSIONS = "versions"
VERSION_FILE = "version.json"


def newest_version(dataset: Path) -> int:
    """Number of the newest version of the labels in a dataset's folder; 1 is what was imported."""
    names = (path.parent.name for path in (dataset / VERSIONS).glob(f"[0-9]*/{VERSION_FILE}"))
    return max((int(name) for name in names if name.isdecimal()), default=1)


def content_hash_of(dataset: Path, number: int) -> str | None:
    """`Dataset.content_hash` of one version; None where it cannot be read."""
    found = _state(dataset, number) or facts_in(dataset / "dataset.json")
    return str(found["content_hash"]) if "content_hash" in found else None


def version_of_content(dataset: Path, content_hash: str) -> int | None:
    """The newest version with that hash; None if no version of this dataset has it."""
    for number in range(newest_version(dataset), 0, -1):
        if content_hash_of(dataset, number) == content_hash:
            return number
    return None


def summary_at(dataset: Path, number: int | None) -> dict[str, object]:
    """The content of summary.json, as far as it depends on labels that of one version; {} where
    there is none. None is the newest version."""
    summary = facts_in(dataset / "summary.json", Summary)
    if not summary or number in (None, summary.get("labels_version", 1)):
        return summary
    state = _state(dataset, number)
    told = {name: state[name] for name in _OF_LABELS if name in state}
    unknown = ("ready", "missing", "concerns")  # they are said of the newest alone
    rest = {name: value for name, value in summary.items() if name not in unknown}
    return {**rest, **told, "labels_version": number}


def report_at(dataset: Path, number: int | None) -> dict[str, object]:
    """What the import said of the images, and the boxes of one version; {} where it is gone."""
    document = facts_in(dataset / "dataset.json")
    report = dict(document.get("report") or {})
    if number not in (None, document.get("labels_version", 1)):
        state = _state(dataset, number)
        report |= {name: state[name] for name in _COUNTED if name in state}
    return report


_OF_LABELS: tuple[str, ...] = ("boxes", "classes", "content_hash")
_COUNTED: tuple[str, ...] = ("boxes", "background", "box_size")


def _state(dataset: Path, number: int | None) -> dict[str, object]:
    return dict(facts_in(dataset / VERSIONS / str(number) / VERSION_FILE).get("state") or {})
