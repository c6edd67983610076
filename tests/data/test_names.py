"""What microscopes write into names: wells, plates, planes; and what only looks like a well."""

from __future__ import annotations

import pytest

from msip_core.config import SplitConfig
from msip_core.data.fields import fields_of, numeric
from msip_core.data.grouping import find_groups
from msip_core.data.names import read_names
from msip_core.data.splitting import SplitItem, plan_split
from msip_core.data.wells import place_wells, wells_taken

# A name of well C05, field and plane, and what it tells: scheme, well, z, time, channel.
KNOWN = [
    ("r03c05f02p04-ch1sk2fk1fl1.tiff", "Operetta or Opera Phenix", "C05", "4", "2", "1"),
    ("r03c05f02-ch2.png", "Operetta or Opera Phenix", "C05", None, None, "2"),
    ("003005-2-004002001.tif", "Operetta", "C05", "4", "2", "1"),
    ("C - 05(fld 2 wv Green - dsRed z 4).tif", "IN Cell", "C05", "4", None, "Green - dsRed"),
    ("C - 5(fld 02 wv Brightfield - Open).tif", "IN Cell", "C05", None, None, "Brightfield - Open"),
    ("C - 05(fld 2).tif", "IN Cell", "C05", None, None, None),
    ("C_-_05_fld_2_wv_Green.tif", "IN Cell", "C05", None, None, "Green"),
    ("exp_C05_T0002F002L01A01Z04C01.tif", "CellVoyager", "C05", "4", "2", "1"),
    ("VID123_C5_2_2020y05m01d_10h00m.tif", "Incucyte", "C05", None, "2020y05m01d_10h00m", None),
    ("Organoids_Phase_C5_2_00d04h00m.tif", "Incucyte", "C05", None, "00d04h00m", "Phase"),
    ("D6_auto_Plate_M_p00_z04_2_C05f00d0.TIF", "EVOS or Cellomics", "C05", "4", "2", "0"),
    ("MFGTMP_130111050001_C05f02d1.TIF", "EVOS or Cellomics", "C05", None, None, "1"),
    ("exp_C05_s2_w1.tif", "ImageXpress", "C05", None, None, "1"),
    (
        "exp_C05_s2_w1A1B2C3D4-0000-4000-8000-0123456789AB.tif",
        "ImageXpress", "C05", None, None, "1",
    ),
    ("C5_02_1_2_Bright Field_002_04.tif", "Gen5", "C05", "4", "2", "Bright Field"),
    ("C5_-1_1_2_DAPI_001.tif", "Gen5", "C05", None, "1", "DAPI"),
    ("Image_T0002_XY05_Z004_CH1.tif", "Keyence", "position 5", "4", "2", "1"),
    ("Image_XY05_00002_CH4.tif", "Keyence", "position 5", None, None, "4"),
    ("exp_C05_s2_w1A1B2C3D4.tif", "ImageXpress", "C05", None, None, "1"),
    ("_C05_s2_w110203040.tif", "ImageXpress", "C05", None, None, "1"),
    ("C5_02_1_2Z4_Bright Field_002.tif", "Gen5", "C05", "4", "2", "Bright Field"),
    ("TileScan 1_C_5_R2_t2_z4_ch01.tif", "LAS X", "C05", "4", "2", "1"),
    ("TileScan_001--C05--R02.tif", "LAS X", "C05", None, None, None),
    (
        "image--L00--S00--U04--V02--J00--E00--O00--X01--Y00--T02--Z04--C01.tif",
        "LAS X (Matrix Screener)", "C05", "4", "2", "1",
    ),
    ("plate_Row3_Col5_Field2.tif", "row and column", "C05", None, None, None),
    ("R3C5_F2.tif", "row and column", "C05", None, None, None),
    ("WellC05_PointC05_0002_ChannelBF_Seq0012.tif", "NIS-Elements", "C05", None, None, "BF"),
    ("exp-01-Scene-07-P3-C05_ORG.tif", "ZEN", "C05", None, None, None),
    ("exp-01-Scene-7-C05-3_z4_t2.tif", "ZEN", "C05", "4", "2", None),
    ("C5_-1_1_2Z4_Bright Field_002_-1.tif", "Gen5", "C05", "4", "2", "Bright Field"),
    ("V7_Organoid Mask_C5_2_00d04h00m.tif", "Incucyte", "C05", None, "00d04h00m", "Organoid Mask"),
    ("C05_s1_w1_z4_t2.tif", "ImageXpress", "C05", "4", "2", "1"),
    ("Image_W005_P00002_00001_Z004_CH1.tif", "Keyence", "position 5", "4", None, "1"),
    ("plate_Row3_Col5_Field2_z4_c1.tif", "row and column", "C05", "4", None, None),
    ("well5_field3_z4.tif", "", "well 5", "4", None, None),
    ("x--W00005--P00002--Z00004--T00002--DAPI.tif", "ScanR", "well 5", "4", "2", "DAPI"),
]  # fmt: skip


