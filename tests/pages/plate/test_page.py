"""The Plate page: from nothing to a count, its wells, conditions, agreement and files."""

from __future__ import annotations

import io
import re
import shutil
import zipfile
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs

import openpyxl
import pytest
from streamlit.testing.v1 import AppTest

from msip_core.config import CountConfig, ImageRecipe, ImportConfig, SplitConfig
from msip_core.data.importing import import_dataset
from msip_core.data.png import encode_png
from msip_core.data.questions import Import
from msip_core.data.synthetic import draw_field
from msip_core.data.writing import WIDEST_PIXEL, rename_dataset
from msip_core.plates.outcome import analysis_of
from msip_core.runs.service import RunService
from msip_core.runs.state import RunState
from msip_core.workspace import Workspace
from pages.plate.choosing import Count
from pages.plate.files import _book, _csv, _report, labels_in
from pages.plate.pictures import imported
from tests.pages import lab_samples
from tests.pages.conftest import Open, no_crash, words
from tests.pages.fake_compute import FakeCompute
from tests.pages.plate_samples import SHEET, count_run
from tests.pages.test_chinese import english_of


@pytest.fixture
def counted(workspace: Workspace, full: str) -> str:
    run_id = count_run(workspace, baseline=True)
    sheet = RunService(workspace).run_dir(run_id) / "sample_sheet.csv"
    sheet.write_text(SHEET, encoding="utf-8")
    return run_id


def table(test: AppTest, column: str) -> list[dict[str, Any]]:
    """The rows of the first table with a column of that name."""
    found = next(item.value for item in test.dataframe if column in item.value.columns)
    return list(found.to_dict("records"))


def metric(test: AppTest, label: str) -> str:
    return next(str(item.value) for item in test.metric if str(item.label).startswith(label))


@pytest.mark.parametrize("end", ["..", ".", "../..", "x" * 300])
def test_an_address_opens_one_upload_not_all(
    workspace: Workspace, full: str, open_page: Open, end: str
) -> None:
    kept = workspace.uploads / "upload-0123456789abcdef" / "A1.png"
    kept.parent.mkdir()
    kept.write_bytes(encode_png(draw_field(0, 0, 64).pixels))

    test = open_page("plate", view="start", way="browser", source=f"{kept.parent.name}/{end}")
    no_crash(test)
    assert "Uploaded before" not in words(test)
    test = open_page("plate", view="start", way="browser", source=f"{kept.parent.name}/{kept.name}")
    assert "Uploaded before: A1.png" in words(test)


def test_without_a_model_the_page_leads_to_one(open_page: Open) -> None:
    test = open_page("plate")
    no_crash(test)
    assert "No model can count yet." in words(test)


def test_a_count_of_a_dataset_is_put_into_the_queue(
    workspace: Workspace, full: str, open_page: Open
) -> None:
    test = open_page("plate", way="dataset")
    no_crash(test)
    test.text_input(key="plate:group").set_value("(A)").run()

    test.button(key="plate:start").click().run()

    no_crash(test)
    (row,) = RunService(workspace).list(kind="count")
    assert row.state is RunState.QUEUED
    assert (row.config.dataset, row.config.group) == ("example", "(A)")
    assert row.config.model in (lab_samples.BASELINE, lab_samples.LIGHTER)
    assert "The first counts appear here" in words(test)


def test_a_pixel_of_metres_a_broken_pattern_and_a_name_of_blanks_are_not_taken(
    workspace: Workspace, full: str, open_page: Open
) -> None:
    test = open_page("plate", view="start", way="dataset", dataset="example")
    assert test.number_input("plate:pixel").max == WIDEST_PIXEL
    test.text_input(key="plate:group").set_value("(A").run()
    assert "is not a regular expression" in test.error[0].value
    test.text_input(key="plate:group").set_value("").run()
    next(f for f in test.text_input if f.label == "Name of the count").set_value("  ")
    test.button("plate:start").click().run()

    no_crash(test)
    (run,) = RunService(workspace).list(kind="count")
    assert run.name.strip()


def test_the_lighter_model_is_offered_its_baseline_as_the_reference(
    workspace: Workspace, full: str, open_page: Open
) -> None:
    test = open_page("plate", way="dataset", model=lab_samples.LIGHTER)
    assert test.selectbox(key=f"plate:baseline:{lab_samples.LIGHTER}").value == lab_samples.BASELINE


