"""Which images are planes of one field, and which of its channels is taken."""

from __future__ import annotations

import pytest

from msip_core.data.fields import choose_field_channel, fields_of
from msip_core.data.names import read_names


def fields(sources: list[str]) -> list[list[str]]:
    return [[sources[i] for i in one] for one in fields_of(sources, read_names(sources))]


def test_planes_channels_and_times_of_a_field_belong_together() -> None:
    stack = [f"x_p00_z{z:02d}_0_A01f00d0.TIF" for z in range(4)]
    channels = ["B01_1_DAPI.tif", "B01_1_GFP.tif", "B01_1_BF.tif"]
    times = [f"C01_1_t{t}.png" for t in (10, 2, 33)]

    assert fields([*stack, *channels, *times]) == [stack, channels, times]


def test_fields_of_a_well_and_pictures_in_folders_are_fields_of_their_own() -> None:
    sources = ["A01_f1.png", "A01_f2.png", "a/1.png", "b/1.png", "train/7.png", "val/7.png"]

    assert fields(sources) == [[source] for source in sources]


@pytest.mark.parametrize(
    ("wanted", "channel", "how"),
    [(None, "BF", ", for its name"), ("gfp", "GFP", ", as asked"), ("RFP", None, "")],
)
def test_of_channels_the_one_in_transmitted_light_or_the_one_asked_for(
    wanted: str | None, channel: str | None, how: str
) -> None:
    assert choose_field_channel(["BF", "DAPI", "GFP"], wanted) == (channel, how)
