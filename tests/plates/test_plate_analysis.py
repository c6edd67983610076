"""From rows to statements: which wells, which units, which control; blank and failed told apart."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from msip_core.config import CountConfig
from msip_core.errors import InputError
from msip_core.plates import fractions
from msip_core.plates.analysis import Asked, analyse
from msip_core.plates.figures import map_of, models_info, panels_of, strips_of
from msip_core.plates.methods import methods
from msip_core.plates.outcome import labels_of
from msip_core.plates.rows import Counting
from msip_core.plates.sheet import parse_sheet
from msip_core.views.bland_altman import altman_figure
from msip_core.views.paper import to_bytes
from msip_core.views.paper_page import alone
from msip_core.views.plate_map import map_figure
from msip_core.workspace import Workspace
from tests.drawn import copy_example
from tests.plates.made_up import count, drawn_plate, image, wells_of_plate


def sheet(text: str):
    return parse_sheet(text.encode(), "sheet.csv")


def test_blank_and_failed_fields_are_no_fields_without_organoids() -> None:
    rows = [
        image("A01", 1, 2, 8),
        image("A01", 2, 0, 0, state="failed"),
        image("A01", 3, 0, 0, state="empty"),
        image("A01", 4, 0, 0),
    ]

    (well,) = analyse(count(rows)).wells

    assert well.per_field.value == 5  # ten objects in two fields, one of them without any
    assert well.fraction.value == 0.2


def test_two_plates_have_each_their_own_well_a1() -> None:
    rows = [image("A01", 1, 5, 5, plate="P1"), image("A01", 1, 0, 10, plate="P2")]
    assert [well.fraction.value for well in analyse(count(rows)).wells] == [0.5, 0.0]


def test_the_control_is_the_condition_that_is_named_so() -> None:
    rows = drawn_plate(3, 3, 2, lambda _: 0.4)
    text = "well,condition\n" + "".join(
        f"{well},{('Wnt', 'DMSO', 'EGF')[int(well[1:]) - 1]}\n" for well in wells_of_plate(3, 3)
    )

    found = analyse(count(rows), sheet=sheet(text))

    assert found.control == "DMSO"
    assert {one.group for one in found.comparisons} == {"Wnt", "EGF"}
    assert analyse(count(rows), sheet=sheet(text), asked=Asked(control="EGF")).control == "EGF"


def test_folders_without_wells_are_compared_where_the_sheet_names_them() -> None:
    """Eight donors, a folder each, three fields in each."""
    folders = [f"donor {n}" for n in range(1, 9)]
    rows = [
        replace(
            image("", field, crypts, 12 - crypts),
            plate="",
            series=folder,
            image=f"{folder}/{field}.png",
        )
        for n, folder in enumerate(folders)
        for field, crypts in enumerate((2 + 6 * (n % 2), 3 + 6 * (n % 2), 2 + 5 * (n % 2)))
    ]
    text = "well,condition\n" + "".join(
        f"{name},{'drug' if n % 2 else 'control'}\n" for n, name in enumerate(folders)
    )

    found = analyse(count(rows), sheet=sheet(text))

    assert found.control == "control"
    assert [one.per_field.units for one in found.conditions] == [4, 4]
    fraction = next(one for one in found.comparisons if one.measure == "fraction")
    assert fraction.is_clear


def test_without_a_control_nothing_is_compared() -> None:
    rows = drawn_plate(3, 2, 2, lambda _: 0.4)
    text = "well,condition\n" + "".join(f"{w},c{w[1:]}\n" for w in wells_of_plate(3, 2))
    found = analyse(count(rows), sheet=sheet(text))
    assert found.control is None
    assert not found.comparisons
    assert len(found.conditions) == 2


def test_wells_of_one_replicate_are_one_unit() -> None:
    """Six wells of two donors are two units: no verdict, however many wells."""
    rows = drawn_plate(6, 2, 2, lambda _: 0.4)
    text = "well,condition,replicate\n" + "".join(
        f"{w},{'control' if w.endswith('1') else 'drug'},donor {1 + (w[0] > 'C')}\n"
        for w in wells_of_plate(6, 2)
    )

    found = analyse(count(rows), sheet=sheet(text))

    assert [one.per_field.units for one in found.conditions] == [2, 2]
    assert found.conditions[0].per_field.unit == "replicate"
    assert "each a replicate" in found.conditions[0].per_field.reason
    assert all(one.p is None for one in found.comparisons)
    numbered = text.replace("donor 1", "1").replace("donor 2", "2")
    for place, well in enumerate(wells_of_plate(6, 2)):
        numbered = numbered.replace(f"{well},", f"{well},", 1)
        lines = numbered.splitlines()
        lines[place + 1] = ",".join([*lines[place + 1].split(",")[:2], str(place // 2)])
        numbered = "\n".join(lines)
    alone_ = analyse(count(rows), sheet=sheet(numbered))
    assert [one.per_field.units for one in alone_.conditions] == [6, 6]


def test_replicates_are_the_units_of_sizes_curves_and_agreement_too() -> None:
    """Four wells of each of five doses are those of two donors."""
    letters, doses = "ABCDEFGH", ("0", "1", "3", "10", "30")
    wells = [(f"{letter}{n:02d}", n, letter) for n in range(1, 6) for letter in letters[:4]]
    share = {1: 1, 2: 2, 3: 6, 4: 9, 5: 10}
    rows = [image(well, 1, share[n] + (x in "AC"), 12 - share[n]) for well, n, x in wells]
    light = [image(well, 1, share[n], 12 - share[n]) for well, n, _ in wells]
    text = "well,condition,dose,unit,replicate\n" + "".join(
        f"{well},Wnt,{doses[n - 1]},nM,{'one' if x in 'AB' else 'two'}\n" for well, n, x in wells
    )

    found = analyse(count(light), baseline=count(rows, role="baseline"), sheet=sheet(text))

    sizes = [one.diameter for one in found.conditions]
    assert [(one.units, one.unit) for one in sizes] == [(2, "replicate")] * 5
    assert all(not one.has_interval for one in sizes)  # two donors are too few
    curve = next(one for measure, one in found.doses if measure == "fraction")
    assert curve.doses.tolist() == [float(dose) for dose in doses for _ in "12"]
    assert (curve.ec50.units, curve.ec50.unit) == (10, "replicate")
    limits = found.agreement[1].limits
    assert (limits.units, limits.clusters) == (20, 10)


def test_time_points_are_looked_at_one_by_one_the_last_first() -> None:
    rows = [image("A01", n, n, 4, time=time) for time in ("2", "10") for n in (1, 2, 3)]

    found = analyse(count(rows))

    assert (found.time, found.times) == ("10", ("2", "10"))
    assert len(found.wells) == 1
    with pytest.raises(InputError, match="no time point '3': choose one of 2, 10"):
        analyse(count(rows), asked=Asked(time="3"))


def test_what_is_not_there_is_said_with_what_is() -> None:
    rows = [image("A01", 1, 1, 1)]
    with pytest.raises(InputError, match="no class 'cyst': choose one of crypt, no_crypt"):
        analyse(count(rows), asked=Asked(crypts="cyst"))
    with pytest.raises(InputError, match="no condition 'x': choose one of control"):
        analyse(count(rows), sheet=sheet("well,condition\nA1,control\n"), asked=Asked(control="x"))
    with pytest.raises(InputError, match="margin"):
        analyse(count(rows), asked=Asked(margin=0))


def test_a_model_without_crypts_is_asked_for_counts_alone() -> None:
    rows = drawn_plate(2, 3, 3, lambda _: 0.5)
    plain = Counting(
        objects=[], images=rows, classes=("cyst", "spheroid"), um_per_px_known=True, model="m"
    )
    found = analyse(plain)
    assert found.crypts is None
    assert found.measures == ("count",)
    assert found.whole[0].value is None
    assert analyse(plain, asked=Asked(crypts="cyst")).measures == ("fraction", "count")


def test_a_dose_series_finds_its_control_and_its_ec50() -> None:
    def share(well: str) -> float:
        column = int(well[1:])
        return 0.15 if column == 1 else 0.15 + 0.5 / (1 + (0.3 / (0.01 * 2**column)) ** 1.5)

    rows = drawn_plate(6, 12, 4, share, spread=0.1, seed=3)
    text = "well;condition;dose;unit\n" + "".join(
        f"{w};control;;\n" if w.endswith("01") else f"{w};CHIR;{0.01 * 2 ** int(w[1:])};µM\n"
        for w in wells_of_plate(6, 12)
    )

    found = analyse(count(rows), sheet=sheet(text))

    ec50 = next(one.ec50 for measure, one in found.doses if measure == "fraction")
    assert ec50.value == pytest.approx(0.3, rel=0.35)
    assert ec50.low is not None
    assert ec50.low < 0.3 < (ec50.high or 0)
    assert sum(found.doses[0][1].doses == 0) == 6
    assert next(one for m, one in found.doses if m == "count").ec50.value is None


def test_one_dose_in_two_units_is_one_condition_and_spellings_are_said() -> None:
    rows = drawn_plate(4, 3, 2, lambda _: 0.4)
    words = {"1": "control;;", "2": "CHIR;1;µM", "3": "CHIR;1000;nM"}
    text = "well;condition;dose;unit\n" + "".join(
        f"{w};{words[w[-1]]}\n" for w in wells_of_plate(4, 3)
    )

    found = analyse(count(rows), sheet=sheet(text.replace("A01;control", "A01;Control")))

    assert [(one.condition.name, len(one.condition.members)) for one in found.conditions] == [
        ("Control", 1),
        ("CHIR 1 µM", 8),
        ("control", 3),
    ]
    # A well is called by its dose too, in the unit of its condition.
    assert [found.held(well) for well in found.wells[:4]] == ["Control", "CHIR 1 µM", "CHIR 1 µM",
                                                              "control"]  # fmt: skip
    assert [p.what for p in found.problems] == [
        "'Control' and 'control' differ in capitals or gaps only: they are taken for two "
        "conditions."
    ]


def test_the_same_model_twice_is_the_same_biology() -> None:
    rows = drawn_plate(4, 6, 3, lambda _: 0.4)
    found = analyse(count(rows), baseline=count(rows, role="baseline"))
    assert [one.equivalence.verdict for one in found.agreement if one.equivalence] == ["same"] * 2


@pytest.mark.parametrize(("rows", "columns"), [(2, 3), (8, 12), (16, 24)])
def test_a_map_of_every_format_tells_each_state_apart(rows: int, columns: int) -> None:
    names = wells_of_plate(rows, columns)
    images = [image(name, 1, 3, 7) for name in names[4:]]
    images += [image(names[0], 1, 0, 0, state="failed"), image(names[1], 1, 0, 0, state="empty")]
    images += [image(names[2], 1, 0, 0)]

    found = analyse(count(images))
    info = map_of(found, "P1", "fraction")

    assert info is not None
    assert (info.rows, info.columns) == (rows, columns)
    assert info.of("failed") == [(0, 0)]
    assert info.of("blank") == [(0, 1)]
    assert info.of("none") == [(0, 2)]
    assert len(info.of("absent")) == 1
    assert len(info.of("value")) == rows * columns - 4
    assert info.wells[-1][-1].value == pytest.approx(0.3)


def test_the_title_of_the_maps_colours_stands_above_their_bar() -> None:
    found = analyse(count(drawn_plate(2, 3, 1, lambda _: 0.4)))
    bar = map_figure(map_of(found, "P1", "fraction")).data[0].colorbar
    # Hung from the figure's rim ("container"), Plotly writes the title upon the bar.
    assert (bar.yref, bar.yanchor) == ("paper", "bottom")


def test_differences_of_shares_are_drawn_in_points_and_their_words_in_the_themes_colour() -> None:
    rows = drawn_plate(4, 6, 3, lambda _: 0.4, seed=1)
    other = drawn_plate(4, 6, 3, lambda _: 0.6, seed=2)
    found = analyse(count(rows), baseline=count(other, role="baseline"))
    (one,) = [one for one in found.agreement if one.measure == "fraction"]
    info = models_info(found, one)
    figure = altman_figure(info)
    assert figure.data[0].y[0] == pytest.approx(100 * info.points[0][2])
    assert figure.layout.yaxis.title.text.endswith("(points)")
    assert {note.font.color for note in figure.layout.annotations} == {None}


def test_methods_name_the_images_and_no_folder_of_a_server() -> None:
    counting = replace(count([image("A01", 1, 2, 8)]), source="/srv/lab/uploads/upload-1/May.zip")
    text = dict(methods(analyse(counting)))["Counting"]
    assert text.startswith("1 image of May.zip ")
    assert "/srv" not in text


def test_a_map_of_384_wells_is_drawn_as_a_file_for_print() -> None:
    found = analyse(count(drawn_plate(16, 24, 1, lambda _: 0.4)))
    drawn = to_bytes(alone(panels_of(found)["map-1"], 178), "pdf")
    assert drawn.startswith(b"%PDF")


def test_the_control_stands_first_among_the_conditions() -> None:
    rows = drawn_plate(3, 2, 2, lambda _: 0.4)
    text = "well,condition\n" + "".join(
        f"{w},{'drug' if w.endswith('1') else 'control'}\n" for w in wells_of_plate(3, 2)
    )
    info = strips_of(analyse(count(rows), sheet=sheet(text)), "fraction")
    assert [strip.name for strip in info.strips] == ["control", "drug"]
    assert [len(strip.wells) for strip in info.strips] == [3, 3]


def test_a_labelled_dataset_tells_how_sure_its_counts_are(tmp_path: Path) -> None:
    """Counted by somebody who misses one organoid an image: bias -1, slope 1."""
    workspace = Workspace.open(tmp_path / "workspace")
    dataset = copy_example(workspace, images=8, size=64)
    labels = labels_of(workspace, CountConfig(dataset="example", model="m"))
    assert labels == {record.id: dict(record.counts) for record in dataset.images}
    assert labels_of(workspace, CountConfig(source=tmp_path, model="m")) is None

    rows = [
        replace(image("A01", n, 0, 0), image=name, counts={
            "crypt": counts["crypt"], "no_crypt": counts["no_crypt"] - 1,
        })
        for n, (name, counts) in enumerate(labels.items())
        if counts["no_crypt"]
    ]  # fmt: skip
    every, crypt, other = analyse(count(rows), truth=labels).calibration

    assert crypt.found == crypt.labelled
    assert other.labelled - other.found == len(rows)
    assert every.limits is not None
    assert every.limits.bias.value == -1
    assert every.limits.slope is not None
    assert every.limits.slope.value == pytest.approx(1)


def test_images_without_wells_are_summed_once_however_many_there_are(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    rows = [replace(image("A01", n, 1, 2), plate="", well="", series="in") for n in range(300)]
    summed: list[int] = []
    whole = fractions.wells_of
    monkeypatch.setattr(fractions, "wells_of", lambda i, c: summed.append(len(i)) or whole(i, c))

    sizes = fractions.sizes_of(count(rows))

    assert summed == [300]  # else ten thousand images would be ten thousand sums of them
    assert [len(found) for found in sizes.of.values()] == [900]
