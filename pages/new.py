"""New run: how light, by which signals, how patiently; an estimate before Start."""

from __future__ import annotations

import streamlit as st

from msip_core.models import list_models
from pages.shared.choose import choose, remember
from pages.shared.command import show_command
from pages.shared.lab import datasets, lab
from pages.shared.layout import empty, header
from pages.shared.new_run_form import Choice, estimate, prune_settings

header(
    "New run",
    "Make a detector lighter: remove the channels it can spare, step by step, and train it on "
    "after each step.",
)
sets = {item.name: item for item in datasets() if item.ready}
models = {card.id: card for card in list_models(lab().workspace) if card.kind != "pruned"}
if not sets:
    empty("No dataset is ready.", ("pages/data.py", "Bring in images"))
elif not models:
    empty(
        "No detector yet that could be made lighter.",
        ("pages/models.py", "Train a baseline or upload weights"),
    )
else:
    left, right = st.columns(2)
    with left:
        model = models[choose("Detector", list(models), "model", words=lambda i: models[i].name)]
    with right:
        dataset = choose("Dataset", list(sets), "dataset", default=model.dataset)
    config = prune_settings(Choice(model, sets[dataset]))
    estimate(config)
    if st.button("Start", type="primary", icon=":material/play_arrow:", key="new:start"):
        run_id = lab().runs.submit(config)
        remember("run", run_id)
        st.switch_page("pages/runs.py", query_params={"run": run_id})
    show_command(config)
