"""JSON, YAML, XML and CSV that strangers wrote, read within bounds.

Every reader of such text calls these instead of the libraries: a text that is damaged, nested
without end, or made to grow when it is read, is one `UnreadableError` with the reason in words,
whatever the library below would have raised.
"""

from __future__ import annotations

import codecs
import csv
import io
import json
import re
import stat
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import yaml

from msip_core.errors import InputError, first_line
from msip_core.messages import mark, message_of, msg

# Text of labels and plans. A million boxes of COCO are about 150 MB.
MAX_CHARACTERS = 160 * 1024**2
MAX_SETTINGS_BYTES = 4 * 1024**2
MAX_WORD = 4096
# Parsed by Python objects of about 100 bytes each.
MAX_YAML_CHARACTERS = 4 * 1024**2
MAX_YAML_VALUES = 200_000
MAX_DEPTH = 200
MAX_LINES = 2_000_000
# A cell of any length is one cell; the text as a whole is bounded. (The library's limit is 128 kB.)
csv.field_size_limit(MAX_CHARACTERS)
_TWICE = mark("'{name}' is there twice: keep the one that is meant")
# Ids of databases have up to 39 digits (UUIDs as numbers); no measured number has more.
_MAX_DIGITS = 40


class UnreadableError(InputError):
    """A text is not what its format asks for, or larger than it may be; the reason in words."""


def read_text_file(path: Path) -> str:
    """The text of a file that a person named: UTF-8 with or without mark, or UTF-16 with mark.

    Raises:
        UnreadableError: not there, a folder or a device, too large, or not text.
    """
    try:
        path = path.expanduser()
        kind = path.stat().st_mode
        if stat.S_ISDIR(kind):
            raise UnreadableError("it is a folder: name a file")
        if not stat.S_ISREG(kind):
            raise UnreadableError("it is a device or a pipe, not a file")
        with path.open("rb") as file:
            data = file.read(MAX_SETTINGS_BYTES + 1)
    except OSError as error:
        raise UnreadableError(error.strerror or message_of(error)) from error
    except (ValueError, RuntimeError) as error:  # a name that no file can have; no such home
        raise UnreadableError(first_line(error)) from error
    if len(data) > MAX_SETTINGS_BYTES:
        raise UnreadableError("it is larger than {most:g} MB", most=MAX_SETTINGS_BYTES / 1024**2)
    encoding = "utf-16" if data[:2] in (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE) else "utf-8-sig"
    try:
        return data.decode(encoding)
    except UnicodeDecodeError as error:
        raise UnreadableError(
            "it is not text in UTF-8 (byte {start})", start=error.start
        ) from error


def at_home(path: Path | str) -> Path:
    """A path that a person gave, with `~` as the folder that it stands for.

    Raises:
        InputError: of a user whom this computer does not know.
    """
    try:
        return Path(path).expanduser()
    except RuntimeError as error:
        raise InputError(
            "'{path}' begins with the folder of a user whom this computer does not know.", path=path
        ) from error


def real_place(path: Path | str) -> Path:
    """The same from the root on, links followed.

    Raises:
        InputError: as above; a link leads back to itself, or no path can be called so.
    """
    try:
        return at_home(path).resolve()
    except (RuntimeError, ValueError) as error:
        raise InputError(
            "'{path}' leads nowhere ({error}): give another path.", path=path, error=error
        ) from error


def plain_text(text: str) -> str:
    """`text`, unless it holds what no name, table or database can: NUL or half a character.

    Raises:
        ValueError: with the reason.
    """
    if any(c == "\0" or "\ud800" <= c <= "\udfff" for c in text):
        raise ValueError(msg("it holds characters that are no text (NUL, or half a character)"))
    if len(text) > MAX_WORD:
        raise ValueError(msg("it is longer than {most} characters", most=MAX_WORD))
    return text


def load_json(text: str | bytes) -> Any:
    """The value of a JSON text.

    Whole numbers of more than 40 digits are read as floats (infinite ones beyond 1e308), so that
    whoever checks numbers for being finite finds them.

    Raises:
        UnreadableError: damaged, too large, or nested too deeply.
    """
    _check_size(text, MAX_CHARACTERS)
    try:
        if isinstance(text, bytes):
            text = text.decode(json.detect_encoding(text))
        value = json.loads(
            text.removeprefix("\ufeff"), parse_int=_whole_number, object_pairs_hook=_once
        )
        return _without_halves(value) if _HALF.search(text) else value
    except RecursionError as error:
        raise UnreadableError("it is nested too deeply") from error
    except ValueError as error:  # what JSON and its encoding raise
        raise UnreadableError(first_line(error)) from error


def load_yaml(text: str, *, as_text: bool = False) -> Any:
    """The value of one YAML document.

    The document is looked at before values are made of it: aliases are counted as often as they
    are used, so that a few lines that stand for billions of values are refused.

    Args:
        as_text: keep scalars as they are written (`no` is "no", `1` is "1"); else YAML's types.

    Raises:
        UnreadableError: damaged, too large, nested too deeply, or holding itself.
    """
    _check_size(text, MAX_YAML_CHARACTERS)
    kind = yaml.CSafeLoader if yaml.__with_libyaml__ else yaml.SafeLoader
    try:
        loader = kind(text)
        try:
            node = loader.get_single_node()
            _check_nodes(node)
            if node is None:
                return None
            return _written(node) if as_text else loader.construct_document(node)
        finally:
            loader.dispose()
    except UnreadableError:
        raise
    except RecursionError as error:
        raise UnreadableError("it is nested too deeply") from error
    # Beside its own errors the loader raises what dates, numbers and keys of odd values raise.
    except (yaml.YAMLError, ValueError, TypeError, ArithmeticError, LookupError,
            AttributeError) as error:  # fmt: skip
        raise UnreadableError(_yaml_reason(error)) from error


