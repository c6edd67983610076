"""In which order images are gone through. It is settled once and stays while a person works, since
each correction would change it under their hands."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import streamlit as st

from msip_core.data.dataset import Dataset, ImageRecord
from msip_core.data.worth_looking import WEIGHTS, Doubt, Reason, doubt_of, in_order
from msip_core.language import mark, t, tn
from msip_core.markdown import joined, md
from pages.correct.suggestions import Found
from pages.kit.choose import asked, choose, not_in_this_lab, remember

ORDERS: Mapping[str, str] = {
    "doubt": mark("Most worth a look first"),
    "disagree": mark("Where the models disagree"),
    "differ": mark("Where labels and model differ"),
    "unsure": mark("Where scores are near the threshold"),
    "crowded": mark("Where objects overlap"),
    "file": mark("As the images come"),
}
_AT = "correct:at"  # the image that this page showed last
_PARTS = {
    "all": mark("All images"),
    "train": mark("To learn from"),
    "val": mark("To check progress"),
    "test": mark("For the final test"),
}


@dataclass(frozen=True, slots=True)
class Queue:
    """Images in their order, and where a person is.

    Attributes:
        doubts: image id -> what is worth a look there, when the order was settled.
    """

    order: tuple[str, ...]
    doubts: Mapping[str, Doubt]
    at: int

    @property
    def image(self) -> str:
        return self.order[self.at]

    def beside(self, steps: int) -> str:
        """The image so many further, at most the last or first one."""
        return self.order[min(max(0, self.at + steps), len(self.order) - 1)]


def choose_part(data: Dataset) -> tuple[ImageRecord, ...]:
    """The images that are gone through, unlabelled ones too."""
    _show_what_a_link_names(data)
    there = [part for part in _PARTS if part == "all" or any(r.split == part for r in data.images)]
    part = choose(
        t("Part of the images"), there, "among", words=lambda p: t(_PARTS[p]), place="correct"
    )
    return tuple(r for r in data.images if part in ("all", r.split))


def _show_what_a_link_names(data: Dataset) -> None:
    """A link to an image outside the part that was gone through last shows all images.

    Raises:
        NotFoundError: no image has that id; another one would be taken for it.
    """
    wanted, part = st.query_params.get("image"), asked("among")
    if wanted is None or wanted == st.session_state.get(_AT):
        return
    named = next((record for record in data.images if record.id == wanted), None)
    if named is None:
        remember("image", None)
        raise not_in_this_lab(t("Micrograph"), wanted)
    if part is not None and named.split != part:
        remember("among", "all")


def choose_order() -> str:
    return choose(t("Order"), list(ORDERS), "order", words=lambda o: t(ORDERS[o]))


def settled_queue(
    data: Dataset,
    records: Sequence[ImageRecord],
    order: str,
    found: tuple[Found | None, Found | None],
    threshold: float,
) -> Queue:
    """The order as it was settled first in this session, with the image of the address."""
    known = [f is not None for f in found]
    part = (len(records), records[0].id)
    about = (data.name, data.created, order, threshold, part, known)
    kept = st.session_state.get("correct:queue")
    wanted = st.query_params.get("image")
    if kept is None or kept[0] != about:
        # Another order begins with its first image; one that only knows more stays where it is,
        # and so does an image that a link names.
        followed = wanted == st.session_state.get(_AT)
        if kept is not None and kept[0][:-1] != about[:-1] and followed:
            wanted = None
        kept = (about, _sorted(data, records, order, found, threshold))
        st.session_state["correct:queue"] = kept
    doubts = {doubt.image: doubt for doubt in kept[1]}
    ids = tuple(doubts)
    at = ids.index(wanted) if wanted in ids else 0
    st.session_state[_AT] = ids[at]
    remember("image", ids[at])
    return Queue(ids, doubts, at)


def sort_again() -> None:
    """Settle the order anew, by the labels of now."""
    st.session_state.pop("correct:queue", None)
    remember("image", None)


def _sorted(
    data: Dataset,
    records: Sequence[ImageRecord],
    order: str,
    found: tuple[Found | None, Found | None],
    threshold: float,
) -> list[Doubt]:
    first, second = found
    doubts = [
        doubt_of(
            record.id,
            data.boxes(record),
            first.boxes.get(record.id, ()) if first else None,
            second.boxes.get(record.id, ()) if second else None,
            threshold=threshold,
        )
        for record in records
    ]
    if order == "file":
        return doubts
    reason: Reason | None = None if order == "doubt" else order  # type: ignore[assignment]
    return in_order(doubts, reason)


def reasons(queue: Queue) -> None:
    """Why the image that is shown is worth a look, in numbers."""
    doubt = queue.doubts[queue.image]
    words = {
        "disagree": tn(
            "{n} object that the models see differently",
            "{n} objects that the models see differently",
            doubt.disagree,
        ),
        "differ": tn(
            "{n} object that differs between labels and model",
            "{n} objects that differ between labels and model",
            doubt.differ,
        ),
        "unsure": tn("{n} score near the threshold", "{n} scores near the threshold", doubt.unsure),
        "crowded": tn(
            "{n} object that overlaps another", "{n} objects that overlap others", doubt.crowded
        ),
    }
    said = [words[reason] for reason in WEIGHTS if doubt.of(reason)]
    st.caption(md(joined("; ", said) if said else t("Nothing stands out on this image.")))
