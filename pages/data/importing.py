"""Bring in images: from the browser, from the server's disk, or drawn by computer."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import streamlit as st

from msip_core.config import ImageRecipe, ImportConfig, SplitConfig
from msip_core.data.encodings import TEXTS
from msip_core.data.grouping import find_groups
from msip_core.data.manifest import NO_LABELS, SourceInfo
from msip_core.data.micrographs import SUFFIXES
from msip_core.data.questions import Draw, Import, Imported, Inspect
from msip_core.data.verdicts import marks_nothing
from msip_core.data.writing import WIDEST_PIXEL
from msip_core.errors import InputError
from msip_core.language import mark, t, tn, told
from msip_core.markdown import md, rich
from msip_core.settings import get_settings
from pages.data.uploads import left_uploads
from pages.kit.choose import choose_view, remember
from pages.kit.jobs import ask, start_task, task_begun, task_panel
from pages.kit.layout import reasons_table
from pages.kit.new_dataset import checked_name, free_name, stack_fields
from pages.kit.upload import files_field, server_path, upload_of
from pages.kit.words import LABEL_FORMS, labelled

_WAYS = {
    "browser": mark("Upload from my computer"),
    "server": mark("Folder on the server"),
    "drawn": mark("Drawn example"),
}
_OWN = ["czi", "lif", "nd2"]  # microscopes' own files, each of which may hold many images
# All that is read: what a browser is not told of, it leaves out of a folder without a word.
KINDS = ["zip", *(suffix.removeprefix(".") for suffix in (*SUFFIXES, *TEXTS)), *_OWN]


def add_images(taken: set[str]) -> None:
    """The whole way in: choose a source, look at what it holds, import it."""
    if task_begun():
        _open_when_done(task_panel(Imported, t("Bringing in the images"), "import"))
        return
    way = choose_view(
        _WAYS, "browser", "data", param="way", label=mark("Where are the images?"), show_label=True
    )
    if way == "drawn":
        _draw(taken)
        return
    source = _from_browser() if way == "browser" else _from_server()
    if source is None:
        return
    found = ask(Inspect(path=source), label=t("Look into it"), place="inspect", auto=True)
    if found is not None:
        _describe(found)
        _import_form(source, found, taken)


def _from_browser() -> Path | None:
    as_folder = st.toggle(t("Upload a whole folder"), key="as_folder", bind="query-params")
    label = (
        t("A folder with images, and labels where there are any")
        if as_folder
        else t("Images, or a zip with images and labels")
    )
    files = files_field(label, KINDS, "upload", as_folder=as_folder)
    text = t(
        "Images: PNG, JPEG, BMP, TIFF (8 or 16 bit, grey or RGB), OME-TIFF, CZI, LIF, ND2; "
        "OME-Zarr in a zip. Boxes: {forms}, CSV, or masks; the form is found by itself. Up "
        "to {limit} MB here; beyond that, choose “{way}”.",
        forms=LABEL_FORMS,
        limit=f"{get_settings().upload_limit_mb:,}",
        way=t(_WAYS["server"]),
    )
    st.caption(md(text))
    if len(files) > 1 and (zips := [f.name for f in files if f.name.lower().endswith(".zip")]):
        raise InputError("Bring in '{name}' alone: a zip is a whole dataset.", name=zips[0])
    kept = upload_of(files)
    left_uploads(kept)
    return kept


def _from_server() -> Path | None:
    roots = get_settings().import_roots
    if not roots:
        words = t(
            "No folder of the server is open to this page. Whoever runs the lab can allow "
            "some: start it with {setting}.",
            setting=rich("`MSIP_IMPORT_ROOTS='[\"/data\"]'`"),
        )
        st.info(md(words), icon=":material/folder_off:")
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


def _describe(found: SourceInfo) -> None:
    boxes = ", ".join(f"{n:,} {name}" for name, n in found.classes.items()) or t("no boxes")
    text = tn(
        "Found {n} image, {labelled} with labels ({form}): {boxes}.",
        "Found {n} images, {labelled} with labels ({form}): {boxes}.",
        found.images,
        labelled=f"{found.labelled:,}",
        form=told(found.format),
        boxes=boxes,
    )
    if found.labelled:
        st.success(md(text), icon=":material/search:")
    elif found.format == NO_LABELS:
        text = tn(
            "Found {n} new image without labels: a model can count it.",
            "Found {n} new images without labels: a model can count them.",
            found.images,
        )
        st.info(md(text), icon=":material/fiber_new:")
    else:
        st.warning(md(text), icon=":material/label_off:")
    for note in found.notes:
        st.caption(md(told(note)))
    if found.chosen:
        title = tn(
            "{n} image of a microscope file or stack",
            "{n} images of microscope files or stacks",
            len(found.chosen),
        )
        with st.expander(md(title), icon=":material/layers:"):
            reasons_table(
                [{t("Image"): c.file, t("What it is"): told(c.what)} for c in found.chosen],
                alt=t("Images of microscope files and what they are"),
            )
    if not found.problems:
        return
    title = tn(
        "{n} file that cannot be used as it is",
        "{n} files that cannot be used as they are",
        len(found.problems),
    )
    with st.expander(md(title), icon=":material/rule:", expanded=True):
        reasons_table(
            [{t("File"): p.file, t("Why"): told(p.what)} for p in found.problems],
            alt=t("Files with problems and why"),
        )
        st.caption(t("Go on with the others below, or mend these first and upload again."))


def _import_form(source: Path, found: SourceInfo, taken: set[str]) -> None:
    left, right = st.columns(2)
    with left:
        name = st.text_input(
            t("Name of the dataset"),
            value=free_name(_usual_name(source), taken),
            key=f"name:{source}",
            max_chars=64,
            help=t("Letters, digits, '.', '_' and '-'."),
        )
        pixel_size = st.number_input(
            t("Micrometres per pixel"),
            min_value=0.0,
            max_value=WIDEST_PIXEL,
            value=0.0,
            format="%.4f",
            key=f"pixel:{source}",
            help=t(
                "0: taken from the files where they say it (OME-TIFF), else sizes are in pixels."
            ),
        )
    with right:
        mapping = _class_table(found.classes, str(source))
    with st.expander(t("Brightness and contrast"), icon=":material/contrast:"):
        recipe = recipe_fields()
    with st.expander(t("Stacks, channels and time"), icon=":material/layers:"):
        channel, stack, every = stack_fields(channels=found.channels)
    recipe = recipe.model_copy(update={"channel": channel})
    new = found.format == NO_LABELS
    title = t("Wells, plates and donors") if new else t("Parts for learning and testing")
    with st.expander(md(title), icon=":material/splitscreen:"):
        split = SplitConfig(group_pattern=group_field()) if new else split_fields()
    config = ImportConfig(
        source=source,
        name=checked_name(name, taken),
        class_map=mapping,
        pixel_size_um=pixel_size or None,
        stack=stack,
        every=every,
        recipe=recipe,
        split=split,
    )
    if st.button(md(_import_words(found)), type="primary", icon=":material/download:"):
        start_task(Import(config=config))
    st.caption(t("Every image is read, checked and scaled once; the source stays as it is."))


def _import_words(found: SourceInfo) -> str:
    """How many images can come in: those with labels, where some have them."""
    if 0 < found.labelled < found.images:
        return tn(
            "Import the {n} image that has a label",
            "Import the {n} images that have labels",
            found.labelled,
        )
    return tn("Import {n} image", "Import {n} images", found.images)


def _class_table(classes: dict[str, int], place: str) -> dict[str, str | None]:
    """Rename, merge or leave out classes; an empty new name leaves the class out."""
    if not classes:
        return {}
    usual = {name: "" if marks_nothing(name) else name for name in classes}
    rows: list[dict[str, str | int]] = [
        {"found": name, "boxes": count, "becomes": usual[name]} for name, count in classes.items()
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
        str(row["found"]): str(row["becomes"] or "").strip() or None
        for row in edited
        if str(row["becomes"] or "").strip() != usual[str(row["found"])]
    }


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
        md(labelled(t("Side of an image"), "px")), [128, 256, 384, 512, 640], 256
    )
    seed = right.number_input(t("Seed"), min_value=0, value=0, key="draw:seed")
    name = free_name("drawn", taken)
    words = tn("Draw {n} image", "Draw {n} images", count)
    if st.button(md(words), type="primary", icon=":material/draw:", key="draw:start"):
        start_task(Draw(name=name, images=count, size=size, seed=seed))


def _open_when_done(result: Imported | None) -> None:
    """Leave the form for the new dataset's own view."""
    if result is None:
        return
    st.query_params.clear()
    st.query_params["view"] = "look"
    remember("dataset", result.dataset)
    st.rerun()