@pytest.mark.parametrize(("name", "scheme", "well", "z", "time", "channel"), KNOWN)
def test_a_microscopes_name_is_taken_apart(
    name: str, scheme: str, well: str, z: str | None, time: str | None, channel: str | None
) -> None:
    found = read_names([name])[0]

    assert (found.scheme, found.well) == (scheme, well)
    assert (found.z, found.time, found.channel) == (z, time, channel)


@pytest.mark.parametrize(
    ("pattern", "wells"),
    [
        ("r{row:02d}c{col:02d}f{field:02d}p01-ch1sk1fk1fl1.tiff", 12),
        ("Plate__2024-01-01/Images/r{row:02d}c{col:02d}f{field:02d}p01-ch1sk1fk1fl1.tiff", 12),
        ("{letter} - {col:02d}(fld {field} wv Brightfield - Open).tif", 12),
        ("run_{letter}{col:02d}_s{field}_w1.tif", 12),
        ("run_{letter}{col:02d}_T0001F{field:03d}L01A01Z01C01.tif", 12),
        ("VID9_{letter}{col}_{field}_2020y05m01d_10h00m.tif", 12),
        ("scan_Plate_R_p00_0_{letter}{col:02d}f{field:02d}d0.TIF", 12),
        ("{letter}{col}_02_1_{field}_Bright Field_001.tif", 12),
        ("{letter}{col}/{field}.png", 12),
        ("Well {letter}{col}/{field}.png", 12),
        ("P10/{letter}{col:02d}_f{field}.png", 12),
        ("P10_{letter}{col:02d}_F{field}.png", 12),
        ("passage 10/{letter}{col:02d}/f{field}.png", 12),
        ("{letter}{col}_C{field}.png", 12),
        ("run_{letter}{col:02d}_s{field}_w1{col:04X}{row:02X}{field:02X}.tif", 12),
        ("Exp_{letter}{col}_{field}.png", 12),
        ("{letter}-{col}_f{field}.png", 12),
        ("day3_{letter}_{col:02d}_{field}.png", 12),
        ("exp-01-Scene-{field}{col}{row}-P{field}-{letter}{col:02d}_ORG.png", 12),
        ("{letter}{col}-Site_{field}/img_000000000_BF_000.tif", 12),
        ("{letter}{col:02d}_r{field}c1.png", 12),
        ("Row{row}_Col{col}_Field{field}.png", 12),
        ("TileScan 1_{letter}_{col}_R {field}_ch00.tif", 12),
        ("a{letter}{col:02d}/{letter}{col:02d}_{field}.png", 12),
    ],
)
def test_fields_of_one_well_make_one_group(pattern: str, wells: int) -> None:
    sources = [
        pattern.format(row=row, letter="ABC"[row - 1], col=col, field=field)
        for row in (1, 2, 3)
        for col in range(1, 5)
        for field in range(1, 4)
    ]

    groups = find_groups(sources)

    assert len(set(groups.groups)) == wells
    assert [len(set(groups.groups[i : i + 3])) for i in range(0, len(sources), 3)] == ([1] * wells)
    assert "one well" in groups.sentence
    plan = plan_split([SplitItem(s, {"crypt": 1}) for s in sources], SplitConfig())
    for start in range(0, len(sources), 3):
        assert len(set(plan.splits[start : start + 3])) == 1


@pytest.mark.parametrize(
    "pattern",
    [
        "P{n}/img_{i}.png",
        "passage {n}/img_{i}.png",
        "p{n}_img{i}.png",
        "a{n}{i}.png",
        "plates/{n}{i}",
    ],
)
def test_passages_plurals_and_numbers_are_no_wells(pattern: str) -> None:
    sources = [pattern.format(n=n, i=i) for n in (1, 2, 3, 4) for i in range(3)]

    assert {name.well for name in read_names(sources)} == {None}
    assert {name.plate for name in read_names(sources)} == {None}


