"""Bring in images: from the browser, from the server's disk, or drawn by computer."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any, Literal

import streamlit as st

from msip_core.config import ImageRecipe, ImportConfig, SplitConfig
from msip_core.errors import InputError
from msip_core.language import mark, say, t, tn
from msip_core.markdown import md, rich
from msip_core.settings import get_settings
from pages.shared.choose import choose_view, remember
from pages.shared.data_report import reasons_table
from pages.shared.jobs import job_panel, start_task, task_begun, task_panel
from pages.shared.lab import lab
from pages.shared.upload import keep_upload, server_path
from pages.shared.words import termed

_WAYS = {
    "browser": mark("Upload from my computer"),
    "server": mark("Folder on the server"),
    "drawn": mark("Drawn example"),
}
_GROUPINGS = {
    "auto": mark("Found from the file names"),
    "off": mark("No grouping"),
    "pattern": mark("By my own pattern"),
}
_KINDS = ["zip", "png", "jpg", "jpeg", "bmp", "tif", "tiff", "txt", "json", "xml", "csv", "yaml"]


def add_images(taken: set[str]) -> None:
    """The whole way in: choose a source, look at what it holds, import it."""
    if task_begun():
        _open_when_done(task_panel(t("Bringing in the images"), "import"))
        return
    way = choose_view(
        _WAYS,
        "browser",
        "data",
        param="way",
        label=mark("Where are the images?"),
        show_label=True,
    )
    if way == "drawn":
        _draw(taken)
        return
    source = _from_browser() if way == "browser" else _from_server()
    if source is None:
        return
    found = job_panel(
        "data-inspect",
        {"path": str(source)},
        label=t("Look into it"),
        place="inspect",
        auto=True,
    )
    if found is not None:
        _describe(found)
        _import_form(source, found, taken)


def _from_browser() -> Path | None:
    limit = get_settings().upload_limit_mb
    as_folder = st.toggle(
        t("Upload a folder instead of a zip"), key="as_folder", bind="query-params"
    )
    files = st.file_uploader(
        t("A folder with images and labels") if as_folder else t("A zip with images and labels"),
        type=_KINDS if as_folder else "zip",
        accept_multiple_files="directory" if as_folder else False,
        max_upload_size=limit,
        key=f"upload:{as_folder}",
        help=md(
            t(
                "Up to {limit} MB in the browser. Larger sets: use a folder on the server.",
                limit=f"{limit:,}",
            )
        ),
    )
    st.caption(
        md(
            t(
                "Images: PNG, JPEG, BMP, TIFF (8 or 16 bit, grey or RGB), OME-TIFF. Boxes: YOLO, "
                "COCO, Pascal VOC or CSV; the form is found by itself. Up to {limit} MB here; "
                "beyond that, choose “{way}”.",
                limit=f"{limit:,}",
                way=t(_WAYS["server"]),
            )
        )
    )
    if files:
        given = files if isinstance(files, list) else [files]
        kept = keep_upload(lab().workspace, given)  # type: ignore[arg-type]
        st.query_params["source"] = kept.relative_to(lab().workspace.uploads).as_posix()
        return kept
    # After a reload the browser's copy is gone, but the one on disk is not.
    name = st.query_params.get("source")
    if name and re.fullmatch(r"upload-[0-9a-f]{16}(/[^/\\]+\.zip)?", name):
        kept = lab().workspace.uploads / name
        return kept if kept.exists() else None
    return None


def _from_server() -> Path | None:
    roots = get_settings().import_roots
    if not roots:
        st.info(
            md(
                t(
                    "No folder of the server is open to this page. Whoever runs the lab can allow "
                    "some: start it with {setting}.",
                    setting=rich("`MSIP_IMPORT_ROOTS='[\"/data\"]'`"),
                )
            ),
            icon=":material/folder_off:",
        )
        return None
    text = st.text_input(
        t("Folder or zip on the server"),
        key="path",
        bind="query-params",
        placeholder=str(roots[0]),
        help=md(
            t(
                "Below {roots}. It is read image by image, at any size.",
                roots=", ".join(map(str, roots)),
            )
        ),
    )
    return server_path(text, roots) if text else None


def _describe(found: dict[str, Any]) -> None:
    boxes = ", ".join(f"{n:,} {name}" for name, n in found["classes"].items()) or t("no boxes")
    text = tn(
        "Found {n} image, {labelled} with labels ({form}): {boxes}.",
        "Found {n} images, {labelled} with labels ({form}): {boxes}.",
        found["images"],
        labelled=f"{found['labelled']:,}",
        form=say(found["format"]),
        boxes=boxes,
    )
    if found["labelled"]:
        st.success(md(text), icon=":material/search:")
    else:
        st.warning(md(text), icon=":material/label_off:")
    for note in found["notes"]:
        st.caption(md(say(note)))
    if not found["problems"]:
        return
    title = tn(
        "{n} file that cannot be used as it is",
        "{n} files that cannot be used as they are",
        len(found["problems"]),
    )
    with st.expander(md(title), icon=":material/rule:", expanded=True):
        reasons_table(
            [{t("File"): p["file"], t("Why"): say(p["what"])} for p in found["problems"]],
            alt=t("Files with problems and why"),
        )
        st.caption(t("Go on with the others below, or mend these first and upload again."))


def _import_form(source: Path, found: dict[str, Any], taken: set[str]) -> None:
    left, right = st.columns(2)
    with left:
        name = st.text_input(
            t("Name of the dataset"),
            value=_free_name(_usual_name(source), taken),
            key=f"name:{source}",
            max_chars=64,
            help=t("Letters, digits, '.', '_' and '-'."),
        )
        pixel_size = st.number_input(
            t("Micrometres per pixel"),
            min_value=0.0,
            value=0.0,
            format="%.4f",
            key=f"pixel:{source}",
            help=t(
                "0: taken from the files where they say it (OME-TIFF), else sizes are in pixels."
            ),
        )
    with right:
        mapping = _class_table(found["classes"], str(source))
    with st.expander(t("Brightness and contrast"), icon=":material/contrast:"):
        recipe = _recipe()
    with st.expander(t("Parts for learning and testing"), icon=":material/splitscreen:"):
        split = _split()
    if name in taken:
        raise InputError(t("There is a dataset '{name}' already: choose another name.", name=name))
    config = ImportConfig(
        source=source,
        name=name,
        class_map=mapping,
        pixel_size_um=pixel_size or None,
        recipe=recipe,
        split=split,
    )
    if st.button(md(_import_words(found)), type="primary", icon=":material/download:"):
        start_task("data-import", config.model_dump(mode="json"))
    st.caption(t("Every image is read, checked and scaled once; the source stays as it is."))


def _import_words(found: dict[str, Any]) -> str:
    """How many images can come in: those with labels, where some have them."""
    if 0 < found["labelled"] < found["images"]:
        return tn(
            "Import the {n} image that has a label",
            "Import the {n} images that have labels",
            found["labelled"],
        )
    return tn("Import {n} image", "Import {n} images", found["images"])


def _class_table(classes: dict[str, int], place: str) -> dict[str, str | None]:
    """Rename, merge or leave out classes; an empty new name leaves the class out."""
    if not classes:
        return {}
    rows: list[dict[str, Any]] = [
        {"found": name, "boxes": count, "becomes": name} for name, count in classes.items()
    ]
    edited = st.data_editor(
        rows,
        key=f"classes:{place}",
        hide_index=True,
        column_config={
            "found": st.column_config.TextColumn(t("Class found"), disabled=True),
            "boxes": st.column_config.NumberColumn(t("Boxes"), disabled=True),
            "becomes": st.column_config.TextColumn(
                t("Becomes"),
                help=t("The same name for two classes merges them; empty leaves it out."),
            ),
        },
    )
    return {
        row["found"]: (row["becomes"] or "").strip() or None
        for row in edited
        if (row["becomes"] or "").strip() != row["found"]
    }


def _recipe() -> ImageRecipe:
    st.caption(
        t(
            "Deep images (12 or 16 bit) are scaled once by percentiles. The recipe is stored with "
            "the dataset and used for training, prediction and explanations alike."
        )
    )
    left, right = st.columns(2)
    low, high = left.slider(
        t("Percentiles that become black and white"), 0.0, 100.0, (1.0, 99.8), 0.1
    )
    scope: Literal["dataset", "image"] = right.radio(
        t("Same scaling for all images?"),
        ["dataset", "image"],
        format_func=lambda name: md(
            t("Yes, as one set") if name == "dataset" else t("No, each on its own")
        ),
        horizontal=True,
    )
    normalise = left.checkbox(t("Stretch 8-bit images too"))
    clahe = right.checkbox(md(termed(t("Even out local contrast"), "CLAHE")))
    channel = left.text_input(
        t("Channel, in files of several"),
        max_chars=100,
        placeholder=t("brightfield, where names tell"),
        help=t("Its number (from 1) or name, such as 2 or Brightfield. The report says which."),
    )
    return ImageRecipe(
        channel=channel.strip() or None,
        scope=scope,
        low_percentile=min(low, 49.9),
        high_percentile=max(high, 50.1),
        normalise=normalise,
        clahe=clahe,
    )


def _split() -> SplitConfig:
    left, right = st.columns(2)
    test = left.slider(
        md(termed(t("Kept for the final test"), t("share of all"))), 0.05, 0.5, 0.2, 0.05
    )
    val = left.slider(
        md(termed(t("Kept to check progress"), t("share of the rest"))), 0.05, 0.5, 0.1, 0.05
    )
    grouping = right.radio(
        t("Images of one well, plate or donor stay together"),
        ["auto", "off", "pattern"],
        format_func=lambda name: md(t(_GROUPINGS[name])),
    )
    pattern: str | None = {"auto": None, "off": ""}.get(grouping)
    if grouping == "pattern":
        pattern = right.text_input(
            t("Regular expression; its first group names the well"), r"(\w+)_"
        )
    keep = right.checkbox(t("Use train / val / test folders where the source has them"))
    seed = left.number_input(
        t("Seed"), min_value=0, value=0, help=t("The same seed, the same split.")
    )
    return SplitConfig(
        test_fraction=test,
        val_fraction=val,
        seed=seed,
        group_pattern=pattern,
        keep_existing=keep,
    )


def _draw(taken: set[str]) -> None:
    st.markdown(
        t(
            "Organoids with and without crypts, drawn by computer: boxes, outlines and crypt "
            "borders are known exactly, so the whole way can be tried in minutes."
        )
    )
    left, middle, right = st.columns(3)
    count = left.slider(t("Images"), 12, 200, 24, 4)
    size = middle.select_slider(
        md(termed(t("Side of an image"), "px")),
        [128, 256, 384, 512, 640],
        256,
    )
    seed = right.number_input(t("Seed"), min_value=0, value=0, key="draw:seed")
    name = _free_name("drawn", taken)
    params = {"name": name, "images": count, "size": size, "seed": seed}
    words = tn("Draw {n} image", "Draw {n} images", count)
    if st.button(md(words), type="primary", icon=":material/draw:", key="draw:start"):
        start_task("data-draw", params)


def _open_when_done(result: dict[str, Any] | None) -> None:
    """Leave the form for the new dataset's own view."""
    if result is None:
        return
    st.query_params.clear()
    st.query_params["view"] = "look"
    remember("dataset", str(result["dataset"]))
    st.rerun()


def _usual_name(source: Path) -> str:
    """What its owner calls it; a folder that was uploaded lies in one with a generated name."""
    return "organoids" if source.name.startswith("upload-") else source.stem


def _free_name(wanted: str, taken: set[str]) -> str:
    stem = re.sub(r"[^A-Za-z0-9._-]+", "-", wanted).strip("-._")[:56] or "dataset"
    names = [stem, *(f"{stem}-{number}" for number in range(2, 1000))]
    return next(name for name in names if name not in taken)