def load_xml(text: str) -> ElementTree.Element:
    """The root element of an XML text.

    Raises:
        UnreadableError: damaged, too large, or declaring entities (they can grow without bound,
            and label files never need them).
    """
    _check_size(text, MAX_CHARACTERS)
    if "<!ENTITY" in text:
        raise UnreadableError("it declares XML entities, which label files never need")
    try:
        return ElementTree.fromstring(_without_encoding(text))
    except (ElementTree.ParseError, ValueError) as error:
        raise UnreadableError(first_line(error)) from error


def read_csv(text: str, delimiter: str) -> Iterator[tuple[int, list[str]]]:
    """Rows that hold anything, with the number of their line; one at a time.

    Raises:
        UnreadableError: damaged, larger than a table of labels is, or with cells of several lines
            (no table of boxes has any: a quotation mark was left open). Rows before the fault
            have been given by then.
    """
    _check_size(text, MAX_CHARACTERS)
    reader = csv.reader(_lines(text), delimiter=delimiter, skipinitialspace=True)
    try:
        for row in reader:
            if not any(cell and not cell.isspace() for cell in row):
                continue
            if any("\n" in cell for cell in row):
                raise UnreadableError(
                    "a cell that ends in line {line_num} has several lines: a quotation "
                    "mark is not closed",
                    line_num=reader.line_num,
                )
            yield reader.line_num, row
    except csv.Error as error:
        raise UnreadableError(
            "line {line_num}: {error}", line_num=reader.line_num, error=first_line(error)
        ) from error


# --- JSON ---------------------------------------------------------------------


# Half a character as JSON may spell it: no file, table or database takes the string.
_HALF = re.compile(r"\\u[dD][89a-fA-F]|[\ud800-\udfff]")


def _without_halves(value: Any) -> Any:
    return json.loads(json.dumps(value, ensure_ascii=False).encode("utf-8", "replace"))


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        names = [name for name, _ in pairs]
        raise UnreadableError(_TWICE, name=next(n for n in names if names.count(n) > 1)[:60])
    return found


def _whole_number(digits: str) -> int | float:
    return int(digits) if len(digits) <= _MAX_DIGITS else float(digits)


# --- YAML ---------------------------------------------------------------------


def _check_nodes(root: yaml.Node | None) -> None:
    """Count values as often as aliases repeat them, without following one twice."""
    sizes: dict[int, int] = {}
    open_nodes: set[int] = set()
    stack: list[tuple[yaml.Node, bool]] = [(root, False)] if root is not None else []
    while stack:
        node, is_done = stack.pop()
        key = id(node)
        if is_done:
            open_nodes.discard(key)
            sizes[key] = 1 + sum(sizes[id(child)] for child in _children(node))
            if sizes[key] > MAX_YAML_VALUES:
                raise UnreadableError(
                    "it stands for more than {most:,} values", most=MAX_YAML_VALUES
                )
        elif key in open_nodes:
            raise UnreadableError("an alias in it holds itself")
        elif key not in sizes:
            open_nodes.add(key)
            if len(open_nodes) > MAX_DEPTH:
                raise UnreadableError("it is nested more than {most} levels deep", most=MAX_DEPTH)
            _check_keys(node)
            stack.append((node, True))
            stack += [(child, False) for child in _children(node)]


def _check_keys(node: yaml.Node) -> None:
    """Of a key that is there twice, YAML's own loader would take the last without a word."""
    pairs = node.value if isinstance(node, yaml.MappingNode) else []
    keys = Counter(key.value for key, _ in pairs if isinstance(key, yaml.ScalarNode))
    if twice := [key for key, n in keys.items() if n > 1 and key != "<<"]:
        raise UnreadableError(_TWICE, name=twice[0][:60])


def _children(node: yaml.Node) -> list[yaml.Node]:
    if isinstance(node, yaml.MappingNode):
        return [part for pair in node.value for part in pair]
    return list(node.value) if isinstance(node, yaml.SequenceNode) else []


def _written(node: yaml.Node) -> Any:
    """Values as they are written; the depth was checked."""
    if isinstance(node, yaml.MappingNode):
        return {str(_written(key)): _written(value) for key, value in node.value}
    if isinstance(node, yaml.SequenceNode):
        return [_written(child) for child in node.value]
    return str(node.value)


def _yaml_reason(error: Exception) -> str:
    mark = getattr(error, "problem_mark", None)
    problem = getattr(error, "problem", None)
    if problem:
        return (
            msg("line {line}: {problem}", line=mark.line + 1, problem=problem)
            if mark is not None
            else str(problem)
        )
    return msg("a value in it cannot be: {error}", error=first_line(error))


# --- all ----------------------------------------------------------------------


def _check_size(text: str | bytes, most: int) -> None:
    if len(text) > most:
        raise UnreadableError("it is larger than {most} MB", most=most // 1024**2)


def _lines(text: str) -> Iterator[str]:
    """Lines with their ends, one at a time: a copy as a list would be tenfold the text.

    A NUL would end Python's reader of CSV with an error for the whole file.
    """
    for number, line in enumerate(io.StringIO(text, newline=None)):
        if number >= MAX_LINES:
            raise UnreadableError("it has more than {most:,} lines", most=MAX_LINES)
        yield line.replace("\0", "\ufffd")


def _without_encoding(text: str) -> str:
    """XML without the declaration of its encoding, which no longer holds for decoded text."""
    text = text.removeprefix("\ufeff").lstrip()
    if text.startswith("<?xml"):
        _, end, rest = text.partition("?>")
        return rest if end else text
    return text
