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


def _term(word: str, plain: str, precise: str = "") -> Term:
    return Term(mark(word), mark(plain), mark(precise) if precise else "")


_TERMS = (
    _term(
        "baseline",
        "The model before anything was taken from it.",
        "Evaluated first, on the same images and scaling as every pruned model.",
    ),
    _term(
        "pruning",
        "Making the model lighter by removing channels it hardly uses.",
        "Structured: whole coupled channels go, so the result is an ordinary, smaller network.",
    ),
    _term(
        "channel",
        "One feature detector inside a layer, such as one that answers to dark edges.",
        "One filter of a convolution; channels joined by additions or concatenations go together.",
    ),
    _term(
        "MACs",
        "How much arithmetic one image costs. Not the same as speed.",
        "Multiply-adds of one forward pass at the run's image size; FLOPs are about twice that.",
    ),
    _term("parameters", "Numbers the model has learnt; they make up the file's size."),
    _term(
        "latency",
        "Time for one image on this computer.",
        "Median of interleaved runs after warm-up, with its 95 % bootstrap interval.",
    ),
    _term(
        "mAP50",
        "Accuracy between 0 and 1: are objects found, in the right place, with the right class?",
        "Mean over classes of average precision at IoU 0.5.",
    ),
    _term(
        "mAP50-95",
        "Accuracy that also asks how exactly the box fits.",
        "Mean over classes and IoU 0.50, 0.55, … 0.95.",
    ),
    _term(
        "IoU",
        "How well two boxes overlap: 1 identical, 0 apart.",
        "Area of the intersection over area of the union.",
    ),
    _term("precision", "Of the marked objects, the share that is real."),
    _term("recall", "Of the real objects, the share that is marked."),
    _term("confidence", "How sure the model is of one detection, from 0 to 1."),
    _term(
        "iteration",
        "One round: score the channels, remove some, train again.",
        "Importance, pruning, evaluation, fine-tuning, evaluation.",
    ),
    _term(
        "fine-tuning",
        "Training on after each cut, so that the model recovers.",
        "SGD with a cosine schedule and no warm-up.",
    ),
    _term("epoch", "One pass over all training images."),
    _term(
        "MSIP",
        "Scores a channel by four signals at once instead of one.",
        "Multi-strategy importance pruning: gradient, geometry, sparsity, information.",
    ),
    _term(
        "gradient",
        "How much worse the model would get without the channel.",
        "Taylor estimate (weight × gradient)², Molchanov et al. 2019.",
    ),
    _term(
        "geometry",
        "How different the channel is from the others of its layer.",
        "Distance to the geometric median (He et al. 2019) of the layer's responses.",
    ),
    _term(
        "sparsity",
        "How often the channel answers at all.",
        "Share of active outputs, times what arrives at the layers that read them.",
    ),
    _term(
        "information",
        "How much the channel knows about what is in the image.",
        "Mutual information with the class at each cell, less what chance would give.",
    ),
    _term(
        "alpha",
        "How strict the cut is in this iteration.",
        "Factor of the threshold; follows the validation loss inside a MACs corridor.",
    ),
    _term(
        "guard rail",
        "Stops the run when accuracy falls too far, and keeps the last good model.",
        "Largest allowed drop of validation mAP50 below the baseline.",
    ),
    _term("backbone", "First part of the network: sees edges, textures, shapes.", "Layers 0-9."),
    _term("neck", "Middle part: combines coarse and fine views.", "Layers 10-21."),
    _term("head", "Last part: says where objects are and what they are.", "Layer 22, Detect."),
    _term(
        "C2f_v2",
        "A rewritten building block that can be pruned; it computes exactly the same.",
        "C2f with its split replaced by two convolutions.",
    ),
    _term("calibration images", "A fixed set of training images on which channels are scored."),
    _term(
        "BN recalibration",
        "Measures brightness statistics inside the network again after a cut.",
        "Batch-norm means and variances, kept only if validation improves.",
    ),
    _term("validation", "Images that guide decisions during the run; never trained on."),
    _term("test", "Images looked at once, at the end. The honest number."),
    _term(
        "Grad-CAM",
        "A map of where a detection's score is sensitive.",
        "Gradient-weighted activations of the neck's outputs, Selvaraju et al. 2017.",
    ),
    _term(
        "SHAP",
        "What each patch of the image adds to a detection, or takes from it.",
        "Shapley values over super-pixels; absent patches are blurred. Lundberg & Lee 2017.",
    ),
    _term(
        "border share",
        "Share of the heat that lies on the object's border.",
        "Boundary energy ratio: heat within max(2, 0.1 √(w h)) px of the contour.",
    ),
    _term(
        "enrichment",
        "How much more heat lies on the border than an even spread would put there; 1 is even.",
        "Border share over the band's share of the image area.",
    ),
    _term(
        "pointing game",
        "Does the hottest point lie on the object?",
        "Maximum inside the box, 15 px tolerance; energy version: share of heat inside the box.",
    ),
    _term(
        "C@10",
        "How much of the contribution the strongest tenth of the patches carries.",
        "Sum of the largest ⌈0.1 M⌉ absolute SHAP values over their total.",
    ),
    _term("seed", "Start value of all random choices; the same seed repeats the run."),
    _term(
        "ONNX, OpenVINO, TorchScript", "File formats in which the model runs without this program."
    ),
)

GLOSSARY: Mapping[str, Term] = {term.word.lower(): term for term in _TERMS}
