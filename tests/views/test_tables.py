"""Rows of the tables, counted by hand, and their three spellings."""

from __future__ import annotations

import csv
import io

from msip_core.boxes import Detection
from msip_core.views import tables
from msip_core.ways import Latency
from tests.views import samples


def found(cls: int, number: int) -> Detection:
    return Detection(cls=cls, x1=10, y1=20, x2=30, y2=50, score=0.91234, number=number)


def test_both_models_counts_stand_side_by_side_and_add_up_per_well():
    compare = samples.compare_result(images=3).images

    per_image = tables.compare_count_rows(compare, samples.CLASSES)
    per_well = tables.compare_count_rows(compare, samples.CLASSES, by_group=True)

    assert per_image[0] == {
        "image": "images/img0.png", "group": "well0", "baseline_crypt": 1, "baseline_no_crypt": 2,
        "baseline_total": 3, "pruned_crypt": 3, "pruned_no_crypt": 0, "pruned_total": 3,
        "both": 1, "class_changed": 1, "lost": 1, "new": 1,
    }  # fmt: skip
    assert [row["group"] for row in per_well] == ["well0", "well1"]
    assert per_well[0]["baseline_total"] == 6  # img0 and img2
    assert per_well[1]["baseline_total"] == 3


def test_crypt_fraction_and_size_stand_beside_the_counts():
    compare = samples.compare_result(images=3).images
    scale = tables.Scale({f"img{n}": 0.5 for n in range(3)})

    row = tables.compare_count_rows(compare, samples.CLASSES, scale=scale)[0]
    well = tables.compare_count_rows(compare, samples.CLASSES, by_group=True, scale=scale)[0]

    assert row["baseline_crypt_fraction"] == 0.3333
    assert row["pruned_crypt_fraction"] == 1.0
    sizes = [tables.Scale({"a": None}).size("a", d) for d in samples.detections()[0]]
    assert row["baseline_median_size_um"] == round(sorted(sizes)[1] * 0.5, 2)
    assert well["baseline_median_size_um"] == row["baseline_median_size_um"]  # the same twice


def test_one_image_without_pixel_size_makes_all_sizes_pixels():
    compare = samples.compare_result(images=2).images

    rows = tables.pair_rows(
        compare, samples.CLASSES, scale=tables.Scale({"img0": 0.5, "img1": None})
    )

    assert "baseline_size_um" not in rows[0]
    assert rows[0]["baseline_size_px"] == 92  # a box of 92 px, not halved
    assert rows[3]["baseline_size_px"] is None  # new: the baseline has no box


def test_no_object_has_no_crypt_fraction():
    assert tables.crypt_fraction([], samples.CLASSES) is None
    assert tables.crypt_fraction([found(0, 1)], ("cyst",)) is None


def test_pairs_name_the_numbers_of_both_pictures():
    rows = tables.pair_rows(samples.compare_result(images=1).images, samples.CLASSES)

    assert [(r["kind"], r["baseline_number"], r["pruned_number"]) for r in rows] == [
        ("both", 1, 1),
        ("class changed", 2, 2),
        ("lost", 3, None),
        ("new", None, 3),
    ]
    assert rows[1]["baseline_class"] == "no_crypt"
    assert rows[1]["pruned_class"] == "crypt"


def test_metrics_say_the_change_of_accuracy_in_points_and_of_cost_in_percent():
    first, final = samples.baseline_record(), samples.final_record()
    rows = tables.metrics_rows(
        (first.metrics, first.cost), (final.metrics, final.cost), samples.compare_result().latency
    )
    table = {row["quantity"]: row for row in rows}

    assert table["mAP50 (val)"] == {
        "quantity": "mAP50 (val)",
        "baseline": "0.904",
        "pruned": "0.884",
        "change": "−0.020",
    }
    assert table["MACs at 640 px"]["change"] == "−66.7 %"
    assert table["AP50 crypt"]["baseline"] == "0.924"
    assert table["latency, PyTorch, processor, fp32, batch 1"]["change"] == "−45.9 %"  # 33 / 61 - 1
    assert table["latency, ONNX Runtime, processor, fp32, batch 1"]["pruned"] == "38.5 ms"


def test_iterations_begin_with_the_baseline_and_keep_seconds_weights_and_alpha():
    rows = tables.iteration_rows(samples.iteration_records(2), samples.baseline_record())

    assert rows[0]["iteration"] == 0
    assert rows[0]["map50_after"] == 0.904
    assert rows[0]["map50_before"] is None
    assert rows[2]["macs_ratio"] == 0.333
    assert rows[2]["seconds_finetuning"] == 83.0
    assert rows[1]["weight_gradient"] == 0.475
    assert rows[1]["alpha"] == 0.56
    assert {tuple(row) for row in rows} == {tuple(rows[0])}  # same columns in the same order


def test_csv_is_read_back_as_it_was_with_commas_quotes_and_empty_cells():
    rows = [{"image": 'a, "b".png', "count": 2}, {"image": "µ.png", "count": None}]

    back = list(csv.DictReader(io.StringIO(tables.to_csv(rows))))

    assert back == [{"image": 'a, "b".png', "count": "2"}, {"image": "µ.png", "count": ""}]


def test_markdown_escapes_bars():
    assert tables.to_markdown([{"a": "x|y", "b": 1}]) == "| a | b |\n| --- | --- |\n| x\\|y | 1 |\n"


def test_latex_escapes_what_would_break_it_and_aligns_numbers_right():
    text = tables.to_latex([{"class_name": "no_crypt", "share": 12.5}])

    assert text.splitlines()[0] == r"\begin{tabular}{lr}"
    assert r"class\_name & share \\" in text
    assert r"no\_crypt & 12.5 \\" in text


def test_tables_without_rows_are_empty_not_an_error():
    assert tables.to_csv([]) == "\n"
    assert tables.compare_count_rows([], samples.CLASSES) == []


def test_each_measured_time_is_a_row_with_its_way():
    entry = Latency(
        "pruned", "cudagraph", 32, 0.2134, 0.21, 0.22, 50, 1,
        device="cuda:0", precision="fp16", hardware="NVIDIA H200",
    )  # fmt: skip

    assert tables.latency_rows([entry]) == [
        {
            "model": "pruned",
            "device": "GPU NVIDIA H200",
            "format": "PyTorch CUDA graph",
            "precision": "fp16",
            "batch": 32,
            "ms per image": "0.213",
            "95 % interval": "0.210 to 0.220",
        }
    ]
    assert tables.latency_rows([entry], {"pruned": "mine"})[0]["model"] == "mine"
