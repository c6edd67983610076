"""Parts that share no well, hold what was asked, and say how they were made."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from msip_core.config import ImportConfig, SplitConfig
from msip_core.data.grouping import find_groups, original
from msip_core.data.importing import import_dataset
from msip_core.data.labels import split_of_path
from msip_core.data.splitting import SplitItem, SplitPlan, in_parts, plan_split, stratify
from msip_core.errors import ConfigError
from msip_core.workspace import Workspace
from tests.data.conftest import Importer, write_image


def items(sources: list[str], counts: dict[str, int] | None = None) -> list[SplitItem]:
    return [SplitItem(source, dict(counts or {"crypt": 1})) for source in sources]


def sides_of(plan: SplitPlan) -> dict[str, set[str]]:
    sides: dict[str, set[str]] = {}
    for split, group in zip(plan.splits, plan.groups):
        sides.setdefault(group, set()).add(split)
    return sides


def test_images_that_stand_alone_are_split_72_8_20() -> None:
    plan = plan_split(items([f"img{i:04d}.png" for i in range(1000)]), SplitConfig())

    assert Counter(plan.splits) == {"train": 720, "val": 80, "test": 200}
    assert "no plate, well or donor" in plan.grouping


def test_each_class_is_shared_out_as_the_images_are() -> None:
    rng = np.random.default_rng(1)
    images = [
        SplitItem(
            f"x{i}.png", {"common": int(rng.integers(0, 9))} | ({"rare": 2} if i % 10 == 0 else {})
        )
        for i in range(500)
    ]

    plan = plan_split(images, SplitConfig())

    for name in ("common", "rare"):
        total = sum(image.counts.get(name, 0) for image in images)
        for split, share in (("train", 0.72), ("val", 0.08), ("test", 0.2)):
            got = sum(i.counts.get(name, 0) for i, s in zip(images, plan.splits) if s == split)
            assert got / total == pytest.approx(share, abs=0.025)


@pytest.mark.parametrize(
    ("pattern", "level"),
    [
        ("plate1_{row}{col:02d}_f{field}.png", "well"),
        ("D6_auto_Plate_M_p00_z0{field}_0_{row}{col:02d}f00d0.TIF", "well"),
        ("donor{col}{row}/img_{field}.tif", "well"),
        ("exp1/{row}{col}/{field}.png", "well"),
        ("well_{row}{col}_{field}.png", "well"),
    ],
)
def test_one_well_never_lies_on_both_sides(pattern: str, level: str) -> None:
    sources = [
        pattern.format(row=row, col=col, field=field)
        for row in "ABC"
        for col in range(1, 7)
        for field in range(4)
    ]

    plan = plan_split(items(sources), SplitConfig(group_pattern=None))

    if "donor" not in pattern:
        assert level in plan.grouping
        assert len(set(plan.groups)) == 18
    assert all(len(parts) == 1 for parts in sides_of(plan).values())
    assert set(plan.splits) == {"train", "val", "test"}


def test_the_same_well_of_two_plates_is_two_groups() -> None:
    sources = [f"plate{p}/A{c:02d}_f{f}.png" for p in (1, 2) for c in range(1, 9) for f in (0, 1)]

    groups = find_groups(sources)

    assert len(set(groups.groups)) == 16
    assert "plate 1 well A01" in groups.groups
    assert "2 plate groups, too few to split by" in groups.notes[0]


def test_many_donors_are_kept_whole_although_their_wells_are_named() -> None:
    sources = [f"donor{d}_A{c:02d}.png" for d in range(12) for c in range(1, 4)]

    plan = plan_split(items(sources), SplitConfig())

    assert "one donor were kept together: 12 groups" in plan.grouping
    assert all(len(parts) == 1 for parts in sides_of(plan).values())


def test_a_donor_is_one_however_its_number_is_written() -> None:
    sources = [
        f"{w}.png" for d in range(10) for w in (f"donor{d}", f"Donor_{d:03d}b", f"DONOR-{d:02d}")
    ]

    assert len(set(find_groups(sources).groups)) == 10


def test_the_four_subsets_of_the_public_organoid_set_stay_whole() -> None:
    sources = [
        f"train/images/Subset_{s}_450x450_{i:03d}.jpg" for s in (2, 3, 4, 5) for i in range(50)
    ]

    plan = plan_split(items(sources), SplitConfig())

    assert set(plan.groups) == {"subset 2", "subset 3", "subset 4", "subset 5"}
    assert all(len(parts) == 1 for parts in sides_of(plan).values())
    assert Counter(plan.splits) == {"train": 100, "val": 50, "test": 50}
    assert any("The val part holds 25%" in note for note in plan.notes)


def test_validation_is_never_one_small_group_when_the_others_are_large() -> None:
    sizes = {"1": 300, "2": 300, "3": 300, "4": 300, "5": 1}
    sources = [f"subset{name}_img{i}.png" for name, size in sizes.items() for i in range(size)]

    counts = Counter(plan_split(items(sources), SplitConfig()).splits)

    assert counts["val"] >= 300


def test_with_fewer_than_three_groups_images_are_split_and_the_plan_says_so() -> None:
    sources = [f"{name}/img_{i}.png" for name in ("left", "right") for i in range(10)]

    plan = plan_split(items(sources), SplitConfig(group_pattern="(left|right)"))

    assert set(plan.splits) == {"train", "val", "test"}
    assert "only 2 groups, too few for three parts" in plan.notes[-1]


def test_z_planes_time_points_and_augmented_copies_stay_together() -> None:
    assert original("x/fieldB_z03_t1.tif") == original("x/fieldB_z04_t2.tif")
    assert original("a/im7_jpg.rf.0123456789abcdef.jpg") == original("a/im7_png.rf.fedcba98.jpg")
    sources = [f"im{i}_jpg.rf.{c * 8}.jpg" for i in range(40) for c in "abc"]

    plan = plan_split(items(sources), SplitConfig())

    assert "copies of one field were kept together: 40 groups" in plan.grouping
    assert all(len(parts) == 1 for parts in sides_of(plan).values())


def test_a_pattern_names_the_group_or_is_refused() -> None:
    groups = find_groups(["d1_a.png", "d1_b.png", "x.png"], r"(d\d)")

    assert groups.groups == ("d1", "d1", "x")
    assert "matches 2 of 3 names" in groups.notes[0]
    with pytest.raises(ConfigError, match="not a regular expression"):
        find_groups(["a"], "(")
    with pytest.raises(ConfigError, match="needs one pair of brackets"):
        find_groups(["a"], "donor")


def test_a_pattern_that_is_none_is_said_before_anything_is_read(
    workspace: Workspace, tmp_path: Path
) -> None:
    split = SplitConfig(group_pattern="(")
    config = ImportConfig(source=tmp_path / "not looked for", name="a", split=split)

    with pytest.raises(ConfigError, match="not a regular expression"):
        import_dataset(workspace, config)


def test_grouping_can_be_turned_off() -> None:
    sources = [f"plate1_A01_f{i}.png" for i in range(20)]

    plan = plan_split(items(sources), SplitConfig(group_pattern=""))

    assert len(set(plan.groups)) == 20
    assert "turned off" in plan.grouping


def test_the_seed_decides_and_is_all_that_decides() -> None:
    images = items([f"img{i}.png" for i in range(60)])

    one, same = plan_split(images, SplitConfig(seed=1)), plan_split(images, SplitConfig(seed=1))
    other = plan_split(images, SplitConfig(seed=2))

    assert one == same
    assert one.splits != other.splits


@pytest.mark.parametrize("n", [0, 1, 2, 3, 4])
def test_few_images_fill_train_first_and_then_every_part(n: int) -> None:
    plan = plan_split(items([f"img{i}.png" for i in range(n)]), SplitConfig())

    assert len(plan.splits) == n
    if n == 1:
        assert plan.splits == ("train",)
    if n >= 3:
        assert set(plan.splits) == {"train", "val", "test"}


def test_existing_parts_are_kept_and_a_leak_in_them_is_named() -> None:
    images = [
        SplitItem(f"{part}/plate1_{row}01_f{i}.png", {"crypt": 1}, part)
        for part, row in (("train", "A"), ("val", "B"), ("test", "A"))
        for i in range(3)
    ]

    plan = plan_split(images, SplitConfig(keep_existing=True))

    assert list(plan.splits) == [image.existing for image in images]
    assert "kept as they came" in plan.grouping


def test_a_kept_split_without_validation_takes_it_from_whole_training_groups() -> None:
    images = [
        SplitItem(f"plate1_A{i:02d}_f{f}.png", {"crypt": 1}, "test" if i > 10 else "train")
        for i in range(1, 13)
        for f in range(3)
    ]

    plan = plan_split(images, SplitConfig(keep_existing=True))

    assert Counter(plan.splits) == {"train": 27, "val": 3, "test": 6}
    assert all(len(parts) == 1 for parts in sides_of(plan).values())
    assert "3 training images became it" in " ".join(plan.notes)


def test_a_kept_split_that_leaks_is_kept_but_said() -> None:
    images = [
        SplitItem(f"{part}/plate1_{row}0{c}_f0.png", {"crypt": 1}, part)
        for part in ("train", "val", "test")
        for row in "AB"
        for c in range(1, 7)
    ]

    plan = plan_split(images, SplitConfig(keep_existing=True))

    assert any("Groups on several sides of the kept split: 12" in note for note in plan.notes)


def test_a_split_that_was_there_but_not_kept_is_mentioned() -> None:
    images = [SplitItem(f"a{i}.png", {"crypt": 1}, "train") for i in range(5)]

    assert "were not kept" in plan_split(images, SplitConfig()).notes[0]


def test_stratify_finds_the_exact_split_where_there_is_one() -> None:
    totals = np.array([[10.0], [10], [20], [60]])

    part = stratify(totals, np.array([0.6, 0.2, 0.2]), seed=0)

    sums = [totals[part == p].sum() for p in range(3)]
    assert sums == [60, 20, 20]


WELLS = [(row, column) for row in "ABCD" for column in (1, 2, 3)]


@pytest.mark.parametrize(
    "names",
    [
        [f"scan001t{t:02d}xy{p:02d}c1.tif" for p in range(12) for t in (1, 2)],
        [f"W{w:03d}/P{f:05d}/Image_W{w:03d}_P{f:05d}_CH4.tif" for w in range(12) for f in (1, 2)],
        [f"row-{r}_col-{c:02d}_f{f}.png" for r, c in WELLS for f in (1, 2)],
        [f"Well_{w:03d}_{f}.png" for w in range(12) for f in (1, 2)],
        [f"well{w}/f{f}.png" for w in range(12) for f in (1, 2)],
        # A plate that was imaged on two days.
        [f"{day}/{r}{c}_1.png" for r, c in WELLS for day in (20240301, "2024-03-02")],
        [f"pos{p}_{t:03d}.png" for p in range(12) for t in (1, 2)],
        [f"HCO-{d:02d}-p5-{f}.png" for d in range(12) for f in (1, 2)],
        [f"org{o:02d}z{z:02d}.png" for o in range(12) for z in (1, 2)],
        [f"slide{s}_x{x}_y0.png" for s in range(12) for x in (0, 512)],
        [f"img{s:02d}_{x}_0_{x + 640}_640.png" for s in range(12) for x in (0, 512)],
        [f"img{i:02d}{copy}.png" for i in range(12) for copy in ("", "_rot90")],
        [f"img{i:02d}{copy}.png" for i in range(12) for copy in ("", "_blur")],
        [f"img{i:02d}{copy}.png" for i in range(12) for copy in ("_gamma", "")],
        [f"org{o:02d}_{time}.png" for o in range(12) for time in ("0h", "48 hrs")],
        *(
            [name.format(o=o, t=t) + ".png" for o in range(12) for t in (1, 5)]
            for name in (
                "org{o:02d} [d=1,x={t},y=0,w=512,h=512]",
                "org{o:02d} ({t}, 0)",
                "org{o:02d}_x={t}_y=0",
                "org{o:02d}_{t}of5",
                "org{o:02d}_t={t}h",
                "org{o:02d}_0{t}.01.24",
                "mov{o:02d}_f0000{t}",
                "org{o:02d}_{t}d",
                "org{o:02d}_2024-03-0{t}",
                "org{o:02d}_{t}dpi",
                "org{o:02d}_第{t}天",
                "{t}d/org{o:02d}",
                "{t}h_org{o:02d}",
                "day{t}_org{o:02d}",
                "D{t}_org{o:02d}",
                "wk{t}/org{o:02d}",
            )
        ),
        *(
            [f"{when.format(t=t)}/{r}{c}.png" for r, c in WELLS for t in (1, 5)]
            for when in (
                "{t}d",
                "Tag {t}",
                "{t} min",
                "{t}hr",
                "wk{t}",
                "{t}mo",
                "{t}dpt",
                "第{t}天",
                "1d{t}h",
                "round{t}",
            )
        ),
        [f"org{o:02d}_z{z}um.png" for o in range(12) for z in (-10, 10)],
        [f"img{i:02d}{copy}.png" for i in range(12) for copy in ("", " - Copy")],
        [f"img{i:02d}{copy}.png" for i in range(12) for copy in ("", " (2)")],
    ],
)
def test_two_images_of_one_well_place_or_picture_are_one_group(names: list[str]) -> None:
    groups = find_groups(names).groups

    assert groups[::2] == groups[1::2]
    assert len(set(groups)) == 12


@pytest.mark.parametrize(
    "names",
    [
        [f"img ({n}).png" for n in range(1, 25)],
        [f"img_{n:03d}.png" for n in range(24)],
        [f"organoids_day{n}.png" for n in range(24)],
        [f"{drug}_{n:03d}.png" for drug in ("control", "chir", "wnt") for n in range(8)],
    ],
)
def test_numbers_of_one_series_or_of_few_conditions_make_no_groups(names: list[str]) -> None:
    assert len(set(find_groups(names).groups)) == 24


@pytest.mark.parametrize("word", ["video", "mov", "time lapse "])
def test_frames_of_few_videos_stay_together(word: str) -> None:
    names = [f"{word}{v}_frame_{n:04d}.png" for v in range(4) for n in range(6)]

    assert len(set(find_groups(names).groups)) == 4


def test_parts_are_known_by_folders_of_several_words() -> None:
    places = ("Training Set/a.png", "test set/b.png", "my-val_images/c.png", "sets/d.png")
    assert [split_of_path(place) for place in places] == ["train", "test", "val", None]


# --- new images, labelled one by one ---------------------------------------------------


def test_images_get_their_parts_one_by_one_with_their_first_labels(
    bring_in: Importer, tmp_path: Path
) -> None:
    """The second with boxes checks progress, so that one can train on a few; after that each goes
    where most of a share is missing. Fields of a well stay together."""
    wells = [f"{row}{column:02d}" for row in "ABCD" for column in range(1, 6)]
    for n, well in enumerate(wells):
        for place in range(2):
            write_image(tmp_path / "new" / f"{well}_f{place}.png", 2 * n + place)
    images, boxes = bring_in(tmp_path / "new", "wells").images, {}
    for well in wells:
        boxes[f"{well}_f0"] = 0 if well == "A02" else 3
        images = in_parts(images, boxes)

    part_of = {image.id: image.split for image in images}
    parts = [part_of[f"{well}_f0"] for well in wells]
    assert parts[:4] == ["train", "train", "val", "train"], "the second has no box"
    assert [parts.count(part) for part in ("train", "val", "test")] == [14, 2, 4]
    assert part_of["A03_f1"] is None
    (found,) = (i for i in in_parts(images, {**boxes, "A03_f1": 1}) if i.id == "A03_f1")
    assert found.split == "val"
