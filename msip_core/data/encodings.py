"""In which encoding old programs wrote a text: names in zips, tables of Excel, lists of classes.

UTF-8 is recognised by its form. Of the others none is: nearly every sequence of bytes is valid in
several, so that one is taken in which what is known anyway occurs (the names in a label file), else
the one that gives the most characters in daily use.
"""

from __future__ import annotations

import json
import re
import unicodedata
import zipfile
from collections.abc import Callable, Iterable, Sequence
from pathlib import PurePosixPath

from msip_core.messages import msg

# Python's name -> the name that people know. Of equally good ones the first is taken.
_EAST = {"gb18030": "GBK", "big5": "Big5", "cp932": "Shift-JIS", "cp949": "EUC-KR"}
_OLD_PC = {"cp437": "CP437", "cp850": "CP850"}
_WINDOWS = {"cp1252": "Windows-1252"}
# Taken where names in a label file agree, or where nothing but letters comes out.
_OTHERS = {
    "cp866": "CP866", "cp1251": "Windows-1251", "koi8_r": "KOI8-R", "cp852": "CP852",
    "cp1250": "Windows-1250", "cp737": "CP737", "cp1253": "Windows-1253", "cp857": "CP857",
    "cp1254": "Windows-1254", "cp862": "CP862", "cp1255": "Windows-1255",
    "cp1256": "Windows-1256", "cp874": "Windows-874", "cp1258": "Windows-1258",
}  # fmt: skip
LABELS = _EAST | _OLD_PC | _WINDOWS | _OTHERS
_UTF8_NAMES = 0x800  # flag of a zip entry
_LOOKED_AT = 8 * 1024**2  # bytes of label files in which names are looked for
# High bytes of Windows-1252 that stand alone: µM, °C, Änderung. Of two bytes, Chinese would have
# some second ones that are high as well; Shift-JIS begins below 0xA0.
_LETTER_ALONE = re.compile(rb"(?<![\x80-\xff])[\xa0-\xff](?![\x80-\xff])")
TEXTS = (".json", ".xml", ".csv", ".tsv", ".txt", ".yaml", ".yml", ".geojson")


def decode_text(data: bytes) -> str:
    """A text of any program: UTF-8, UTF-16 (with mark or without), else the likeliest encoding."""
    if data[:2] in (b"\xff\xfe", b"\xfe\xff"):
        return data.decode("utf-16", errors="replace")
    start = data[:4096]
    if start.count(0) * 3 > len(start) > 1:  # ASCII in UTF-16: every other byte is zero
        low = start[1::2].count(0) >= start[::2].count(0)
        return data.decode("utf-16-le" if low else "utf-16-be", errors="replace")
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError:
        raws = [line for line in data[:_LOOKED_AT].splitlines() if not line.isascii()][:2000]
        western = _stands_alone(raws)
        encoding = likeliest(raws, _WINDOWS if western else (*_EAST, *_WINDOWS)) or "latin-1"
        return data.decode(encoding, errors="replace")


def _stands_alone(raws: Sequence[bytes]) -> bool:
    """Whether every letter beyond ASCII is one byte and, in Windows-1252, in daily use."""
    left = b"".join(_LETTER_ALONE.sub(b"", raw) for raw in raws)
    alone = "".join(_decoded(raws, "cp1252") or "") if left.isascii() else ""
    return bool(alone) and _share_common(alone, "cp1252") == 1


def likeliest(
    raws: Sequence[bytes], encodings: Iterable[str], known: Sequence[str] = ()
) -> str | None:
    """The encoding of some texts, None if they are valid in none of `encodings`.

    Args:
        known: texts in which names among `raws` may occur.
    """
    texts = {e: found for e in encodings if (found := _decoded(raws, e)) is not None}
    if not texts:
        return None
    blob = "\n".join(unicodedata.normalize("NFC", text) for text in known)
    matches = {e: _occurring(found, blob) if blob else 0 for e, found in texts.items()}
    common = {e: _share_common("".join(found), e) for e, found in texts.items()}
    return max(texts, key=lambda e: (matches[e], round(common[e], 2)))  # the first of equals


