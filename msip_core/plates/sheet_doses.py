"""Doses of a sample sheet: a number with its unit, however a lab or its spreadsheet wrote it."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from msip_core.bounded import UnreadableError

_NUMBER = r"[-+]?(?:\d+[.,]?\d*|[.,]\d+)(?:e[-+]?\d+)?"
# µM, mg/m2, %; never 000 (of 1 000), :1000 (a dilution), ^-6, x 10-6 M, + 5 µM (two of them).
_UNIT = r"(?:%|[^\W\d_])(?:[^\d()\[\]+]|(?<=[^\W\d_])\d)*"
_DOSE = re.compile(rf"(?P<number>{_NUMBER})\s*(?:[(\[]?(?P<unit>{_UNIT})[)\]]?)?", re.I)
# Dose (µM), Conc. [nM], dose_uM
_HEAD = re.compile(
    r"(?P<name>.+?)[\s_]*(?:[(（\[](?P<unit>[^()（）\[\]]+)[)）\]]|[\s_](?P<bare>[pnuµμm]?M|[pnuµμm]g/ml))",
    re.I,
)
_LOGARITHM = re.compile(r"(?<![a-z])log", re.I)
_NONE = re.compile(r"[-–—/]|n\.?/?a\.?|none", re.I)  # beside a control
_GROUPED = re.compile(r"[-+]?[1-9]\d{0,2}[.,]\d{3}")  # 1,000 and 3.125
# What a spreadsheet makes of 1.5 or 1-5: 01. Mai, 5-Jan.
_MONTH = re.compile(
    r"[-./\s]*(?:jan|feb|m[aä]r|a[pv]r|ma[iy]|ju[ni]|jui?l|aug|ao[uû]|sep|o[kc]t|nov|d[eé][czs])"
    r"[a-zéäû]*[-./\s]*(?:\d{2}|\d{4})?",
    re.I,
)


def head_of(text: str) -> tuple[str, str]:
    """The name of a column and the unit that it tells, "" if none."""
    found = _HEAD.fullmatch(text)
    return (found["name"], (found["unit"] or found["bare"]).strip()) if found else (text, "")


def is_logarithm(head: str) -> bool:
    """Whether a column's name says that its doses are logarithms, which cannot tell dose 0."""
    return bool(_LOGARITHM.search(head))


@dataclass(frozen=True, slots=True)
class DoseColumn:
    """How the doses of one table are written.

    Attributes:
        delimiter: of the table; "" of a workbook.
        unit: of doses beside which their row names none.
        signs: those of . and , that stand before decimals for sure, as in 0,5 or 12.5.
    """

    delimiter: str = ""
    unit: str = ""
    signs: str = ""

    @classmethod
    def of(cls, cells: Iterable[Any], delimiter: str, unit: str) -> DoseColumn:
        """By all cells of the column."""
        found = (_DOSE.fullmatch(cell.strip()) for cell in cells if isinstance(cell, str))
        numbers = [
            dose["number"] for dose in found if dose and not _GROUPED.fullmatch(dose["number"])
        ]
        return cls(delimiter, unit, "".join(s for s in ".," if any(s in n for n in numbers)))

    def read(self, cell: Any, text: str) -> tuple[float | None, str]:
        """Dose and unit of a cell and its text; None where there is none.

        Raises:
            UnreadableError: with what is wrong.
        """
        if not text or _NONE.fullmatch(text):
            return None, ""
        found = _DOSE.fullmatch(text)
        if found is None or (found["unit"] and _MONTH.fullmatch(found["unit"])):
            number = re.match(_NUMBER, text, re.I)
            if number and _MONTH.fullmatch(text, number.end()):
                raise UnreadableError(
                    "the {dated} is a date to the spreadsheet, type it as text", dated="dose"
                )
            raise UnreadableError("the dose '{text}' is no number", text=text[:40])
        digits = found["number"]
        if isinstance(cell, str) and (sign := self._unsure(digits)):
            raise UnreadableError(
                "the dose '{digits}' may be a thousand or have decimals, write it without '{sign}'",
                digits=digits,
                sign=sign,
            )
        dose = float(digits.replace(",", "."))
        if not math.isfinite(dose):
            raise UnreadableError("the dose '{text}' is no number", text=text[:40])
        if dose < 0:
            raise UnreadableError("the dose {dose:g} is below zero", dose=dose)
        return dose, (found["unit"] or "").strip()

    def _unsure(self, digits: str) -> str:
        """The sign in 1,000 or 3.125 that may group thousands.

        "" where it is sure: a point, a comma between semicolons, or one that elsewhere in the
        column stands before decimals, and the other one nowhere.
        """
        if not _GROUPED.fullmatch(digits):
            return ""
        sign, other = (",", ".") if "," in digits else (".", ",")
        usual = sign == "." or self.delimiter == ";"
        sure = (usual or sign in self.signs) and other not in self.signs
        return "" if sure else sign
