"""Text of strangers: damaged, endless or growing, it is one error with a reason, soon."""

from __future__ import annotations

import math
import time

import pytest

from msip_core.bounded import (
    MAX_LINES,
    MAX_YAML_VALUES,
    UnreadableError,
    load_json,
    load_xml,
    load_yaml,
    read_csv,
)


def _bomb(levels: int, width: int) -> str:
    """Aliases of aliases: width ** levels values in a few lines."""
    lines = ["x0: &x0 [" + ",".join("v" * width) + "]"]
    for i in range(1, levels):
        lines.append(f"x{i}: &x{i} [" + ",".join([f"*x{i - 1}"] * width) + "]")
    return "\n".join(lines)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("[" * 150_000, "nested too deeply"),
        ('{"a":' * 90_000 + "0" + "}" * 90_000, "nested too deeply"),
        ('{"a": 1', "delimiter"),
        ("", "Expecting value"),
        (b'{"a": "\xff"}', "decode"),
        ('{"a": [{"b": 1, "b": 2}]}', "'b' is there twice"),
    ],
)
def test_json_that_is_no_json_is_one_sentence(text: str | bytes, reason: str) -> None:
    with pytest.raises(UnreadableError, match=reason):
        load_json(text)


def test_numbers_of_json_beyond_any_measure_are_infinite_and_not_an_error() -> None:
    found = load_json('{"id": 123456789012345678901234567890, "x": ' + "7" * 6000 + ', "y": 1e999}')
    assert found["id"] == 123456789012345678901234567890
    assert math.isinf(found["x"])
    assert math.isinf(found["y"])


def test_half_a_character_in_json_becomes_one_that_can_be_written() -> None:
    found = load_json('{"name": "a\\ud83d", "whole": "\\ud83d\\ude00", "n": [1, NaN]}')
    assert found["name"].encode() == b"a?"
    assert found["whole"] == "\U0001f600"
    assert math.isnan(found["n"][1])


def test_json_is_read_in_the_encodings_that_programs_write() -> None:
    for encoding in ("utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-32"):
        assert load_json('{"a": "µ"}'.encode(encoding)) == {"a": "µ"}


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        (_bomb(9, 9) + "\nnames: *x8", "stands for more than"),
        (_bomb(30, 2) + "\nnames: [a]", "stands for more than"),
        ("a: &a [b, *a]", "holds itself"),
        ("a: &a {b: *a}", "holds itself"),
        ("a: " + "[" * 500 + "]" * 500, "nested"),
        ("a: " + "{b: " * 3000 + "1" + "}" * 3000, "nested"),
        ("day: 2023-02-30", "cannot be"),
        ("n: !!int seven", "cannot be"),
        ("n: !!float seven", "cannot be"),
        ("n: !!timestamp noon", "cannot be"),
        ("n: !!bool perhaps", "cannot be"),
        ("n: " + "8" * 5000, "cannot be"),
        ("{[1]: 2}", "unhashable"),
        ("a: [1\nb: 2", "line 2"),
        ("a: 1\n---\nb: 2", "another document"),
        ("a:\n  0: crypt\n  0: cyst", "'0' is there twice"),
        ("a: \0", "cannot be"),
        ("!!python/object/apply:os.getcwd []", "constructor"),
        ("x" * 5_000_000, "larger than"),
    ],
)
def test_yaml_that_is_no_plain_yaml_is_one_sentence_within_a_second(text: str, reason: str) -> None:
    began = time.process_time()
    with pytest.raises(UnreadableError, match=reason) as caught:
        load_yaml(text)
    assert time.process_time() - began < 1.0
    assert len(caught.value.message) < 300


def test_yaml_within_its_bounds_keeps_its_aliases() -> None:
    assert load_yaml("a: &a {lr: 0.1}\nb: *a\nc: {<<: *a, d: 2}") == {
        "a": {"lr": 0.1},
        "b": {"lr": 0.1},
        "c": {"lr": 0.1, "d": 2},
    }
    assert len(load_yaml("[" + "a, " * (MAX_YAML_VALUES // 2) + "]")) == MAX_YAML_VALUES // 2


def test_yaml_as_text_keeps_words_as_they_are_written() -> None:
    text = "names: [no, on, null, 1.0, 007, 2023-02-30, =, 1:30]\nnc: 8\n3: !odd x"
    found = load_yaml(text, as_text=True)
    assert found["names"] == ["no", "on", "null", "1.0", "007", "2023-02-30", "=", "1:30"]
    assert found["nc"] == "8"
    assert found["3"] == "x"


@pytest.mark.parametrize(
    "text",
    [
        '<!DOCTYPE a [<!ENTITY b "bb"><!ENTITY c "&b;&b;">]><a>&c;</a>',
        '<!DOCTYPE a [<!ENTITY b SYSTEM "file:///etc/hostname">]><a>&b;</a>',
        '<!DOCTYPE a [<!ENTITY % b SYSTEM "http://localhost/x"> %b;]><a/>',
        "<a><b></a>",
        "",
        "<a/><a/>",
        '<a b="1" b="2"/>',
    ],
)
def test_xml_with_entities_or_faults_is_one_sentence(text: str) -> None:
    with pytest.raises(UnreadableError):
        load_xml(text)


def test_xml_in_other_encodings_and_of_great_depth_is_read() -> None:
    assert load_xml('\ufeff<?xml version="1.0" encoding="utf-16"?><a>µ</a>').text == "µ"
    assert load_xml("<a>" * 60_000 + "</a>" * 60_000).tag == "a"


def test_csv_gives_filled_rows_with_their_lines() -> None:
    rows = list(read_csv("a;b\r\n\r\n;\r\n1;\0\r\n", ";"))
    assert rows == [(1, ["a", "b"]), (4, ["1", "\ufffd"])]


def test_csv_without_end_stops_early() -> None:
    began = time.process_time()
    with pytest.raises(UnreadableError, match="lines"):
        list(read_csv("\n" * (5 * MAX_LINES), ","))
    assert time.process_time() - began < 5.0


def test_a_quotation_mark_left_open_is_named_and_rows_before_it_are_given() -> None:
    rows = read_csv('p.png,1\n"q.png,2\nr.png,3\n', ",")
    assert next(rows) == (1, ["p.png", "1"])
    with pytest.raises(UnreadableError, match="quotation mark"):
        next(rows)


def test_a_cell_of_any_length_is_one_cell() -> None:
    ((_, row),) = read_csv("p.png," + "x" * 300_000, ",")
    assert len(row[1]) == 300_000