def decode_zip_names(
    infos: Sequence[zipfile.ZipInfo], read: Callable[[zipfile.ZipInfo], bytes | None]
) -> tuple[dict[str, str], str | None]:
    """Names of entries that do not say that they are UTF-8, and a note on how they were read.

    Args:
        read: content of an entry, None if it cannot be read.

    Returns:
        Python's name -> name, of those that differ; and one sentence, or None.
    """
    odd = {
        info.filename: info.filename.encode("cp437")
        for info in infos
        if not info.flag_bits & _UTF8_NAMES and not info.filename.isascii() and _is_cp437(info)
    }
    if not odd:
        return {}, None
    raws = list(odd.values())
    if _decoded(raws, "utf-8") is not None:
        return {name: raw.decode("utf-8") for name, raw in odd.items()}, None
    known = list(_label_texts(infos, read))
    encoding = likeliest(raws, LABELS, known)
    if encoding is None:
        return {}, msg("Names in the zip are in no known encoding and were read letter by letter.")
    names = {name: raw.decode(encoding) for name, raw in odd.items()}
    example = next(iter(names.values()))
    note = msg(
        "Names in the zip do not say how they are written and were read as {labels} "
        "(such as '{example}').",
        labels=LABELS[encoding],
        example=example,
    )
    return {name: new for name, new in names.items() if name != new}, note


def _is_cp437(info: zipfile.ZipInfo) -> bool:
    """Whether Python read the name as CP437; it takes names of the Unicode field as they are."""
    try:
        info.filename.encode("cp437")
    except UnicodeEncodeError:
        return False
    return True


def _label_texts(
    infos: Sequence[zipfile.ZipInfo], read: Callable[[zipfile.ZipInfo], bytes | None]
) -> Iterable[str]:
    left = _LOOKED_AT
    for info in sorted(infos, key=lambda info: info.file_size):
        if not info.filename.lower().endswith(TEXTS) or not 0 < info.file_size <= left:
            continue
        data = read(info)
        if data is not None:
            left -= len(data)
            yield data.decode("utf-8", errors="ignore")


def _decoded(raws: Sequence[bytes], encoding: str) -> list[str] | None:
    try:
        return [raw.decode(encoding) for raw in raws]
    except UnicodeDecodeError:
        return None


def _occurring(texts: Sequence[str], blob: str) -> int:
    """How many of some paths have a name that occurs in `blob`, plainly or as JSON writes it."""
    escaped = "\\u" in blob
    lowered = blob.lower() if escaped else ""
    count = 0
    for text in texts:
        stem = unicodedata.normalize("NFC", PurePosixPath(text.replace("\\", "/")).stem)
        count += not stem.isascii() and (
            stem in blob or (escaped and json.dumps(stem)[1:-1].lower() in lowered)
        )
    return count


def _share_common(text: str, encoding: str) -> float:
    """Share of the characters beyond ASCII that are in daily use where `encoding` is."""
    letters = [c for c in text if not c.isascii()]
    return sum(_is_common(c, encoding) for c in letters) / len(letters) if letters else 0.0


def _is_common(letter: str, encoding: str) -> bool:
    if encoding in _OTHERS:
        return letter.isalpha()
    if encoding not in _EAST:
        return unicodedata.name(letter, "").startswith("LATIN ") or letter in "µ°²³±"
    base = {"gb18030": "gb2312", "cp932": "shift_jis", "cp949": "euc_kr"}.get(encoding, encoding)
    try:
        raw = letter.encode(base)
    except UnicodeEncodeError:
        return False
    if encoding == "cp932" and "\u3040" <= letter <= "\u30ff":
        return True
    # Leading bytes of the characters that each standard sorts as its first level.
    low, high = {
        "gb18030": (0xB0, 0xD7),
        "big5": (0xA4, 0xC6),
        "cp932": (0x88, 0x97),
        "cp949": (0xB0, 0xC8),
    }[encoding]
    return len(raw) == 2 and low <= raw[0] <= high
