"""Export: figures for a paper, its methods, the model, the report, one zip to repeat the run."""

from __future__ import annotations

from collections.abc import Callable

from msip_core.language import mark, t
from pages.kit.choose import choose_view
from pages.kit.guard import guard
from pages.kit.lab import still_here
from pages.kit.layout import header, next_step
from pages.kit.pair import ModelPair, choose_pair, measured_pair, unlearned

_VIEWS = {
    "figures": mark("Figures"),
    "methods": mark("Methods text"),
    "model": mark("Model"),
    "run": mark("Report and whole run"),
}


def _show(view: str, pair: ModelPair) -> Callable[[], None]:
    """Draw one part; what takes long comes back, to be done when the page stands."""
    # Imported here: matplotlib takes longer than the first content of a page may.
    if view == "figures":
        from pages.export.figures import figures

        return figures(pair)
    if view == "methods":
        from pages.export.methods import methods

        methods(pair)
    elif view == "model":
        from pages.export.files import model_files

        model_files(pair)
    else:
        from pages.export.files import run_zip
        from pages.export.report import report_file

        with guard():  # without its images there is no report, but what else there is
            report_file(pair)
        run_zip(pair)
    return lambda: None


header(
    t("Export"),
    t(
        "Figures for a paper, the model for other programs, and everything needed to repeat the "
        "run."
    ),
)
pair = choose_pair()
if pair is not None:
    measured = measured_pair(pair)
    if measured is not None:
        unlearned(measured[0][0])
    views = {name: t(word) for name, word in _VIEWS.items()}
    later = _show(choose_view(views, "figures", "share"), pair)
    next_step(
        "pages/new_run/page.py",
        t("try another goal"),
        t("A lighter or a gentler run on the same detector."),
        **still_here(model=pair.config.model, dataset=pair.config.dataset),
    )
    later()
