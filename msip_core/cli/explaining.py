"""`explain`: why two models mark an object, with the numbers on its border and a figure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

import typer
from numpy.typing import NDArray

from msip_core.arrays import read_arrays
from msip_core.boxes import Box
from msip_core.cli.asking import (
    Json,
    do_job,
    image_files,
    image_source,
    model_source,
    prefixed,
    short_names,
)
from msip_core.cli.console import say, table
from msip_core.cli.look import ImageSize
from msip_core.cli.targets import folder_target
from msip_core.cli.verbs import Answer, Session, verb
from msip_core.data.dataset import open_dataset
from msip_core.errors import NotFoundError
from msip_core.views import sentences, tables
from msip_core.workspace import Workspace, write_json, write_text

SIDES = ("baseline", "pruned")
SIDE_WORDS = {"baseline": "Baseline", "pruned": "Pruned"}
METHOD_WORDS = {"gradcam": "Grad-CAM", "layercam": "LayerCAM", "eigencam": "EigenCAM"}
SCORES = ("ber", "enrichment", "energy_in_box", "hit")


@dataclass(frozen=True, slots=True)
class Explained:
    """One object, explained for both models.

    Attributes:
        results: side -> kind ("cam" or "shap") -> the job's result, files below `folder`.
    """

    name: str
    folder: Path
    box: Box
    label: str
    results: dict[str, dict[str, Json]]

    def document(self) -> Json:
        return {
            "image": self.name,
            "class": self.label,
            "box": self.box.model_dump(),
            "folder": str(self.folder),
            **self.results,
        }


def register(app: typer.Typer) -> None:
    """Add the verb to the root of the command line."""
    verb(app, "explain")(explain)


def explain(
    session: Session,
    *,
    paths: Annotated[list[Path], typer.Argument(help="Micrographs, or folders of them.")],
    baseline: Annotated[str, typer.Option(help="A model, a .pt file, or RUN/STEP.")],
    pruned: Annotated[str, typer.Option(help="A model, a .pt file, or RUN/STEP.")],
    out: Annotated[Path, typer.Option(help="Folder for the results.")],
    method: Annotated[
        Literal["gradcam", "layercam", "eigencam"], typer.Option(help="Kind of heat map.")
    ] = "gradcam",
    shap: Annotated[bool, typer.Option(help="SHAP is slow: leave it out with --no-shap.")] = True,
    samples: Annotated[
        int, typer.Option(min=1, max=100_000, help="Most evaluations of the model for SHAP.")
    ] = 1024,
    features: Annotated[int, typer.Option(min=2, max=10_000, help="Patches for SHAP.")] = 50,
    imgsz: ImageSize = None,
) -> Answer:
    """Grad-CAM, SHAP, boundary scores and figures, one object a micrograph.

    The object is the largest labelled crypt of an image of a dataset, else the best detection of
    the baseline.
    """
    out = folder_target(out)
    workspace, files = session.isolated_workspace(), image_files(paths)
    sides = {
        "baseline": model_source(workspace, baseline),
        "pruned": model_source(workspace, pruned),
    }
    options: Json = {"method": method, "imgsz": imgsz}
    shap_options = {"samples": samples, "features": features} if shap else None
    explained = []
    for file, name in zip(files, short_names(files)):
        say(f"{name} …")
        question = {**image_source(workspace, file), **options}
        try:
            found = explain_object(workspace, sides, question, shap_options, out / name)
        except NotFoundError as nothing:  # an empty micrograph is no reason to leave the others
            say(f"Left out: {nothing.message}")
            continue
        draw(workspace, sides, question, found, out / f"{name}.pdf")
        explained.append(found)
    if not explained:
        raise NotFoundError("The baseline finds no object on these micrographs.")
    rows = score_rows(explained)
    write_text(out / "scores.csv", tables.to_csv(rows))
    document = {
        "explained": [item.document() for item in explained],
        "artifacts": {"scores": str(out / "scores.csv"), "figures": str(out)},
    }
    write_json(out / "explain.json", document)
    attention = [
        sentences.attention_sentence(*(item.results[side]["cam"]["scores"] for side in SIDES))
        for item in explained
    ]
    lines = [table(tuple(rows[0]), [tuple(row.values()) for row in rows]), *attention]
    return Answer(document, "\n".join([*lines, f"Figures and scores.csv are in {out}"]))


def explain_object(
    workspace: Workspace,
    sides: dict[str, Json],
    question: Json,
    shap_options: Json | None,
    folder: Path,
) -> Explained:
    """Ask both models about the same object; without a box, the baseline chooses it.

    Args:
        sides: "baseline" and "pruned", as jobs name models.
        question: the image, and options of the heat map.
        shap_options: None leaves SHAP out.
    """
    results: dict[str, dict[str, Json]] = {side: {} for side in SIDES}
    question = {**question, **prefixed(sides["baseline"], "reference")}
    for side in SIDES:
        place = folder / side
        found = do_job(workspace, "gradcam", {**question, **sides[side]}, place / "cam")
        results[side]["cam"] = found
        question = {**question, "box": found["box"]}
        if shap_options is not None:
            asked = {**question, **sides[side], **shap_options}
            results[side]["shap"] = do_job(workspace, "shap", asked, place / "shap")
    first = results["baseline"]["cam"]
    return Explained(folder.name, folder, Box.model_validate(first["box"]), first["class"], results)


def score_rows(explained: Sequence[Explained]) -> list[tables.Row]:
    """Border scores, one row an object and model; what has no value stays empty."""
    return [
        {
            "image": item.name,
            "class": item.label,
            "model": side,
            **{key: _rounded(parts["cam"]["scores"].get(key)) for key in SCORES},
            "border": parts["cam"]["scores"].get("contour"),
            "shap_c_at_10": _rounded(parts.get("shap", {}).get("c_at_10")),
        }
        for item in explained
        for side, parts in item.results.items()
    ]


def draw(
    workspace: Workspace, sides: dict[str, Json], question: Json, found: Explained, path: Path
) -> Path:
    """The figure of one object: micrograph, then heat map and SHAP of both models."""
    from msip_core.detector.sources import load_source_image, load_source_model
    from msip_core.views import paper, paper_pictures

    _, facts = load_source_model(workspace, sides["baseline"])
    method = METHOD_WORDS[question.get("method") or "gradcam"]
    panels = []
    for side in SIDES:
        parts = found.results[side]
        ber = parts["cam"]["scores"].get("ber")
        heat = _array(found.folder / side / "cam" / parts["cam"]["heat"], "heat")
        scores = {} if ber is None else {"BER": float(ber)}
        panels.append(paper_pictures.HeatPanel(SIDE_WORDS[side], method, heat, False, scores))
        if "shap" in parts:
            segments = found.folder / side / "shap" / parts["shap"]["segments"]
            values = _array(segments, "values")[_array(segments, "segments")]
            panels.append(paper_pictures.HeatPanel(SIDE_WORDS[side], "SHAP", values, True))
    info = paper_pictures.ExplanationInfo(
        pixels=load_source_image(workspace, question, facts.recipe),
        box=found.box,
        label=found.label,
        panels=panels,
        **_known_of(workspace, question, found.box),
    )
    return paper.save(paper_pictures.explanation_figure(info), path)


def _known_of(workspace: Workspace, question: Json, box: Box) -> Json:
    """Outline of the object and pixel size, for an image of a dataset."""
    if "dataset" not in question:
        return {}
    from msip_core.explain.subject import drawn_borders

    dataset = open_dataset(workspace, question["dataset"])
    record = dataset.image(question["image"])
    return {
        "outline": drawn_borders(dataset, record, box)[0],
        "pixel_size_um": record.pixel_size_um or dataset.pixel_size_um,
    }


def _array(path: Path, name: str) -> NDArray[Any]:
    return read_arrays(path)[name]


def _rounded(value: float | bool | None) -> float | bool | None:
    return round(value, 4) if isinstance(value, float) else value
