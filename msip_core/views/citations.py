"""One work that a run builds on: as a line of a list, as BibTeX and as RIS."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Citation:
    """One work.

    Attributes:
        key: BibTeX key.
        kind: BibTeX type: "inproceedings", "article", "software", "unpublished".
        authors: "Family, Given" in order.
        where: conference, journal or publisher.
        year: empty where it is not known.
        arxiv, doi, url: whatever points to it; empty where there is none.
        note: what else a reader must know.
    """

    key: str
    kind: str
    authors: tuple[str, ...]
    title: str
    where: str
    year: str = ""
    pages: str = ""
    volume: str = ""
    arxiv: str = ""
    doi: str = ""
    url: str = ""
    note: str = ""

    def plain(self) -> str:
        """One line for a list of references."""
        names = [author.replace(", ", " ") for author in self.authors]
        who = ", ".join(names[:3]) + (" et al." if len(names) > 3 else "")
        place = " ".join(part for part in (self.where, self.volume) if part)
        place += f", {self.pages}" if self.pages else ""
        place += f" ({self.year})" if self.year else ""
        parts = [part.rstrip(".") for part in (who, self.title, place, self._link()) if part]
        return ". ".join(parts) + "."

    def bibtex(self) -> str:
        """One entry."""
        where = {"inproceedings": "booktitle", "article": "journal"}.get(self.kind, "howpublished")
        fields = {
            "author": " and ".join(self.authors),
            "title": f"{{{self.title}}}",
            where: self.where,
            "volume": self.volume,
            "pages": self.pages.replace("–", "--"),
            "year": self.year,
            "eprint": self.arxiv,
            "archiveprefix": "arXiv" if self.arxiv else "",
            "doi": self.doi,
            "url": self.url,
            "note": self.note,
        }
        kind = "misc" if self.kind == "software" else self.kind
        lines = [f"  {name} = {{{value}}}" for name, value in fields.items() if value]
        return f"@{kind}{{{self.key},\n" + ",\n".join(lines) + "\n}"

    def ris(self) -> str:
        """One record, for EndNote, Zotero and Mendeley."""
        kind = {"inproceedings": "CONF", "article": "JOUR", "software": "COMP"}.get(
            self.kind, "UNPB"
        )
        first, _, last = self.pages.partition("–")
        fields = [
            ("TY", kind),
            *(("AU", author) for author in self.authors),
            ("TI", self.title),
            ("T2" if kind in ("CONF", "JOUR") else "PB", self.where),
            ("PY", self.year),
            ("VL", self.volume),
            ("SP", first),
            ("EP", last),
            ("DO", self.doi),
            ("UR", self.url or (f"https://arxiv.org/abs/{self.arxiv}" if self.arxiv else "")),
            ("N1", self.note),
        ]
        lines = [f"{tag}  - {value}" for tag, value in fields if value]
        return "\r\n".join([*lines, "ER  - ", ""])

    def _link(self) -> str:
        if self.doi:
            return f"doi:{self.doi}"
        return f"arXiv:{self.arxiv}" if self.arxiv else self.url.removeprefix("https://")


def bibliography(works: Sequence[Citation], form: str) -> str:
    """All of them as one file: "bib" or "ris"."""
    if form == "bib":
        return "\n\n".join(work.bibtex() for work in works) + "\n"
    return "\r\n".join(work.ris() for work in works)
