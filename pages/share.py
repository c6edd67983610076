"""Export: figures for a paper, the report, the model file, one zip to repeat the run."""

from __future__ import annotations

from pages.shared.choose import choose_view
from pages.shared.layout import header, next_step
from pages.shared.pair import choose_pair
from pages.shared.share_figures import figures
from pages.shared.share_files import model_files, report_file, run_zip

_VIEWS = {"figures": "Figures", "model": "Model", "run": "Report and whole run"}

header(
    "Export",
    "Figures for a paper, the model for other programs, and everything needed to repeat the run.",
)
pair = choose_pair()
if pair is not None:
    view = choose_view(_VIEWS, "figures", "share")
    if view == "figures":
        figures(pair)
    elif view == "model":
        model_files(pair)
    else:
        report_file(pair)
        run_zip(pair)
    next_step(
        "pages/new.py",
        "try another goal",
        "A lighter or a gentler run on the same detector.",
        **({"model": pair.config.model} if not pair.config.model.endswith(".pt") else {}),
        dataset=pair.config.dataset,
    )
