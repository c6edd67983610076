"""The expert words in plain language; the one glossary of pages (in the reader's language, by `t`)
and report (in English)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from msip_core.language import mark


class Term(NamedTuple):
    """One word: what it means for someone at a microscope, and the definition behind it."""

    word: str
    plain: str
    precise: str = ""


_TERMS = (
    Term(
        mark("baseline"),
        mark("The model before anything was taken from it."),
        mark("Evaluated first, on the same images and scaling as every pruned model."),
    ),
    Term(
        mark("pruning"),
        mark("Making the model lighter by removing channels it hardly uses."),
        mark(
            "Structured: whole coupled channels go, so the result is an ordinary, smaller network."
        ),
    ),
    Term(
        mark("channel"),
        mark("One feature detector inside a layer, such as one that answers to dark edges."),
        mark(
            "One filter of a convolution; channels joined by additions or concatenations go "
            "together."
        ),
    ),
    Term(
        mark("MACs"),
        mark("How much arithmetic one image costs. Not the same as speed."),
        mark(
            "Multiply-adds of one forward pass at the run's image size; FLOPs are about twice that."
        ),
    ),
    Term(mark("parameters"), mark("Numbers the model has learnt; they make up the file's size.")),
    Term(
        mark("latency"),
        mark("Time for one image on this computer."),
        mark("Median of interleaved runs after warm-up, with its 95 % bootstrap interval."),
    ),
    Term(
        mark("mAP50"),
        mark(
            "Accuracy between 0 and 1: are objects found, in the right place, with the right class?"
        ),
        mark("Mean over classes of average precision at IoU 0.5."),
    ),
    Term(
        mark("mAP50-95"),
        mark("Accuracy that also asks how exactly the box fits."),
        mark("Mean over classes and IoU 0.50, 0.55, … 0.95."),
    ),
    Term(
        mark("IoU"),
        mark("How well two boxes overlap: 1 identical, 0 apart."),
        mark("Area of the intersection over area of the union."),
    ),
    Term(mark("precision"), mark("Of the marked objects, the share that is real.")),
    Term(mark("recall"), mark("Of the real objects, the share that is marked.")),
    Term(mark("confidence"), mark("How sure the model is of one detection, from 0 to 1.")),
    Term(
        mark("iteration"),
        mark("One round: score the channels, remove some, train again."),
        mark("Importance, pruning, evaluation, fine-tuning, evaluation."),
    ),
    Term(
        mark("fine-tuning"),
        mark("Training on after each cut, so that the model recovers."),
        mark("SGD with a cosine schedule and no warm-up."),
    ),
    Term(mark("epoch"), mark("One pass over all training images.")),
    Term(
        mark("MSIP"),
        mark("Scores a channel by four signals at once instead of one."),
        mark("Multi-strategy importance pruning: gradient, geometry, sparsity, information."),
    ),
    Term(
        mark("gradient"),
        mark("How much worse the model would get without the channel."),
        mark("Taylor estimate (weight × gradient)², Molchanov et al. 2019."),
    ),
    Term(
        mark("geometry"),
        mark("How different the channel is from the others of its layer."),
        mark("Distance to the geometric median (He et al. 2019) of the layer's responses."),
    ),
    Term(
        mark("sparsity"),
        mark("How often the channel answers at all."),
        mark("Share of active outputs, times what arrives at the layers that read them."),
    ),
    Term(
        mark("information"),
        mark("How much the channel knows about what is in the image."),
        mark("Mutual information with the class at each cell, less what chance would give."),
    ),
    Term(
        mark("alpha"),
        mark("How strict the cut is in this iteration."),
        mark("Factor of the threshold; follows the validation loss inside a MACs corridor."),
    ),
    Term(
        mark("guard rail"),
        mark("Stops the run when accuracy falls too far, and keeps the last good model."),
        mark("Largest allowed drop of validation mAP50 below the baseline."),
    ),
    Term(
        mark("backbone"),
        mark("First part of the network: sees edges, textures, shapes."),
        mark("Layers 0-9."),
    ),
    Term(mark("neck"), mark("Middle part: combines coarse and fine views."), mark("Layers 10-21.")),
    Term(
        mark("head"),
        mark("Last part: says where objects are and what they are."),
        mark("Layer 22, Detect."),
    ),
    Term(
        mark("C2f_v2"),
        mark("A rewritten building block that can be pruned; it computes exactly the same."),
        mark("C2f with its split replaced by two convolutions."),
    ),
    Term(
        mark("calibration images"),
        mark("A fixed set of training images on which channels are scored."),
    ),
    Term(
        mark("BN recalibration"),
        mark("Measures brightness statistics inside the network again after a cut."),
        mark("Batch-norm means and variances, kept only if validation improves."),
    ),
    Term(mark("validation"), mark("Images that guide decisions during the run; never trained on.")),
    Term(mark("test"), mark("Images looked at once, at the end. The honest number.")),
    Term(
        mark("Grad-CAM"),
        mark("A map of where a detection's score is sensitive."),
        mark("Gradient-weighted activations of the neck's outputs, Selvaraju et al. 2017."),
    ),
    Term(
        mark("SHAP"),
        mark("What each patch of the image adds to a detection, or takes from it."),
        mark("Shapley values over super-pixels; absent patches are blurred. Lundberg & Lee 2017."),
    ),
    Term(
        mark("border share"),
        mark("Share of the heat that lies on the object's border."),
        mark("Boundary energy ratio: heat within max(2, 0.1 √(w h)) px of the contour."),
    ),
    Term(
        mark("enrichment"),
        mark(
            "How much more heat lies on the border than an even spread would put there; 1 is even."
        ),
        mark("Border share over the band's share of the image area."),
    ),
    Term(
        mark("pointing game"),
        mark("Does the hottest point lie on the object?"),
        mark(
            "Maximum inside the box, 15 px tolerance; energy version: share of heat inside the box."
        ),
    ),
    Term(
        mark("C@10"),
        mark("How much of the contribution the strongest tenth of the patches carries."),
        mark("Sum of the largest ⌈0.1 M⌉ absolute SHAP values over their total."),
    ),
    Term(mark("seed"), mark("Start value of all random choices; the same seed repeats the run.")),
    Term(
        mark("ONNX, OpenVINO, TorchScript"),
        mark("File formats in which the model runs without this program."),
    ),
)

GLOSSARY: Mapping[str, Term] = {term.word.lower(): term for term in _TERMS}