@pytest.mark.parametrize(
    ("rests", "wells"),
    [
        (["MAX_day 3", "MAX_day 5"], {None}),
        (["exp_A01_s1", "exp_A02_s1", "exp_B01_s1"], {"A01", "A02", "B01"}),
    ],
)
def test_channels_that_imagej_split_are_no_wells(rests: list[str], wells: set[str | None]) -> None:
    names = read_names([f"C{n}-{rest}.tif" for n in (1, 2, 3) for rest in rests])

    assert {name.well for name in names} == wells
    assert [name.channel for name in names] == [str(n) for n in (1, 2, 3) for _ in rests]


@pytest.mark.parametrize(
    "sources",
    [
        [f"{row}{n}-exp.tif" for row in "BC" for n in (1, 2)],
        [f"C{n}-exp.tif" for n in range(1, 13)],
        [f"C{n}-s{site}.tif" for n in (1, 2) for site in (1, 2)],
    ],
)
def test_a_row_c_of_wells_is_no_image_that_was_split(sources: list[str]) -> None:
    names = read_names(sources)

    assert {name.channel for name in names} == {None}
    assert all(name.well for name in names)


def test_small_letters_are_wells_where_they_fill_the_rows_of_a_plate() -> None:
    plate = [f"{row}{column}.png" for row in "abcd" for column in range(1, 7)]

    wells = [name.well for name in read_names(plate)]
    assert wells == [f"{row}0{column}" for row in "ABCD" for column in range(1, 7)]
    assert {name.well for name in read_names(plate[:-1])} == {None}


def test_one_word_alone_is_no_well() -> None:
    assert read_names(["D7/organoid_1.png", "D7/organoid_2.png"])[0].well is None
    assert read_names(["well D7/1.png", "well D7/2.png"])[0].well == "D07"


def test_rows_and_columns_end_where_plates_end() -> None:
    wells = [name.well for name in read_names([f"x_{w}_1.png" for w in ("A01", "AF48", "P24")])]
    assert wells == ["A01", "AF48", "P24"]
    none = read_names(["x_Q01_1.png", "x_A49_1.png", "x_AG01_1.png", "x_A00_1.png"])
    assert {name.well for name in none} == {None}


def test_positions_of_micro_manager_are_the_grid_and_not_its_tiles() -> None:
    names = read_names(
        [
            f"{position}-Pos_00{tile}_000/img_000000000_BF_000.tif"
            for position in (1, 2, 3)
            for tile in (0, 1)
        ]
    )

    assert [name.well for name in names] == [f"position {n}" for n in (1, 1, 2, 2, 3, 3)]
    assert {name.plate for name in names} == {None}
    assert len({name.field for name in names}) == 6


def test_too_few_wells_to_split_by_are_said() -> None:
    found = find_groups([f"exp_A0{c}_f{f}.png" for c in (1, 2) for f in (1, 2, 3)])

    assert "Names show 2 well groups, too few to split by" in found.notes[0]
    assert "no plate, well or donor" not in found.sentence


def test_a_letter_and_a_number_apart_are_a_well_only_in_several_rows_and_columns() -> None:
    assert {n.well for n in read_names([f"A_{c}_{f}.png" for c in (1, 2) for f in (1, 2)])} == {
        None
    }
    assert {n.well for n in read_names([f"{r}_1_{f}.png" for r in "AB" for f in (1, 2)])} == {None}


def test_what_was_taken_for_wells_is_said_and_how_to_say_otherwise() -> None:
    days = find_groups([f"D{d}_{i}.png" for d in range(1, 5) for i in range(3)])
    plates = find_groups([f"{r}{c:02d}_{f}.png" for r in "AB" for c in (1, 2) for f in (1, 2)])
    known = find_groups([f"x_{r}01_s{f}_w1.tif" for r in "ABC" for f in (1, 2)])

    assert "D01, D02, D03, D04. These may be days" in days.notes[-1]
    assert plates.notes[-1].startswith("Taken for wells: A01, A02, B01, B02. If these are none")
    assert known.notes[-1] == "Taken for wells: A01, B01, C01 (names as ImageXpress writes them)."


