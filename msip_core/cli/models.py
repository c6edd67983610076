"""`models list / show / rename / delete`: baselines and pruned models of the workspace."""

from __future__ import annotations

import typer

from msip_core.cli.console import table
from msip_core.cli.deleting import Yes, delete_for_good
from msip_core.cli.verbs import Answer, Session, verb
from msip_core.models import ModelCard, damaged_models, list_models, open_card, rename_model
from msip_core.views.wording import macs, params

app = typer.Typer(name="models", help="Baselines and pruned models.", no_args_is_help=True)


@verb(app, "list")
def list_(session: Session) -> Answer:
    """Models of the workspace, newest first."""
    cards, damaged = list_models(session.workspace), damaged_models(session.workspace)
    rows = [
        (
            card.id,
            card.name,
            card.kind,
            card.architecture,
            card.val.map50 if card.val else None,
            macs(card.cost.macs),
            params(card.cost.params),
            card.dataset,
        )
        for card in cards
    ]
    header = ("id", "name", "kind", "network", "mAP50", "MACs", "parameters", "dataset")
    notes = [f"Left out: {name}: its model.json cannot be read." for name in damaged]
    document: dict[str, object] = {"models": [card.model_dump(mode="json") for card in cards]}
    text = "\n".join([table(header, rows), *notes])
    return Answer(document | ({"notes": notes} if notes else {}), text)


@verb(app, "show")
def show(session: Session, model: str) -> Answer:
    """One model: where it came from, what it scores and what it costs."""
    workspace = session.workspace
    card = open_card(workspace, model)
    document = card.model_dump(mode="json")
    document["path"] = str(workspace.model_dir(card.id) / "model.pt")
    return Answer(document, describe(card) + f"\n{document['path']}")


@verb(app, "rename")
def rename(session: Session, model: str, title: str) -> Answer:
    """Call a model otherwise; its id stays."""
    card = rename_model(session.workspace, model, title)
    return Answer({"id": card.id, "name": card.name}, f"{card.id} is called '{card.name}'.")


@verb(app, "delete")
def delete(session: Session, model: str, yes: Yes = False) -> Answer:
    """Remove a model for good; runs and models that came of it stay."""
    from msip_core.studies.dependants import delete_unused_model, dependants_of_model

    workspace = session.workspace
    return delete_for_good(
        "model",
        model,
        dependants_of_model(workspace, model),
        lambda: delete_unused_model(workspace, model),
        yes=yes,
    )


def describe(card: ModelCard) -> str:
    """A card as lines of text."""
    lines = [
        f"{card.name} ({card.id}): {card.kind} {card.architecture}, {', '.join(card.classes)}",
        f"cost at {card.cost.imgsz} px: {macs(card.cost.macs)} MACs, "
        f"{params(card.cost.params)} parameters, {card.cost.size_mb:.1f} MB",
    ]
    if card.macs_ratio is not None:
        lines.append(f"{card.macs_ratio:.1%} of the MACs of {card.pruned_from}")
    for metrics in (card.val, card.test):
        if metrics:
            lines.append(
                f"{metrics.split}: mAP50 {metrics.map50:.3f}, mAP50-95 {metrics.map50_95:.3f} "
                f"on {metrics.images} images"
            )
    return "\n".join([*lines, card.note] if card.note else lines)
