"""Export: figures for a paper, its methods, the model, the report, one zip to repeat the run."""

from __future__ import annotations

from collections.abc import Callable
from types import MappingProxyType

from msip_core.language import mark, t
from pages.shared.choose import choose_view
from pages.shared.compare_numbers import measured_pair
from pages.shared.layout import header, next_step
from pages.shared.pair import ModelPair, choose_pair
from pages.shared.run_outcome import unlearned

_VIEWS = MappingProxyType(
    {
        "figures": mark("Figures"),
        "methods": mark("Methods text"),
        "model": mark("Model"),
        "run": mark("Report and whole run"),
    }
)


def _show(view: str, pair: ModelPair) -> Callable[[], None]:
    """Draw one part; what takes long comes back, to be done when the page stands."""
    # Imported here: matplotlib takes longer than the first content of a page may.
    if view == "figures":
        from pages.shared.share_figures import figures

        return figures(pair)
    if view == "methods":
        from pages.shared.share_methods import methods

        methods(pair)
    elif view == "model":
        from pages.shared.share_files import model_files

        model_files(pair)
    else:
        from pages.shared.share_files import run_zip
        from pages.shared.share_report import report_file

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
        "pages/new.py",
        t("try another goal"),
        t("A lighter or a gentler run on the same detector."),
        **({"model": pair.config.model} if not pair.config.model.endswith(".pt") else {}),
        dataset=pair.config.dataset,
    )
    later()
