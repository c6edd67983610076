"""Where it looks: why a detection was made, by the baseline and by the lighter model."""

from __future__ import annotations

from msip_core.language import t
from pages.kit.choose_object import choose_object
from pages.kit.explain import Subject
from pages.kit.layout import header, next_step
from pages.kit.navigation import note_visit
from pages.kit.pair import choose_image, choose_pair, pair_dataset
from pages.look.maps import grad_maps, shap_maps

header(
    t("Where it looks"),
    t("Why did it mark this object? Explained for the baseline and the lighter model alike."),
)
pair = choose_pair()
if pair is not None:
    data = pair_dataset(pair)
    record = choose_image(data)
    note_visit("look", pair.run.id)
    box = choose_object(pair, data, record)
    if box is not None:
        subject = Subject(data, record, box, pair.config.imgsz)
        grad_maps(pair, subject)
        shap_maps(pair, subject)
    next_step(
        "pages/export/page.py",
        t("take figures and the model home"),
        t("Figures for a paper, the model file, everything needed to repeat the run."),
        run=pair.run.id,
        step=str(pair.iteration),
        image=record.id,
    )
