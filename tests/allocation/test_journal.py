"""The journal: a kill costs at most the entry that was being written."""

from __future__ import annotations

from msip_core.allocation.searched import Journal


def test_entries_come_back_in_order(tmp_path):
    journal = Journal(tmp_path / "new" / "trials.jsonl")
    assert list(journal.entries()) == []

    for n in range(3):
        journal.append({"n": n})

    assert [e["n"] for e in Journal(journal.path).entries()] == [0, 1, 2]


def test_a_line_that_was_cut_off_is_left_out_and_written_over(tmp_path):
    journal = Journal(tmp_path / "trials.jsonl")
    journal.append({"n": 0})
    journal.append({"n": 1})
    journal.path.write_bytes(journal.path.read_bytes()[:-5])
    assert [e["n"] for e in journal.entries()] == [0]

    journal.append({"n": 2})

    assert [e["n"] for e in journal.entries()] == [0, 2]
    assert journal.path.read_bytes().count(b"\n") == 2


def test_a_file_that_is_nothing_but_half_a_line_begins_anew(tmp_path):
    journal = Journal(tmp_path / "trials.jsonl")
    journal.path.write_bytes(b'{"n": 0')

    journal.append({"n": 1})

    assert [e["n"] for e in journal.entries()] == [1]