def test_wells_are_counted_and_what_is_no_number_is_told_apart(
    counted: str, open_page: Open
) -> None:
    test = open_page("plate", count=counted)

    no_crash(test)
    wells = {row["Well"]: row for row in table(test, "Fields")}
    assert len(wells) == 24
    # Column 2, fields 1 to 3: 3 + 2 + 3 crypts, 7 others each.
    assert (wells["P1 A02"]["crypt"], wells["P1 A02"]["no_crypt"]) == (8, 21)
    assert wells["P1 A02"]["Crypt fraction"] == "27.6 %"
    assert [wells[f"P1 D0{n}"]["State"] for n in (4, 5, 6)] == ["nothing found", "blank", "failed"]
    assert wells["P1 D06"]["crypt"] is None or wells["P1 D06"]["crypt"] != wells["P1 D06"]["crypt"]
    assert metric(test, "Could not be read") == "3"
    assert metric(test, "Blank") == "3"
    assert "Taken for wells" in words(test)


def test_conditions_are_compared_with_the_control_of_the_sheet(
    counted: str, open_page: Open
) -> None:
    test = open_page("plate", count=counted, part="conditions")

    no_crash(test)
    assert test.selectbox(key="plate:control").value == "control"
    rows = {row["Condition"]: row for row in table(test, "Verdict")}
    assert rows["CHIR 4 µM"]["Verdict"] == "not clear"  # 32 of 116 against 20 of 116
    assert rows["CHIR 32 µM"]["Verdict"] == "clear"  # 51 of 87
    assert rows["CHIR 32 µM"]["Difference"].startswith("+")
    assert "points" in rows["CHIR 32 µM"]["Difference"]
    # 4 wells of the control, 3 of the last column since one has failed.
    assert rows["CHIR 64 µM"]["Units"] == "3 / 4"
    assert "Dose and response" in words(test)


def test_another_control_is_chosen_and_kept_in_the_address(counted: str, open_page: Open) -> None:
    test = open_page("plate", count=counted, part="conditions")

    test.selectbox(key="plate:control").set_value("CHIR 4 µM").run()

    no_crash(test)
    assert "control" in {row["Condition"] for row in table(test, "Verdict")}
    assert test.query_params["control"] == "CHIR 4 µM"


def test_a_row_of_the_sheet_that_is_wrong_is_named(
    workspace: Workspace, counted: str, open_page: Open
) -> None:
    path = RunService(workspace).run_dir(counted) / "sample_sheet.csv"
    path.write_text(SHEET + "H12;control;;\nA1x;control;;\n", encoding="utf-8")

    test = open_page("plate", count=counted, part="conditions")

    assert "2 remarks on the sample sheet" in "\n".join(str(e.label) for e in test.expander)
    text = "\n".join(str(item.value) for item in test.table)
    assert "there is no image of well H12" in text
    assert "'A1x' is no well" in text


def test_the_models_are_compared_within_the_margin_of_the_reader(
    counted: str, open_page: Open
) -> None:
    test = open_page("plate", count=counted, part="sure")
    no_crash(test)
    (row,) = table(test, "Wells beyond the margin")
    first = row["Wells beyond the margin"]

    test.number_input(key="plate:margin").set_value(50.0).run()

    (row,) = table(test, "Wells beyond the margin")
    assert row["Wells beyond the margin"] == "0 / 21" != first
    assert "These images have no labels" in words(test)


def test_files_hold_what_the_page_shows(counted: str, open_page: Open) -> None:
    test = open_page("plate", count=counted, part="files")
    no_crash(test)
    labels = [str(item.label) for item in test.get("download_button")]
    assert {"Excel workbook", "CSV files", "CSV with decimal commas", "Report of the plate",
            "Download the figure", "Download the labels"} <= set(labels)  # fmt: skip


