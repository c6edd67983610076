"""Fields that every run asks for: size of the images, images at a time, device."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable
from typing import TypeVar

import streamlit as st

from msip_core.config import BATCHES
from msip_core.errors import ConfigError
from msip_core.gpus import gpu_count
from msip_core.language import t
from msip_core.markdown import md
from msip_core.run_base import MAX_SEED
from msip_core.runs.slots import slot_of
from msip_core.settings import get_settings
from pages.kit.words import labelled

_SIZES = (128, 160, 192, 224, 256, 320, 384, 448, 512, 640, 768, 896, 1024, 1280)
_Number = TypeVar("_Number", int, float)


def number_field(
    key: str, label: str, value: _Number, between: tuple[_Number, _Number], why: str | None = None
) -> _Number:
    """A number that the session remembers."""
    return st.number_input(
        md(label), *between, value, key=key, help=md(why), persist_state="session"
    )


def choice_field(key: str, label: str, options: Iterable[str], words: Callable[[str], str]) -> str:
    """One of several, by its words, that the session remembers."""
    chosen: str = st.selectbox(
        md(label), list(options), format_func=words, key=key, persist_state="session"
    )
    return chosen


def image_size(default: int, place: str) -> int:
    """Side of the square that the detector sees."""
    return st.select_slider(
        md(labelled(t("Image size"), "px")),
        sorted({*_SIZES, default}),
        value=default,
        key=f"{place}:imgsz",
        help=t("Larger sees smaller objects; twice the side takes four times the work."),
        persist_state="session",
    )


def batch_size(place: str) -> int:
    return st.select_slider(
        md(labelled(t("Images at a time"), t("batch"))),
        list(BATCHES),
        value=16 if slot_of(get_settings().device) != "cpu" else 8,
        key=f"{place}:batch",
        help=t("More need more memory."),
        persist_state="session",
    )


def seed_field(place: str) -> int:
    """What every draw of chance begins with; as large as a run takes it."""
    return st.number_input(
        t("Seed"),
        min_value=0,
        max_value=MAX_SEED,
        value=0,
        key=f"{place}:seed",
        persist_state="session",
    )


def device_field(place: str) -> str:
    """'auto', or a device by name.

    Raises:
        ConfigError: this computer has no such device, and no other one takes runs: the run would
            wait its turn only to fail.
    """
    offered = _devices()
    chosen = st.selectbox(
        t("Device"),
        offered,
        key=f"{place}:device",
        accept_new_options=True,
        format_func=lambda name: f"auto ({slot_of('auto')})" if name == "auto" else name,
        persist_state="session",
    )
    here = [slot_of(name) for name in offered]
    if get_settings().executor == "local" and slot_of(chosen) not in here:
        raise ConfigError(
            "There is no device '{wanted}' on this computer; there is: {there}.",
            wanted=chosen,
            there=", ".join(offered[1:]),
        )
    return chosen


def _devices() -> list[str]:
    """Those of this computer; where runs go to others too, what these may have as well."""
    gpus, elsewhere = gpu_count(), get_settings().executor != "local"
    names = [f"cuda:{n}" for n in range(max(1, gpus) if elsewhere else gpus)]
    apple = ["mps"] if elsewhere or sys.platform == "darwin" else []
    return ["auto", "cpu", *names, *apple]
