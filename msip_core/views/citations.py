"""Works that a run builds on: which ones it used, as a list, as BibTeX and as RIS."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from types import MappingProxyType

from msip_core.config import PruneConfig, TrainConfig


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


WORKS = MappingProxyType(
    {
        work.key: work
        for work in (
            Citation(
                "fang_msip", "unpublished", ("Fang, Yuebing",),
                "YOLOv8 optimisation for crypt classification of intestinal organoids: "
                "multi-strategy importance pruning", "Southeast University", note="In Chinese",
            ),
            Citation(
                "yolov8_ultralytics", "software",
                ("Jocher, Glenn", "Chaurasia, Ayush", "Qiu, Jing"), "Ultralytics YOLOv8",
                "Ultralytics", "2023", url="https://github.com/ultralytics/ultralytics",
                note="AGPL-3.0",
            ),
            Citation(
                "fang2023depgraph", "inproceedings",
                ("Fang, Gongfan", "Ma, Xinyin", "Song, Mingli", "Mi, Michael Bi",
                 "Wang, Xinchao"),
                "DepGraph: Towards Any Structural Pruning",
                "IEEE/CVF Conference on Computer Vision and Pattern Recognition", "2023",
                "16091–16101", arxiv="2301.12900",
                url="https://github.com/VainF/Torch-Pruning",
            ),
            Citation(
                "li2017filters", "inproceedings",
                ("Li, Hao", "Kadav, Asim", "Durdanovic, Igor", "Samet, Hanan",
                 "Graf, Hans Peter"),
                "Pruning Filters for Efficient ConvNets",
                "International Conference on Learning Representations", "2017",
                arxiv="1608.08710",
            ),
            Citation(
                "lee2021lamp", "inproceedings",
                ("Lee, Jaeho", "Park, Sejun", "Mo, Sangwoo", "Ahn, Sungsoo", "Shin, Jinwoo"),
                "Layer-adaptive Sparsity for the Magnitude-based Pruning",
                "International Conference on Learning Representations", "2021",
                arxiv="2010.07611",
            ),
            Citation(
                "liu2017slimming", "inproceedings",
                ("Liu, Zhuang", "Li, Jianguo", "Shen, Zhiqiang", "Huang, Gao", "Yan, Shoumeng",
                 "Zhang, Changshui"),
                "Learning Efficient Convolutional Networks through Network Slimming",
                "IEEE International Conference on Computer Vision", "2017", "2736–2744",
                arxiv="1708.06519",
            ),
            Citation(
                "he2019fpgm", "inproceedings",
                ("He, Yang", "Liu, Ping", "Wang, Ziwei", "Hu, Zhilan", "Yang, Yi"),
                "Filter Pruning via Geometric Median for Deep Convolutional Neural Networks "
                "Acceleration",
                "IEEE/CVF Conference on Computer Vision and Pattern Recognition", "2019",
                "4340–4349", arxiv="1811.00250",
            ),
            Citation(
                "molchanov2019taylor", "inproceedings",
                ("Molchanov, Pavlo", "Mallya, Arun", "Tyree, Stephen", "Frosio, Iuri",
                 "Kautz, Jan"),
                "Importance Estimation for Neural Network Pruning",
                "IEEE/CVF Conference on Computer Vision and Pattern Recognition", "2019",
                "11264–11272", arxiv="1906.10771",
            ),
            Citation(
                "selvaraju2017gradcam", "inproceedings",
                ("Selvaraju, Ramprasaath R.", "Cogswell, Michael", "Das, Abhishek",
                 "Vedantam, Ramakrishna", "Parikh, Devi", "Batra, Dhruv"),
                "Grad-CAM: Visual Explanations from Deep Networks via Gradient-Based "
                "Localization",
                "IEEE International Conference on Computer Vision", "2017", "618–626",
                arxiv="1610.02391", doi="10.1109/ICCV.2017.74",
            ),
            Citation(
                "lundberg2017shap", "inproceedings", ("Lundberg, Scott M.", "Lee, Su-In"),
                "A Unified Approach to Interpreting Model Predictions",
                "Advances in Neural Information Processing Systems", "2017", "4765–4774",
                volume="30", arxiv="1705.07874",
            ),
        )
    }
)  # fmt: skip

_OF_METHOD = MappingProxyType(
    {
        "msip": ("fang_msip",),
        "msip-literal": ("fang_msip",),
        "l1": ("li2017filters",),
        "l2": ("li2017filters",),
        "lamp": ("lee2021lamp",),
        "bnscale": ("liu2017slimming",),
        "fpgm": ("he2019fpgm",),
        "taylor": ("molchanov2019taylor",),
    }
)
_OF_EXPLAINER = MappingProxyType(
    {"gradcam": "selvaraju2017gradcam", "shap": "lundberg2017shap"}
)  # fmt: skip


def works_of(
    config: TrainConfig | PruneConfig, explained: Collection[str] = ()
) -> tuple[Citation, ...]:
    """The works that this run used, in the order in which its methods name them.

    Args:
        explained: of "gradcam" and "shap", those that were computed.
    """
    keys = ["yolov8_ultralytics"]
    if isinstance(config, PruneConfig):
        keys += ["fang2023depgraph", *_OF_METHOD.get(config.method, ())]
    keys += [key for name, key in _OF_EXPLAINER.items() if name in explained]
    return tuple(WORKS[key] for key in keys)


def bibliography(works: Sequence[Citation], form: str) -> str:
    """All of them as one file: "bib" or "ris"."""
    if form == "bib":
        return "\n\n".join(work.bibtex() for work in works) + "\n"
    return "\r\n".join(work.ris() for work in works)