def test_labels_for_another_program_hold_every_object_with_its_score(
    workspace: Workspace, counted: str, app: None
) -> None:
    row, run_dir = RunService(workspace).get(counted), RunService(workspace).run_dir(counted)
    found = analysis_of(workspace, run_dir)
    count = Count(row, row.config, run_dir, found)  # type: ignore[arg-type]

    with labels_in(count, "csv") as file, zipfile.ZipFile(file) as archive:
        (name,) = (name for name in archive.namelist() if name.endswith(".csv"))
        lines = archive.read(name).decode().splitlines()

    objects = [line for line in lines[1:] if line.split(",")[1]]  # else an image without any
    assert len(objects) == len(found.counting.objects) > 100
    assert "score" in lines[0]


def test_the_files_are_made_of_the_analysis(workspace: Workspace, counted: str) -> None:
    row = RunService(workspace).get(counted)
    run_dir = RunService(workspace).run_dir(counted)
    count = Count(row, row.config, run_dir, analysis_of(workspace, run_dir))  # type: ignore[arg-type]

    book = openpyxl.load_workbook(io.BytesIO(_book(count)))
    assert book["Wells"].max_row == 25
    with zipfile.ZipFile(io.BytesIO(_csv(count, comma=True))) as archive:
        assert b";" in archive.read("wells.csv")
    assert b"Does the lighter model give the same biology?" in _report(count)


def test_a_count_that_is_not_done_says_of_how_many_images_it_speaks(
    workspace: Workspace, full: str, open_page: Open
) -> None:
    run_id = count_run(workspace, state=RunState.INTERRUPTED, counted=30)

    test = open_page("plate", count=run_id)

    no_crash(test)
    assert "30 of 72 images are counted so far" in words(test)
    assert len(table(test, "Fields")) == 10


def test_a_failed_count_says_why(workspace: Workspace, full: str, open_page: Open) -> None:
    run_id = count_run(workspace, state=RunState.FAILED, counted=0)
    test = open_page("plate", count=run_id)
    assert not test.exception
    assert any("The disk is full." in str(item.value) for item in test.error)


def test_a_link_to_a_count_that_is_gone_says_so(counted: str, open_page: Open) -> None:
    test = open_page("plate", count="count-gone")

    said = [item.value.replace("\\", "") for item in test.error]
    assert said == ["The count 'count-gone' of this link is not in this lab."]


def test_a_link_to_a_count_says_that_it_is_gone_where_there_is_no_other(
    full: str, open_page: Open
) -> None:
    test = open_page("plate", count="count-gone")

    said = [item.value.replace("\\", "") for item in test.error]
    assert said == ["The count 'count-gone' of this link is not in this lab."]
    assert not test.run().error


def test_a_link_to_a_run_that_counts_nothing_says_so(
    workspace: Workspace, full: str, open_page: Open
) -> None:
    count_run(workspace)
    test = open_page("plate", count=full)
    assert not test.exception
    assert len(test.error) == 1
    assert "counts nothing" in re.sub(r"\\", "", str(test.error[0].value))


def test_a_model_without_a_class_for_crypts_asks_for_one(
    workspace: Workspace, full: str, open_page: Open
) -> None:
    run_id = count_run(workspace, classes=("cyst", "spheroid"))
    test = open_page("plate", count=run_id)
    no_crash(test)
    assert any(str(item.label) == "Share of which class?" for item in test.selectbox)


@pytest.mark.parametrize("part", ["plate", "pictures", "conditions", "sure", "files"])
def test_every_part_of_a_count_is_chinese(counted: str, open_page: Open, part: str) -> None:
    test = open_page("plate", count=counted, part=part, lang="zh_CN")
    no_crash(test)
    left = [text for text in english_of(test) if not re.search("Count of plate", text)]
    assert left == []


def test_another_well_is_chosen_without_the_image_of_the_last_one(
    counted: str, open_page: Open
) -> None:
    test = open_page("plate", count=counted, part="pictures", image="P1/B02_f2.png")
    assert test.selectbox(key="choose::well").value == "P1 B02"
    assert test.selectbox(key="choose::image").value == "P1/B02_f2.png"

    test.selectbox(key="choose::well").set_value("P1 C03").run()

    no_crash(test)
    assert test.selectbox(key="choose::image").value == "P1/C03_f1.png"
    assert [row["Number"] for row in table(test, "At the border")] == list(range(1, 11))