@pytest.mark.parametrize(
    ("plates", "labels"),
    [
        (("plate1/", "plate2/"), ("plate 1 well A01", "plate 2 well A01")),
        (("Plate_A_", "Plate_B_"), ("plate A well A01", "plate B well A01")),
        (("plateA/", "plateB/"), ("plate A well A01", "plate B well A01")),
        (("AB12345_", "AB12346_"), ("plate AB12345 well A01", "plate AB12346 well A01")),
        (("VID7_", "VID8_"), ("plate VID7 well A01", "plate VID8 well A01")),
        (("monday/", "tuesday/"), ("monday well A01", "tuesday well A01")),
        (("P10/", "P11/"), ("P10 well A01", "P11 well A01")),
        (("exp1/plate1/", "exp2/plate1/"), ("exp1/plate1 well A01", "exp2/plate1 well A01")),
        (("240503_plate1/", "240503_plate2/"), ("plate 1 well A01", "plate 2 well A01")),
    ],
)
def test_the_same_well_of_two_plates_is_two(
    plates: tuple[str, str], labels: tuple[str, str]
) -> None:
    names = read_names([f"{p}A{c:02d}_s{f}_w1.tif" for p in plates for c in (1, 2) for f in (1, 2)])

    for sure in (True, False):
        wells = place_wells(names, sure=sure)
        assert len({well.label for well in wells if well}) == 4
        assert {w.label for w in wells if w and w.name == "A01"} == set(labels)


@pytest.mark.parametrize(
    "folders",
    [
        ("crypt/", "no_crypt/"),
        ("train/", "test/"),
        ("day3/", "day5/"),
        ("BF/", "GFP/"),
        ("t1/", "t2/"),
    ],
)
def test_folders_that_sort_the_fields_of_a_well_do_not_tear_it_apart(
    folders: tuple[str, str],
) -> None:
    names = read_names(
        [
            f"{folder}A{c:02d}_f{2 * f + n}.png"
            for n, folder in enumerate(folders)
            for c in (1, 2)
            for f in (1, 2)
        ]
    )

    assert {w.label for w in place_wells(names, sure=True) if w} == {"well A01", "well A02"}


def test_a_day_before_the_well_counts_apart_but_is_never_split_apart() -> None:
    names = read_names([f"d{day}_A{c:02d}_f1.png" for day in (3, 5) for c in (1, 2)])

    assert len({w.label for w in place_wells(names, sure=True) if w}) == 2
    assert len({w.label for w in place_wells(names, sure=False) if w}) == 4


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("2024-05-03/", "2024-05-05/"),
        ("03.05.2024/", "5.5.2024/"),
        ("240503/", "240505/"),
        ("03052024/", "05052024/"),
        ("screen 240503/", "screen 240505/"),
        ("3May2024/", "5-Mai-24/"),
        ("Exp__2024-05-03T12_00_00-Measurement 1/", "Exp__2024-05-05T09_30_00-Measurement 2/"),
    ],
)
def test_a_well_on_two_dates_counts_apart_but_is_never_split_apart(one: str, other: str) -> None:
    names = read_names([f"{date}A{c:02d}_f1.png" for date in (one, other) for c in (1, 2)])

    assert len({w.label for w in place_wells(names, sure=True) if w}) == 2
    assert len({w.label for w in place_wells(names, sure=False) if w}) == 4


def test_a_stain_that_nobody_knows_stands_where_others_say_a_channel() -> None:
    wells = [f"{r}{c}" for r in "AB" for c in (1, 2)]
    stained = [f"{well}_{word}_1.tif" for well in wells for word in ("BF", "Cal-AM", "EthD1")]

    names = read_names([*stained, "A1_again_1.tif"])

    assert [name.channel for name in names] == ["BF", "Cal-AM", "EthD1"] * 4 + [None]
    assert len({name.field for name in names}) == 5


def test_a_plate_behind_the_well_is_a_plate() -> None:
    names = read_names([f"{r}{c}_plate{p}.tif" for p in (1, 2) for r in "AB" for c in (1, 2)])

    wells = {well.label for well in place_wells(names, sure=False) if well}
    assert len(wells) == 8
    assert "plate 2 well B01" in wells


def test_days_as_folders_are_counted_apart_where_they_hold_the_same_fields() -> None:
    same = read_names([f"d{day}/A{c:02d}_f1.png" for day in (3, 5) for c in (1, 2)])
    other = read_names([f"d{day}/A{c:02d}_f{day}.png" for day in (3, 5) for c in (1, 2)])

    labels = {w.label for w in place_wells(same, sure=False) if w}
    assert labels == {f"d{day} well A{c:02d}" for day in (3, 5) for c in (1, 2)}
    for names, sure in ((same, True), (other, False)):
        assert {w.label for w in place_wells(names, sure=sure) if w} == {"well A01", "well A02"}


