"""Names of one field, though a word of theirs differs: what was made of it, and its channels."""

from __future__ import annotations

import pytest

from msip_core.data.grouping import find_groups
from msip_core.data.names import read_names
from msip_core.data.wells import place_wells

WELLS = [f"{row}{column}" for row in "AB" for column in (1, 2)]


def named(*patterns: str) -> list[str]:
    return [pattern.format(w=well) for well in WELLS for pattern in patterns]


@pytest.mark.parametrize(
    ("picture", "made"),
    [
        ("{w}.tif", "{w} - Copy.tif"),
        ("{w}.tif", "Copy of {w}.tif"),
        ("{w}.tif", "{w} - 副本.tif"),
        ("{w}.tif", "{w} (Anna's conflicted copy 2024-05-03).tif"),
        ("{w}.tif", "{w}_crop.tif"),
        ("{w}_BF_1.tif", "{w}_BF_1_enhanced.tif"),
        ("{w}.tif", "{w}_8bit.tif"),
        ("{w}.tif", "MAX_{w}.tif"),
        ("{w}_f1_z1.tif", "{w}_f1_MIP.tif"),
        ("{w}_z1.tif", "{w}_EDF.tif"),
        ("raw/{w}.tif", "processed/{w}.tif"),
        ("{w}.tif", "backup/{w}.tif"),
        ("{w}_1.tif", "{w}_stitched.tif"),
        ("TileScan 1_s0_{w}.tif", "TileScan 1_s0_{w}_Merging.tif"),
        ("{w}_4x.tif", "{w}_10x.tif"),
        ("4x/{w}.tif", "20x/{w}.tif"),
        ("{w}_4x.tif", "{w}_10x_2.tif"),
        ("{w}.tif", "{w}_crop_2.tif"),
        ("{w}_z1.tif", "{w}_Maximum intensity projection.tif"),
        ("tiles/{w}_1.tif", "stitched/{w}.tif"),
    ],
)
def test_what_was_made_of_a_picture_is_told_beside_it_and_only_there(
    picture: str, made: str
) -> None:
    both = read_names(named(picture, made))
    alone = read_names(named(made))

    assert [bool(name.version) for name in both] == [False, True] * 4
    assert not any(name.version for name in alone)
    wells = {(w.plate, w.name) for w in place_wells(both, sure=False) if w}
    assert len(wells) == 4


def test_a_phones_edited_picture_and_a_mosaic_without_wells_are_told_beside_theirs() -> None:
    names = read_names(
        ["IMG_0001.jpg", "IMG_E0001.jpg", "gut_s0.tif", "gut_s1.tif", "gut_stitch.tif"]
    )

    assert [bool(name.version) for name in names] == [False, True, False, False, True]


@pytest.mark.parametrize(
    ("one", "other"),
    [("明场", "荧光"), ("Ph", "Fluo"), ("hellfeld", "kanal"), ("raw2x", "stained")],
)
def test_a_word_by_which_alone_images_of_wells_differ_is_a_channel(one: str, other: str) -> None:
    names = read_names(named(f"{{w}}_{one}.tif", f"{{w}}_{other}.tif"))

    assert [name.channel for name in names] == [one, other] * 4
    assert len({name.field for name in names}) == 4


@pytest.mark.parametrize(
    "words",
    [
        ("edge", "mid", "BF"),
        ("left", "right"),
        ("rep1", "rep2"),
        ("posA", "posB"),
        ("a", "b"),
        ("左", "右"),
    ],
)
def test_places_and_numbers_in_a_well_stay_fields(words: tuple[str, ...]) -> None:
    names = read_names(named(*(f"{{w}}_{word}.tif" for word in words)))

    assert len({name.field for name in names}) == 4 * len(words)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("{w}_20240503_1030.tif", "{w}_20240503_1130.tif"),
        ("{w}_2024-05-03_10-30-00.tif", "{w}_2024-05-04_09-30-00.tif"),
        ("{w}_28.04.2024.tif", "{w}_3.5.2024.tif"),
        ("{w}_T24h.tif", "{w}_T48h.tif"),
        ("{w}_1天.tif", "{w}_第3天.tif"),
        ("{w}_frame001.tif", "{w}_frame002.tif"),
    ],
)
def test_dates_and_hours_behind_a_well_are_its_time_points(one: str, other: str) -> None:
    names = read_names(named(one, other))

    assert len({name.field for name in names}) == 4
    assert all(int(a.time or 0) < int(b.time or 0) for a, b in zip(names[::2], names[1::2]))