def test_another_count_is_chosen_without_the_control_of_the_last_one(
    workspace: Workspace, counted: str, open_page: Open
) -> None:
    other = count_run(workspace, name="Another plate")
    test = open_page("plate", count=counted, part="conditions", control="CHIR 4 µM")
    assert test.selectbox(key="plate:control").value == "CHIR 4 µM"

    test.selectbox(key="choose::count").set_value(other).run()

    no_crash(test)
    assert not test.error
    assert "control" not in test.query_params


def links(test: AppTest) -> dict[str, str]:
    """Where the page's links lead, by their words."""
    return {link.proto.label: link.proto.query_string for link in test.get("page_link")}


def test_a_wrong_box_leads_to_a_dataset_of_the_very_images(
    workspace: Workspace, counted: str, open_page: Open, compute: FakeCompute
) -> None:
    """As the count saw them: the model's way with grey values, the planes that were asked for."""
    recipe = ImageRecipe(clahe=True)
    lab_samples.add_model(workspace, lab_samples.LIGHTER, recipe=recipe)
    compute.hold.add(Import)
    test = open_page("plate", count=counted, part="pictures")
    assert not [label for label in links(test) if label.startswith("Correct the boxes")]

    test.button(key="plate:correct").click().run()

    no_crash(test)
    (asked,) = compute.asked_of(Import)
    assert (asked.config.source, asked.config.name) == (workspace.root / "plate", "plate")
    assert asked.config.recipe == recipe


def test_the_settings_of_a_count_are_those_of_its_dataset(tmp_path: Path) -> None:
    count = CountConfig(
        source=tmp_path, model="m", channel="GFP", stack="max", every=3, pixel_size_um=0.5,
        group="(A)",
    )  # fmt: skip

    made = imported(count, "name", ImageRecipe(clahe=True))

    assert made == ImportConfig(
        source=tmp_path, name="name", stack="max", every=3, pixel_size_um=0.5,
        recipe=ImageRecipe(clahe=True, channel="GFP"), split=SplitConfig(group_pattern="(A)"),
        keep_unlabelled=True,
    )  # fmt: skip


def test_images_that_are_a_dataset_already_are_corrected_there(
    workspace: Workspace, counted: str, open_page: Open
) -> None:
    source = workspace.root / "plate"
    drawn = draw_field(1, 0, 64)
    (source / "A01_f1.png").write_bytes(encode_png(drawn.pixels))
    import_dataset(workspace, ImportConfig(source=source, name="mine"))

    test = open_page("plate", count=counted, part="pictures")

    no_crash(test)
    address = links(test)["Correct the boxes of this image in mine"]
    assert parse_qs(address.lstrip("?")) == {"dataset": ["mine"], "by": [lab_samples.LIGHTER]}
    assert not [button for button in test.button if button.key == "plate:correct"]


def test_a_count_of_a_dataset_is_corrected_in_it(
    workspace: Workspace, full: str, open_page: Open
) -> None:
    count = count_run(workspace, dataset="example")

    test = open_page("plate", count=count, part="pictures", image="P1/B02_f2.png")

    no_crash(test)
    address = links(test)["Correct the boxes of this image in example"]
    assert parse_qs(address.lstrip("?"))["image"] == ["P1/B02_f2.png"]


def test_the_model_whose_boxes_are_looked_at_is_the_one_that_suggests(
    workspace: Workspace, full: str, open_page: Open
) -> None:
    count = count_run(workspace, dataset="example", baseline=True)
    rename_dataset(workspace, "example", "Plates of May")
    test = open_page("plate", count=count, part="pictures")
    test.button_group("plate:role").set_value("baseline").run()

    no_crash(test)
    address = links(test)["Correct the boxes of this image in Plates of May"]
    assert parse_qs(address.lstrip("?"))["by"] == [lab_samples.BASELINE]


def test_a_count_can_be_read_when_the_dataset_of_its_images_was_deleted(
    workspace: Workspace, full: str, open_page: Open
) -> None:
    count = count_run(workspace, dataset="example")
    before = metric(open_page("plate", count=count), "Images")
    shutil.rmtree(workspace.dataset_dir("example"))

    test = open_page("plate", count=count)
    assert not test.error
    assert metric(test, "Images") == before

    for part in ("pictures", "sure", "files"):
        test = open_page("plate", count=count, part=part)
        assert not test.exception
        assert "The dataset of these images was deleted since." in words(test)
    assert not [label for label in links(test) if label.startswith("Correct the boxes")]
