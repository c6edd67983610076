"""Pictures for own components: kept by the server like those of st.image, named by address.

An address and not the bytes, since a component's data are sent again at every change of a slider.
"""

from __future__ import annotations

import cv2
import numpy as np
import streamlit as st
from numpy.typing import NDArray
from streamlit import runtime

from msip_core.errors import WorkError


def png(pixels: NDArray[np.uint8]) -> bytes:
    """An RGB picture without loss."""
    done, data = cv2.imencode(".png", cv2.cvtColor(pixels, cv2.COLOR_RGB2BGR))
    if not done:
        raise WorkError("The picture could not be encoded.")
    return data.tobytes()


def address(data: bytes, place: str) -> str:
    """Where the browser finds this PNG while the page that shows it is open.

    Args:
        place: tells the pictures of one page apart; a new picture at a place ends the old one.
    """
    base = str(st.get_option("server.baseUrlPath") or "").strip("/")
    url = runtime.get_instance().media_file_mgr.add(data, "image/png", place)
    return f"/{base}{url}" if base else url