def test_a_running_number_behind_a_date_is_a_field_and_no_time() -> None:
    names = read_names(named("{w}_20240503_0001.tif", "{w}_20240503_0002.tif"))

    assert len({name.field for name in names}) == 8
    assert {name.time for name in names} == {"20240503"}


@pytest.mark.parametrize(
    ("pattern", "channels"),
    [
        ("exp_{w}_s1_w{c}.tif", ("1DAPI", "2TL")),
        ("exp_w{c}_s1_t1_{w}.tif", ("1BF", "2GFP")),
        ("{w}-F1-C{c}.tif", ("1", "2")),
        ("{w}f01z01c{c}.tif", ("1", "2")),
        ("{w}-1-{c}.tif", ("Ph", "C1")),
        ("Org_{c}_{w}_1_00d00h00m.tif", ("Brightfield", "Brightfield Mask")),
        ("Exp-01_{w}_s01c{c}_ORG.tif", ("1", "2")),
    ],
)
def test_channels_as_microscopes_glue_them_to_fields(
    pattern: str, channels: tuple[str, str]
) -> None:
    sources = [pattern.format(w=well, c=channel) for well in WELLS for channel in channels]

    names = read_names(sources)

    assert len({(name.well, name.field) for name in names}) == 4
    assert len({name.channel for name in names}) == 2


@pytest.mark.parametrize(
    "pattern",
    [
        "sample{n}{v}.png",
        "sample{n}_{m}x.png",
        "{v2}sample{n}.png",
        "s{n}_{side}.png",
        "{side}_sample{n}.png",
    ],
)
def test_pictures_of_one_specimen_that_differ_in_a_word_are_never_split_apart(pattern: str) -> None:
    sources = [
        pattern.format(n=n, v="_crop" * v, m=(4, 10)[v], v2="MAX_" * v, side=("before", "after")[v])
        for n in range(12)
        for v in (0, 1)
    ]

    groups = find_groups(sources).groups

    assert len(set(groups)) == 12
    assert groups[::2] == groups[1::2]


@pytest.mark.parametrize("word", ["Pt0", "pat-", "PDO", "患者"])
def test_short_and_chinese_words_for_a_donor_keep_its_images_together(word: str) -> None:
    sources = [f"{word}{n}_org{i}.png" for n in range(1, 5) for i in range(6)]

    groups = find_groups(sources).groups

    assert len(set(groups)) == 4
    assert all(len(set(groups[6 * n : 6 * n + 6])) == 1 for n in range(4))


def test_a_folder_a_row_and_one_a_column_in_it_are_wells_and_groups_of_images_none() -> None:
    nested = read_names([f"{r}/{c}/f{f}.tif" for r in "AB" for c in (1, 2) for f in (1, 2)])
    groups = read_names([f"{r}/{n}.tif" for r in "AB" for n in range(1, 9)])

    assert [name.well for name in nested[::2]] == ["A01", "A02", "B01", "B02"]
    assert len({(name.well, name.field) for name in nested}) == 8
    assert {name.well for name in groups} == {None}


@pytest.mark.parametrize("later", ["{n}h", "day{n}", "{n}wpi", "2024-05-0{n}"])
def test_hours_and_days_behind_what_a_microscope_writes_are_time_points(later: str) -> None:
    names = read_names([f"A0{c}_s1_{later.format(n=n)}.tif" for c in (1, 2) for n in (1, 5)])

    assert len({name.time for name in names} - {None}) == 2
    assert len({(name.well, name.field) for name in names}) == 2
