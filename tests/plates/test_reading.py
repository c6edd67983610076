"""Pictures are read ahead, but never many; a file that ends its reader is named."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path

import numpy as np
import pytest

from msip_core import confined
from msip_core.data.pictures import Wish
from msip_core.errors import Stopped
from msip_core.plates import pictures, reading
from msip_core.plates.pictures import Source
from msip_core.plates.plan import Item
from msip_core.plates.reading import reading_ahead
from tests.plates.conftest import SIDE, picture, write


def items(folder: Path, count: int) -> tuple[Source, list[tuple[int, Item]]]:
    for number in range(count):
        write(folder / f"{number:02d}.png", np.full((SIDE, SIDE), number, np.uint8))
    named = [Item(name=f"{n:02d}.png", file=f"{n:02d}.png") for n in range(count)]
    return Source(folder, False, Wish(), (None,)), list(enumerate(named))


def nothing() -> None: ...


def test_pictures_come_in_order_and_are_those_of_their_files(tmp_path: Path) -> None:
    source, todo = items(tmp_path / "in", 30)
    with reading_ahead(source, todo, tmp_path / "ahead", nothing) as ahead:
        for number, _ in todo:
            read, (field,) = ahead.take(number)
            assert (read.width, read.height, read.spread) == (SIDE, SIDE, 0)
            assert (field.pixels == number).all()
            ahead.done(number)
    assert not (tmp_path / "ahead").exists()


def test_however_many_there_are_only_a_few_wait_to_be_seen(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reading, "_MOST_AHEAD", 3)
    monkeypatch.setattr(reading, "usable_cores", lambda: 2)
    source, todo = items(tmp_path / "in", 64)
    most = 0
    with reading_ahead(source, todo, tmp_path / "ahead", nothing) as ahead:
        for number, _ in todo:
            ahead.take(number)
            if number % 16 == 0:
                time.sleep(0.15)  # a slow detector: readers fill what room they have
            most = max(most, len(list((tmp_path / "ahead").glob("*.raw"))))
            ahead.done(number)
    assert 2 < most <= 2 * 3


def test_bytes_bound_it_too_and_one_picture_always_comes_through(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reading, "_MOST_BYTES", 1)
    source, todo = items(tmp_path / "in", 12)
    with reading_ahead(source, todo, tmp_path / "ahead", nothing) as ahead:
        for number, _ in todo:
            assert ahead.take(number)[0].problem is None
            ahead.done(number)


def test_more_than_there_is_room_for_is_taken_in_several_looks(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reading, "_MOST_BYTES", 2 * picture().nbytes)
    monkeypatch.setattr(reading, "_MOST_AHEAD", 1)
    source, todo = items(tmp_path / "in", 5)
    looks = []
    with reading_ahead(source, todo, tmp_path / "ahead", nothing, at_once=5) as ahead:
        for taken in ahead.take_together(todo):
            looks.append([number for (number, _), _ in taken])
            for number in looks[-1]:
                ahead.done(number)
    assert looks == [[0, 1], [2, 3], [4]]


def test_rows_of_a_field_are_read_without_the_rest(tmp_path: Path) -> None:
    write(tmp_path / "in" / "a.png", picture(5))
    source = Source(tmp_path / "in", False, Wish(), (None,))

    todo = [(0, Item(name="a.png", file="a.png"))]
    with reading_ahead(source, todo, tmp_path / "ahead", nothing) as ahead:
        _, (field,) = ahead.take(0)
        assert np.array_equal(field.rows(10, 20), picture(5)[10:20])
        assert np.array_equal(field.pixels, picture(5))


@pytest.mark.skipif(not hasattr(os, "fork"), reason="files are confined where there is a fork")
def test_a_file_that_kills_its_reader_is_named_and_the_others_are_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source, todo = items(tmp_path / "in", 20)
    real = pictures.open_large

    def deadly(path: Path, *rest: object, **more: object) -> object:
        if path.name == "07.png":
            os.kill(os.getpid(), signal.SIGSEGV)
        return real(path, *rest, **more)  # type: ignore[arg-type]

    monkeypatch.setattr(pictures, "open_large", deadly)
    problems = {}
    with reading_ahead(source, todo, tmp_path / "ahead", nothing) as ahead:
        for number, _ in todo:
            read, fields = ahead.take(number)
            assert len(fields) == (read.problem is None)
            problems[number] = read.problem
            ahead.done(number)
    assert [number for number, what in problems.items() if what] == [7]
    assert "ended its reader" in str(problems[7])


def test_whoever_stops_waits_for_no_reader(tmp_path: Path) -> None:
    source, todo = items(tmp_path / "in", 200)
    start = time.monotonic()

    def stop() -> None:
        raise Stopped("cancel")

    with pytest.raises(Stopped), reading_ahead(source, todo, tmp_path / "a", stop) as ahead:
        ahead.take(199)
    assert time.monotonic() - start < 20


def test_two_recipes_give_two_pictures(tmp_path: Path) -> None:
    from msip_core.config import ImageRecipe

    write(tmp_path / "in" / "a.png", picture(5))
    stretched = ImageRecipe(normalise=True)
    source = Source(tmp_path / "in", False, Wish(), (None, stretched))

    todo = [(0, Item(name="a.png", file="a.png"))]
    with reading_ahead(source, todo, tmp_path / "ahead", nothing) as ahead:
        _, (plain, wide) = ahead.take(0)
        assert np.array_equal(plain.pixels, picture(5))
        assert np.ptp(wide.pixels) > np.ptp(plain.pixels)


def _made(folder: Path) -> Path:
    place = folder / "one"
    place.mkdir()
    return place


def test_confined_is_what_reads(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    called: list[bool] = []
    real = confined.run
    monkeypatch.setattr(confined, "run", lambda *a: (called.append(True), real(*a))[1])
    source, todo = items(tmp_path / "in", 2)

    with reading_ahead(source, todo, tmp_path / "ahead", nothing) as ahead:
        ahead.take(1)

    assert called