def _usual_name(source: Path) -> str:
    """What its owner calls it; a folder that was uploaded lies in one with a generated name."""
    return "images" if source.name.startswith("upload-") else source.stem


# --- beside name and planes: brightness, parts ----------------------------------

_GROUPINGS = {
    "auto": mark("Found from the file names"),
    "off": mark("No grouping"),
    "pattern": mark("By a group pattern of my own"),
}
_MIDDLE = 50.0  # per cent: black lies below it, white above


def recipe_fields() -> ImageRecipe:
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
    clahe = right.checkbox(md(labelled(t("Even out local contrast"), "CLAHE")))
    if low >= _MIDDLE or high <= _MIDDLE:
        raise InputError(
            "Black must lie below the 50th percentile and white above it, not at {low} and "
            "{high}: otherwise half of the image, or more, is black or white.",
            low=f"{low:g}",
            high=f"{high:g}",
        )
    return ImageRecipe(
        scope=scope, low_percentile=low, high_percentile=high, normalise=normalise, clahe=clahe
    )


def split_fields() -> SplitConfig:
    left, right = st.columns(2)
    test = left.slider(
        md(labelled(t("Kept for the final test"), t("share of all"))), 0.05, 0.5, 0.2, 0.05
    )
    val = left.slider(
        md(labelled(t("Kept to check progress"), t("share of the rest"))), 0.05, 0.5, 0.1, 0.05
    )
    with right:
        pattern = group_field()
    keep = right.checkbox(t("Use train / val / test folders where the source has them"))
    seed = left.number_input(
        t("Seed"), min_value=0, value=0, help=t("The same seed, the same split.")
    )
    return SplitConfig(
        test_fraction=test, val_fraction=val, seed=seed, group_pattern=pattern, keep_existing=keep
    )


def group_field() -> str | None:
    """Which images are of one well: a pattern, "" for none, None to find one.

    Raises:
        ConfigError: what was typed is no pattern.
    """
    grouping = st.radio(
        t("Images of one well, plate or donor stay together"),
        ["auto", "off", "pattern"],
        format_func=lambda name: md(t(_GROUPINGS[name])),
    )
    pattern: str | None = {"auto": None, "off": ""}.get(grouping)
    if grouping == "pattern":
        pattern = st.text_input(t("Regular expression; its first group names the well"), r"(\w+)_")
        find_groups(["name"], pattern)  # one that is none is said here, not by the import
    return pattern
