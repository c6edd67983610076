"""What a label file says against its own boxes: rejected, not sure, of a class that is none.

Programs keep what a reviewer said as a flag, an attribute, a column or a tag beside the box. What
is rejected is left out by name; what is called unsure or difficult is kept, and said.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple
from xml.etree import ElementTree

from msip_core.messages import msg

_OF_WHAT = r"(?:image|img|picture|label|box|annotation|roi|object|region)?"
_NO = re.compile(
    r"(?:is|was)?(?:reject(?:ed)?|excluded?|ignored?|deleted?(?:at)?|discard(?:ed)?|removed?|invalid"
    r"|bad|wrong|skip(?:ped)?|trash(?:ed)?|outside|falsepositive|fp|groupof|not(?:an?)?(?:organoid"
    rf"|crypt|object)|abgelehnt|verworfen|ausgeschlossen|ung(?:ü|ue)ltig|拒绝|排除|删除){_OF_WHAT}"
)
_YES = re.compile(
    rf"(?:is|was)?(?:accept(?:ed)?|approved?|valid|keep|kept|included?|used?|confirm(?:ed)?){_OF_WHAT}"
)
_UNSURE = re.compile(
    r"(?:is)?(?:unsure|notsure|uncertain|doubt(?:ful)?|difficult|ambiguous|unclear|questionable|maybe"
    rf"|unsicher|fraglich){_OF_WHAT}"
)
_CHECKED = re.compile(rf"(?:is|was)?(?:verified|validated|checked|reviewed){_OF_WHAT}")
# What holds a verdict as its value: status: rejected.
_STATUS = re.compile(
    r"(?:label|annotation|review)?(?:status|state|result|decision)|review|qc|quality|verdict"
    r"|judge?ment|validation|comments?|notes?|remarks?|text|tags?|flags?|description|choices"
    r"|bemerkung|kommentar|状态|备注"
)
_FAILED = frozenset(("fail", "failed"))
_FALSE = frozenset(("", "0", "00", "false", "no", "n", "none", "null", "nan", "na", "nein", "non"))
# Classes by which programs call what is no object. `negative`, `debris` and `other` may be wanted.
_NOTHING = frozenset(
    ("background", "bg", "backgroundarea", "ignore", "ignored", "ignoreregion", "ignoredregions",
     "ignoredregion", "dontcare", "unlabeled", "unlabelled", "void", "hintergrund", "背景")
)  # fmt: skip
# What programs write in the place of a class that nobody has named.
_UNNAMED = frozenset(
    ("none", "null", "nil", "nan", "na", "undefined", "unnamed", "noname", "noclass", "nolabel")
)
# Pictures and labels that people put aside, by their own name or that of a folder.
ASIDE = re.compile(
    r"(?<![^\W_])(?:reject(?:ed|s)?|excluded?|discard(?:ed|s)?|do[-_ ]?n[o']?t[-_ ]?use|unusable"
    r"|trash|verworfen|ausgeschlossen|ausschuss|unbrauchbar|废弃|排除)(?![^\W_])",
    re.I,
)
_DEEPEST = 4


class Verdict(NamedTuple):
    """What a file says of one box or image, in its own words; "" where it says nothing."""

    rejected: str = ""
    unsure: str = ""


def marks_nothing(name: str) -> bool:
    """Whether a class is one of those that programs give to what is no object."""
    return _bare(name) in _NOTHING


def names_no_class(name: str) -> bool:
    """Whether a class is what programs write where nobody has named one."""
    return _bare(name) in _UNNAMED


def verdict(said: Any) -> Verdict:
    """The verdict among flags, attributes, tags and columns: of JSON, of an XML element or of a
    row, as pairs at any depth."""
    unsure = ""
    for key, value in _pairs(said, 0):
        word, answer = _bare(key), _bare(value)
        is_false = answer in _FALSE
        what = f"{key}: {value}"[:60]
        if _NO.fullmatch(word) and not is_false:
            return Verdict(what)
        if _YES.fullmatch(word) and is_false and answer:
            return Verdict(what)
        if _STATUS.fullmatch(word) and (_NO.fullmatch(answer) or answer in _FAILED):
            return Verdict(what)
        if (
            (_UNSURE.fullmatch(word) and not is_false)
            or (_CHECKED.fullmatch(word) and is_false and answer)
            or (_STATUS.fullmatch(word) and _UNSURE.fullmatch(answer))
        ):
            unsure = unsure or what
    return Verdict("", unsure)


def check_taken(said: Any) -> bool:
    """Whether the file calls a box unsure.

    Raises:
        ValueError: it says that the box is rejected.
    """
    found = verdict(said)
    if found.rejected:
        raise ValueError(msg("its file rejects it ({said})", said=found.rejected))
    return bool(found.unsure)


def unsure_kept(number: int) -> list[str]:
    """A note of the boxes of an image that are called unsure."""
    if not number:
        return []
    return [
        msg(
            "boxes that their own file calls unsure, difficult or not yet checked, and kept: {n}",
            n=number,
        )
    ]


def is_verdict(key: str) -> bool:
    """Whether a column or attribute is called so that it can hold a verdict."""
    word = _bare(key)
    return any(p.fullmatch(word) for p in (_NO, _YES, _UNSURE, _CHECKED, _STATUS))


def _bare(value: Any) -> str:
    """Letters and digits, without case; "1.0" is "1", as tables of programs write whole numbers."""
    text = re.sub(r"\.0+$", "", str(value).strip().lower())
    return "".join(filter(str.isalnum, text))


def _pairs(said: Any, depth: int) -> Iterator[tuple[str, Any]]:
    if depth > _DEEPEST:
        return
    if isinstance(said, ElementTree.Element):
        yield from _of_element(said)
    elif isinstance(said, Mapping):
        if isinstance(name := said.get("name"), str) and "value" in said:
            # A tag that has no value (Supervisely) is set by being there.
            yield name, True if said["value"] is None else said["value"]
        for key, value in said.items():
            yield from _of_value(str(key), value, depth)


def _of_value(key: str, value: Any, depth: int) -> Iterator[tuple[str, Any]]:
    if isinstance(value, Mapping):
        yield from _pairs(value, depth + 1)
    elif not isinstance(value, list):
        if value is not None:  # nobody has said
            yield key, value
    elif value and isinstance(value[0], str | dict):  # not the points of an outline
        for one in value:
            yield from [(key, one)] if isinstance(one, str) else _pairs(one, depth + 1)


def _of_element(said: ElementTree.Element) -> Iterator[tuple[str, Any]]:
    """Attributes, children with a text only, and the <attribute>s of CVAT and of VOC."""
    yield from said.attrib.items()
    for child in said:
        if child.tag != "attribute" and not len(child):
            yield child.tag, child.text or ""
    for one in said.iter("attribute"):
        yield one.get("name") or one.findtext("name") or "", one.findtext("value") or one.text or ""
