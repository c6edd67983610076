"""How a plate was counted and what its numbers mean: English, for a paper's methods section."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import PurePath

import msip_core
from msip_core.config import CountConfig
from msip_core.intervals import LEAST_UNITS
from msip_core.plates.agreement import ALL
from msip_core.plates.analysis import PlateAnalysis
from msip_core.plates.conditions import QUASI, WELCH
from msip_core.views.wording import plural

Part = tuple[str, str]  # heading, text


def methods(found: PlateAnalysis, settings: Sequence[Part] = ()) -> list[Part]:
    """Headings and texts, only of what was done.

    Args:
        settings: of the count, as they are to be read ("Confidence", "0.25").
    """
    parts = [
        ("Counting", _counting(found, settings)),
        ("Sizes", _sizes(found)),
        ("Intervals", _intervals(found)),
        ("Conditions", _conditions(found)),
        ("Dose and response", _doses(found)),
        ("Agreement with labels", _calibration(found)),
        ("Agreement of two models", _models(found)),
        ("Software", f"MSIP Lab {msip_core.__version__}; NumPy, SciPy, statsmodels."),
    ]
    return [(heading, text) for heading, text in parts if text]


def _counting(found: PlateAnalysis, settings: Sequence[Part]) -> str:
    counting = found.counting
    failed = sum(image.state == "failed" for image in counting.images)
    blank = sum(image.state == "empty" for image in counting.images)
    # A name, no path: where a server keeps what was uploaded is nothing for a paper.
    source = PurePath(counting.source).name
    text = (
        f"{plural(len(counting.images), 'image')} of {source} were counted by the model "
        f"{counting.name or counting.model} (classes: {', '.join(counting.classes)})."
    )
    if settings:
        text += " " + "; ".join(f"{word}: {value}" for word, value in settings) + "."
    if found.time and len(found.times) > 1:
        text += f" Of {len(found.times)} time points, {found.time} is looked at."
    if failed or blank:
        text += (
            f" {plural(failed, 'image')} could not be read and {blank} were blank (of one grey "
            "value); neither is taken for an image without organoids, and both are left out of "
            "shares and of counts per field."
        )
    if not counting.done:
        text += f" The count is not finished: {len(counting.images)} of {counting.total} images."
    return f"{text} {counting.wells_taken}".strip()


def _sizes(found: PlateAnalysis) -> str:
    text = (
        "Areas are those of the outline where one is known, else of the ellipse inscribed in the "
        "box; diameters are of the disc of that area. Objects that touch the border of their "
        f"image ({found.sizes.cut}) are counted, but left out of sizes."
    )
    if found.sizes.unit == "px":
        text += " The pixel size is not known for every image, so sizes are in pixels."
    return text


def _intervals(found: PlateAnalysis) -> str:
    share = (
        f"The fraction is the share of the class {found.crypts} among all objects. "
        if (found.crypts)
        else ""
    )
    return (
        f"{share}Objects lie in fields and fields in wells, so that the well is the unit: 95 % "
        "intervals of conditions are a hierarchical bootstrap over wells and the fields within "
        "them (2000 draws; logit scale for shares, log scale for counts), with deviations between "
        "wells stretched as Student's t does, and never narrower than independent objects would "
        f"make them. Intervals of one well take its fields as units. With fewer than {LEAST_UNITS} "
        "units, or where none or all of the objects are of the class, no interval is given."
    )


def _conditions(found: PlateAnalysis) -> str:
    done = [one for one in found.comparisons if one.p is not None]
    if not done:
        return ""
    text = (
        f"Conditions were compared with {found.control}. "
        "Shares: quasi-binomial model with a logit link; counts: quasi-Poisson model with a log "
        "link and the number of fields as offset; one row a unit, dispersion from Pearson's "
        "statistic and never below one, intervals and p by Student's t. p is corrected by Holm's "
        "method over the conditions of a measure; a difference is called clear where the corrected "
        "p is at most 0.05."
    )
    if any(one.blocks for one in done):
        text += " Plates were blocks of the model."
    if any(one.condition.by_replicate for one in found.conditions):
        text += (
            " Where several wells of a plate carry the same condition and replicate, their sum is "
            "one unit."
        )
    if any(one.method == WELCH for one in done) and QUASI:
        text += (
            " Where a condition has no object of the class, or only such, Welch's interval of the "
            "units' own values stands instead."
        )
    return text


def _doses(found: PlateAnalysis) -> str:
    if not found.doses:
        return ""
    return (
        "Dose and response: four-parameter log-logistic curve, least squares over wells; the 95 % "
        "interval of the EC50 is a wild bootstrap over wells (1000 draws, residuals over one minus "
        "their leverage). No EC50 is given without an effect of the dose (F test), or where half "
        "of the effect lies outside the doses that were tried."
    )


def _calibration(found: PlateAnalysis) -> str:
    if not found.calibration:
        return ""
    every = next(one for one in found.calibration if one.name == ALL)
    images = every.limits.units if every.limits else "few"
    return (
        f"Counts were held against labels on {images} images ({every.found} objects counted, "
        f"{every.labelled} labelled): bias and 95 % limits of agreement after Bland and Altman, "
        "slope by least squares, with wells as clusters where names show them."
    )


def _models(found: PlateAnalysis) -> str:
    if not found.agreement or found.baseline is None:
        return ""
    return (
        f"The baseline {found.baseline.name or found.baseline.model} counted the same images. "
        "Differences per well: bias, 95 % limits of agreement (Bland and Altman), Lin's "
        "concordance and ICC(A,1). Both are called the same where two one-sided t tests at 5 % "
        f"place the mean difference within the margin, {100 * found.asked.margin:g} points of the "
        f"fraction and {100 * found.asked.count_margin:g} % of the baseline's objects per field."
    )


def settings_of(config: CountConfig) -> list[Part]:
    """Settings that the methods must name."""
    said = [
        ("Lowest score", f"{config.conf:g}"),
        ("overlap of two boxes at most", f"{config.iou:g}"),
        ("network's image side", f"{config.imgsz} px" if config.imgsz else "the model's"),
        ("tiles", str(config.tiles)),
    ]
    if config.pixel_size_um is not None:
        said.append(("pixel size given", f"{config.pixel_size_um:g} µm"))
    if config.channel is not None:
        said.append(("channel", config.channel))
    said.append(("of a z-stack", config.stack))
    return said