@pytest.mark.parametrize(
    "later",
    [
        "{n}h",
        "d{n}",
        "{n} hours",
        "day {n}",
        "00d{n:02d}h00m",
        "{n}h00min",
        "week{n}",
        "Tag {n}",
        "{n}hpi",
        "DIV{n}",
        "D{n}F1",
        "{n} days",
        "{n}d",
        "h{n}",
        "00d{n:02d}h",
    ],
)
def test_hours_and_days_behind_a_well_are_time_points_of_its_field(later: str) -> None:
    sources = [f"A{c:02d}_{later.format(n=n)}.tif" for c in (1, 2) for n in (0, 24)]

    names = read_names(sources)

    assert [name.time for name in names] == ["0", "24", "0", "24"]
    assert len({(name.well, name.field) for name in names}) == 2


def test_zen_s_channels_beside_their_merged_picture_are_no_wells() -> None:
    names = read_names([f"x-{n:02d}_{c}.tif" for n in (1, 2) for c in ("c1", "c2", "c1-2")])

    assert {name.well for name in names} == {None}
    assert [name.channel for name in names] == ["1", "2", "1-2"] * 2
    assert len({name.field for name in names}) == 2


def test_running_numbers_before_the_well_are_no_plates() -> None:
    names = read_names([f"{n:04d}_A0{1 + n % 2}_f{n}.png" for n in range(8)])

    assert len({w.label for w in place_wells(names, sure=False) if w}) == 2


def test_planes_of_one_field_share_its_name() -> None:
    for one, other in (
        ("a/x_z03_t1.tif", "a/x_z04_t2.tif"),
        ("a/x_Z3.tif", "a/x_Z12.tif"),
        ("a/x_t01z03c2.tif", "a/x_t02z01c1.tif"),
        (
            "img_channel000_position002_time000000000_z000.tif",
            "img_channel001_position002_time000000003_z004.tif",
        ),
        ("x_BF.tif", "x_GFP.tif"),
        ("BF/x_1.tif", "GFP/x_1.tif"),
        ("Image_XY01_00001_CH1.tif", "Image_XY01_00001_Overlay.tif"),
        ("Series001_ch00.tif", "Series001_Merged.tif"),
        ("x_0001_TRANS.tif", "x_0001_RGB.tif"),
        ("Phase/VID1_A1_1_00d00h00m.tif", "Green/VID1_A1_1_00d04h00m.tif"),
        ("x-01_c1_ORG.tif", "x-01_c2_ORG.tif"),
        ("TimePoint_1/e_A01_s1_w1.tif", "TimePoint_2/e_A01_s1_w2.tif"),
        ("r01c01f01p01-ch1sk1fk1fl1.tiff", "r01c01f01p09-ch2sk3fk1fl1.tiff"),
        ("x_Z=001.tif", "x_Z=012.tif"),
        ("x_z-10um.tif", "x_z10um.tif"),
        ("x_z0.5\u00b5m_BF.tif", "x_z+1,5um_BF.tif"),
        ("x-01_s1z01c1_ORG.tif", "x-01_s1z12c2_ORG.tif"),  # ZEN
        ("x_b0v0t0z0c0x0-2048y0-2048.tif", "x_b0v0t1z3c0x0-2048y0-2048.tif"),
        ("x.lif - Image 3 - C=0.tif", "x.lif - Image 3 - C=1.tif"),  # Fiji
        ("x_zplane3.tif", "x_z-slice_4.tif"),
        ("im_jpg.rf.0123456789abcdef.jpg", "im_png.rf.fedcba98.jpg"),
        ("C1-x.tif", "C2-x.tif"),  # ImageJ: split into channels, and a stack into planes
        ("c_1-2 z_3-9 - x.tif", "c:2-2 z:4-9 - x.tif"),
    ):
        first, second = read_names([one, other])
        assert first.field == second.field, (one, other)
    for one, other in (
        ("x_1.tif", "x_2.tif"),
        ("mouse_c1.png", "mouse_c2.png"),
        ("x-01_s1z01c1.tif", "x-01_s2z01c1.tif"),
        ("b3c1.png", "b3c2.png"),
        ("t1.png", "t2.png"),
        ("r01c01f01p01-ch1.tiff", "r01c01f02p01-ch1.tiff"),
        ("a/1.png", "b/1.png"),
    ):
        first, second = read_names([one, other])
        assert first.field != second.field, (one, other)


