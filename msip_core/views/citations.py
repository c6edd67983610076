"""The works that a run builds on, of references.bib: as lines of a list, as BibTeX and as RIS.

The catalog says by key which works are behind a strategy.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from types import MappingProxyType

import bibtexparser
from bibtexparser.library import Library
from bibtexparser.model import Entry

from msip_core.catalog import EXPLAINERS, FAMILIES, Family
from msip_core.combinations import takes_channels
from msip_core.config import PruneConfig, TrainConfig

REFERENCES = Path(__file__).with_name("references.bib")
DETECTOR, COUPLING = "yolov8_ultralytics", "fang2023depgraph"  # of every run, of every pruning run

_LAYOUT = bibtexparser.BibtexFormat()
_LAYOUT.indent, _LAYOUT.block_separator = "  ", "\n"
_RIS = {"inproceedings": "CONF", "article": "JOUR", "misc": "COMP"}  # else UNPB
_CHOICES: Mapping[str, Family] = {
    "method": "criterion",
    "allocation": "allocation",
    "granularity": "granularity",
    "recovery": "recovery",
}


@dataclass(frozen=True)
class Citation:
    """One work: its entry in the bibliography."""

    entry: Entry

    @property
    def key(self) -> str:
        return self.entry.key

    @property
    def title(self) -> str:
        return self._field("title").strip("{}")

    def plain(self) -> str:
        """One line for a list of references."""
        names = [author.replace(", ", " ") for author in self._authors]
        who = ", ".join(names[:3]) + (" et al." if len(names) > 3 else "")
        place = " ".join(part for part in (self._where, self._field("volume")) if part)
        place += f", {self._pages}" if self._pages else ""
        place += f" ({self._field('year')})" if self._field("year") else ""
        parts = [part.rstrip(".") for part in (who, self.title, place, self._link) if part]
        return ". ".join(parts) + "."

    def ris(self) -> str:
        """One record, for EndNote, Zotero and Mendeley."""
        kind, arxiv = _RIS.get(self.entry.entry_type, "UNPB"), self._field("eprint")
        first, _, last = self._pages.partition("–")
        fields = [
            ("TY", kind),
            *(("AU", author) for author in self._authors),
            ("TI", self.title),
            ("T2" if kind in ("CONF", "JOUR") else "PB", self._where),
            ("PY", self._field("year")),
            ("VL", self._field("volume")),
            ("SP", first),
            ("EP", last),
            ("DO", self._field("doi")),
            ("UR", self._field("url") or (f"https://arxiv.org/abs/{arxiv}" if arxiv else "")),
            ("N1", self._field("note")),
        ]
        lines = [f"{tag}  - {value}" for tag, value in fields if value]
        return "\r\n".join([*lines, "ER  - ", ""])

    def _field(self, name: str) -> str:
        field = self.entry.fields_dict.get(name)
        return str(field.value) if field else ""

    @property
    def _authors(self) -> list[str]:
        return self._field("author").split(" and ")

    @property
    def _pages(self) -> str:
        return self._field("pages").replace("--", "–")

    @property
    def _where(self) -> str:
        """Conference, journal or publisher."""
        return self._field("booktitle") or self._field("journal") or self._field("howpublished")

    @property
    def _link(self) -> str:
        if doi := self._field("doi"):
            return f"doi:{doi}"
        arxiv = self._field("eprint")
        return f"arXiv:{arxiv}" if arxiv else self._field("url").removeprefix("https://")


@lru_cache(maxsize=1)
def references() -> Mapping[str, Citation]:
    """The whole bibliography, by key."""
    library = bibtexparser.parse_file(str(REFERENCES))
    return MappingProxyType({entry.key: Citation(entry) for entry in library.entries})


def bibliography(cited: Sequence[Citation], form: str) -> str:
    """All of them as one file: "bib" or "ris"."""
    if form == "bib":
        library = Library([work.entry for work in cited])
        return bibtexparser.write_string(library, bibtex_format=_LAYOUT)
    return "\r\n".join(work.ris() for work in cited)


def keys_of(config: PruneConfig) -> dict[str, tuple[str, ...]]:
    """Keys of the works behind each choice of a run, by the name of the setting."""
    chosen = {
        setting: FAMILIES[family].get(getattr(config, setting) or "")
        for setting, family in _CHOICES.items()
    }
    if not takes_channels(config):
        chosen |= {"method": None, "allocation": None}
    return {s: entry.cites if entry and not entry.usual else () for s, entry in chosen.items()}


def references_of(
    config: TrainConfig | PruneConfig, explained: Collection[str] = ()
) -> tuple[Citation, ...]:
    """The works that this run used, each once, in the order in which its methods name them.

    Args:
        explained: of the explainers of the catalog, those that were computed.
    """
    keys = [DETECTOR]
    if isinstance(config, PruneConfig):
        keys += [COUPLING] if takes_channels(config) else []
        keys += [*(key for keys in keys_of(config).values() for key in keys)]
    keys += [key for name, entry in EXPLAINERS.items() if name in explained for key in entry.cites]
    return tuple(references()[key] for key in dict.fromkeys(keys))
