"""`explain`: why two models mark an object, with the numbers on its border and a figure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, TypedDict

import typer

from msip_core import catalog
from msip_core.arrays import read_arrays
from msip_core.borders import Contour
from msip_core.boxes import Box
from msip_core.cli.asking import ask, image_files, image_source, model_source, short_names
from msip_core.cli.console import say, table
from msip_core.cli.plate_options import ImageSize
from msip_core.cli.targets import folder_target
from msip_core.cli.verbs import Answer, Session
from msip_core.data.dataset import open_dataset
from msip_core.data.subject import drawn_borders
from msip_core.errors import NotFoundError
from msip_core.questions.looking import GradCam, HeatMap, Shap, ShapValues
from msip_core.questions.sources import DatasetImage, ImageOf, ModelOf
from msip_core.questions.speed import SIDES, Side
from msip_core.views import sentences, tables
from msip_core.workspace import Workspace, write_json, write_text

SIDE_WORDS: dict[Side, str] = {"baseline": "Baseline", "pruned": "Pruned"}
SCORES = ("ber", "enrichment", "energy_in_box", "hit")


@dataclass(frozen=True, slots=True)
class Maps:
    """What one model says of an object: a heat map, and SHAP values where they were asked for.

    Attributes:
        folder: holds the files of the answers, in "cam" and "shap".
    """

    folder: Path
    cam: HeatMap
    shap: ShapValues | None

    def document(self) -> dict[str, object]:
        parts = {"cam": self.cam} | ({"shap": self.shap} if self.shap else {})
        return {name: part.model_dump(mode="json", by_alias=True) for name, part in parts.items()}


@dataclass(frozen=True, slots=True)
class Explained:
    """One object, explained for both models."""

    name: str
    folder: Path
    maps: dict[Side, Maps]

    @property
    def box(self) -> Box:
        return self.maps["baseline"].cam.box

    @property
    def label(self) -> str:
        return self.maps["baseline"].cam.label

    def document(self) -> dict[str, object]:
        return {
            "image": self.name,
            "class": self.label,
            "box": self.box.model_dump(),
            "folder": str(self.folder),
            **{side: maps.document() for side, maps in self.maps.items()},
        }


def explain(
    session: Session,
    *,
    paths: Annotated[list[Path], typer.Argument(help="Micrographs, or folders of them.")],
    baseline: Annotated[str, typer.Option(help="A model, a .pt file, or RUN/STEP.")],
    pruned: Annotated[str, typer.Option(help="A model, a .pt file, or RUN/STEP.")],
    out: Annotated[Path, typer.Option(help="Folder for the results.")],
    method: Annotated[catalog.HeatMap, typer.Option(help="Kind of heat map.")] = "gradcam",
    shap: Annotated[bool, typer.Option(help="SHAP is slow: leave it out with --no-shap.")] = True,
    samples: Annotated[
        int, typer.Option(min=1, max=100_000, help="Most evaluations of the model for SHAP.")
    ] = 1024,
    features: Annotated[int, typer.Option(min=4, max=10_000, help="Patches for SHAP.")] = 50,
    imgsz: ImageSize = None,
) -> Answer:
    """Grad-CAM, SHAP, boundary scores and figures, one object a micrograph.

    The object is the largest labelled crypt of an image of a dataset, else the best detection of
    the baseline.
    """
    out = folder_target(out)
    workspace, files = session.isolated_workspace(), image_files(paths)
    sides: dict[Side, ModelOf] = {
        "baseline": model_source(workspace, baseline),
        "pruned": model_source(workspace, pruned),
    }
    explained = []
    for file, name in zip(files, short_names(files)):
        say(f"{name} …")
        model, image = sides["baseline"], image_source(workspace, file)
        cam = GradCam(model=model, image=image, method=method, imgsz=imgsz)
        added = Shap(model=model, image=image, imgsz=imgsz, samples=samples, features=features)
        try:
            found = explain_object(workspace, sides, cam, added if shap else None, out / name)
        except NotFoundError as nothing:  # an empty micrograph is no reason to leave the others
            say(f"Left out: {nothing.message}")
            continue
        draw(workspace, cam, found, out / f"{name}.pdf")
        explained.append(found)
    if not explained:
        raise NotFoundError("The baseline finds no object on these micrographs.")
    return _written(explained, out)


def _written(explained: Sequence[Explained], out: Path) -> Answer:
    """All objects in one table and one document."""
    rows = score_rows(explained)
    write_text(out / "scores.csv", tables.to_csv(rows))
    document = {
        "explained": [item.document() for item in explained],
        "artifacts": {"scores": str(out / "scores.csv"), "figures": str(out)},
    }
    write_json(out / "explain.json", document)
    attention = [
        sentences.attention_sentence(*(item.maps[side].cam.scores for side in SIDES))
        for item in explained
    ]
    lines = [table(tuple(rows[0]), [tuple(row.values()) for row in rows]), *attention]
    return Answer(document, "\n".join([*lines, f"Figures and scores.csv are in {out}"]))


def explain_object(
    workspace: Workspace, sides: dict[Side, ModelOf], cam: GradCam, shap: Shap | None, folder: Path
) -> Explained:
    """Ask both models about the same object, which the baseline chooses.

    Args:
        cam, shap: asked of the baseline, and then of the other too; None leaves SHAP out.
    """
    maps: dict[Side, Maps] = {}
    box: Box | None = None
    for side in SIDES:
        place, asked = folder / side, {"model": sides[side], "box": box}
        found = ask(workspace, cam.model_copy(update=asked), place / "cam")
        box = found.box
        added = None
        if shap is not None:
            added = ask(workspace, shap.model_copy(update={**asked, "box": box}), place / "shap")
        maps[side] = Maps(place, found, added)
    return Explained(folder.name, folder, maps)


def score_rows(explained: Sequence[Explained]) -> list[tables.Row]:
    """Border scores, one row an object and model; what has no value stays empty."""
    return [
        {
            "image": item.name,
            "class": item.label,
            "model": side,
            **{key: _rounded(getattr(maps.cam.scores, key)) for key in SCORES},
            "border": maps.cam.scores.contour,
            "shap_c_at_10": _rounded(maps.shap.c_at_10 if maps.shap else None),
        }
        for item in explained
        for side, maps in item.maps.items()
    ]


def draw(workspace: Workspace, asked: GradCam, found: Explained, path: Path) -> Path:
    """The figure of one object: micrograph, then heat map and SHAP of both models."""
    from msip_core.detector.sources import load_source_image, load_source_model
    from msip_core.views import paper, paper_pictures
    from msip_core.views.paper_page import alone

    _, facts = load_source_model(workspace, asked.model)
    method = catalog.HEAT_MAPS[asked.method].label
    panels = []
    for side, maps in found.maps.items():
        ber = maps.cam.scores.ber
        heat = read_arrays(maps.folder / "cam" / maps.cam.heat)["heat"]
        scores = {} if ber is None else {"BER": ber}
        panels.append(paper_pictures.HeatPanel(SIDE_WORDS[side], method, heat, False, scores))
        if maps.shap is not None:
            shap = read_arrays(maps.folder / "shap" / maps.shap.segments)
            values = shap["values"][shap["segments"]]
            panels.append(paper_pictures.HeatPanel(SIDE_WORDS[side], "SHAP", values, True))
    info = paper_pictures.ExplanationInfo(
        pixels=load_source_image(workspace, asked.image, facts.recipe),
        box=found.box,
        label=found.label,
        panels=panels,
        **_known_of(workspace, asked.image, found.box),
    )
    return paper.save(alone(paper_pictures.explanation_panel(info), 178.0), path)


class _Known(TypedDict, total=False):
    outline: Contour | None
    pixel_size_um: float | None


def _known_of(workspace: Workspace, image: ImageOf, box: Box) -> _Known:
    """Outline of the object and pixel size, for an image of a dataset."""
    if not isinstance(image, DatasetImage):
        return {}
    dataset = open_dataset(workspace, image.dataset)
    record = dataset.image(image.image)
    return {
        "outline": drawn_borders(dataset, record, box)[0],
        "pixel_size_um": record.pixel_size_um or dataset.pixel_size_um,
    }


def _rounded(value: float | bool | None) -> float | bool | None:
    return round(value, 4) if isinstance(value, float) else value


VERBS = (explain,)