def test_heights_below_and_above_the_focus_are_planes_in_order() -> None:
    names = read_names([f"x_z{height}um.tif" for height in ("-10", "+0", "2.5", "10")])

    assert [name.z for name in names] == ["-10", "0", "2.5", "10"]
    assert sorted((name.z or "" for name in names), key=numeric) == ["-10", "0", "2.5", "10"]


@pytest.mark.parametrize(
    ("early", "late"),
    [
        ("A{n}_pre", "A{n}_post"),
        ("A{n}_1_before", "A{n}_1_after"),
        ("A{n}_vorher", "A{n}_nachher"),
        ("A{n}_pre-treatment_BF", "A{n}_post-treatment_BF"),
        ("A{n}_baseline", "A{n}_post_24h"),
        ("A{n}", "A{n}_post"),
        ("A{n}_start", "A{n}_end"),
        ("A{n}_28Apr2024", "A{n}_3-May-24"),
        ("Time 9/A{n}", "Time 24/A{n}"),
        ("A{n}_用药前", "A{n}_用药后"),
        ("org{n}_before", "org{n}_after"),
        ("2024/03/15/09-00/A{n}_1", "2024/03/15/12-00/A{n}_1"),
        ("ScanData/2403/15/0900/12/A{n}-1-Ph", "ScanData/2403/16/0000/12/A{n}-1-Ph"),
        ("2024-03-15/09h00m/VID7_A{n}_1", "2024-03-15/12h00m/VID7_A{n}_1"),
    ],
)
def test_before_and_after_are_time_points_of_one_field_and_no_channels(
    early: str, late: str
) -> None:
    sources = [f"{text.format(n=n)}.tif" for n in (1, 2, 3) for text in (early, late)]

    names = read_names(sources)

    assert {name.channel for name in names} <= {None, "BF", "Ph"}
    assert [len(members) for members in fields_of(sources, names)] == [2, 2, 2]
    times = [numeric(name.time or "") for name in names[:2]]
    assert times[0] < times[1]
    assert len(set(find_groups(sources).groups)) == 3


@pytest.mark.parametrize("folders", [("pre", "post"), ("2024/03/15", "2024/03/16")])
def test_stages_and_dates_in_folders_count_apart_but_are_never_split_apart(
    folders: tuple[str, str],
) -> None:
    names = read_names([f"{folder}/A{c}_f1.png" for folder in folders for c in (1, 2)])

    assert len({w.label for w in place_wells(names, sure=True) if w}) == 2
    assert len({w.label for w in place_wells(names, sure=False) if w}) == 4


@pytest.mark.parametrize("written", ["P{p}{r}{c}", "p0{p}{r}{c:02d}_f1", "plate{p}{r}{c}"])
def test_a_plate_that_is_glued_to_its_well_is_a_plate(written: str) -> None:
    sources = [written.format(p=p, r=r, c=c) for p in (1, 2) for r in "AB" for c in (1, 2)]

    wells = place_wells(read_names([f"{source}.png" for source in sources]), sure=True)

    assert [well.label for well in wells[3:5] if well] == [
        "plate 1 well B02",
        "plate 2 well A01",
    ]


@pytest.mark.parametrize("written", ["{c}{r}", "x_{c:02d}{r}_f1", "{r}{c:03d}"])
def test_wells_that_are_seldom_written_so_are_sure_where_they_fill_a_plate(written: str) -> None:
    def wells(rows: str, columns: range) -> list[str | None]:
        sources = [f"{written.format(r=r, c=c)}.png" for r in rows for c in columns]
        return [name.well for name in read_names(sources)]

    assert wells("ABC", range(1, 5))[:5] == ["A01", "A02", "A03", "A04", "B01"]
    assert wells("BCDEFG", range(2, 12))[-1] == "G11"
    assert set(wells("ABC", range(1, 4))) == {None}
    assert set(wells("A", range(1, 13))) == {None}


@pytest.mark.parametrize(
    "written", ["{c}{r}", "{r}{c:03d}", "{c}-{r}", "3{r}{c}", "{r}{c}f1", "r{c}_c1{c}"]
)
def test_words_that_may_be_wells_are_named_and_not_taken(written: str) -> None:
    sources = [f"{written.format(r=r, c=c)}.png" for r in "ABE" for c in (1, 2, 5)]

    found = find_groups(sources)

    assert {name.well for name in read_names(sources)} == {None}
    assert "may be wells" in found.notes[-1]


def test_numbers_of_specimens_are_no_wells_in_doubt() -> None:
    assert wells_taken(read_names([f"org_{n:03d}.png" for n in range(12)])) == ""
