"""Which layers hurt, as data and as a figure."""

from __future__ import annotations

from msip_core.views import sensitivity


def group(name: str, *points: tuple[float, float], ratio: float = 0.2) -> dict:
    return {
        "name": name,
        "channels": 64,
        "ratio": ratio,
        "ratios": [share for share, _ in points],
        "drops": [drop for _, drop in points],
    }


STORED = {
    "map50": 0.9,
    "delta": 0.03,
    "groups": [
        group("model.22.cv3.0.0.conv", (0.25, 0.10), (0.5, 0.30), (0.75, 0.60)),
        group("model.2.cv1.conv", (0.5, 0.20)),
        group("model.9.cv1.conv", (0.25, 0.0), (0.625, -0.01), ratio=0.625),
        group("model.15.cv0.conv", (0.5, 0.02)),
        group("model.3.conv"),
    ],
}


def test_layers_come_in_the_order_of_the_network_without_those_that_were_never_tried():
    info = sensitivity.sensitivity_info(STORED)

    assert [layer.label for layer in info.layers] == [
        "2 · cv1",
        "9 · cv1",
        "15 · cv0",
        "22 · cv3.0.0",
    ]
    assert [layer.part for layer in info.layers] == ["backbone", "backbone", "neck", "head"]


def test_layers_are_compared_where_about_half_of_them_is_gone():
    info = sensitivity.sensitivity_info(STORED)

    assert [(layer.share, layer.drop) for layer in info.layers] == [
        (0.5, 0.20),
        (0.625, -0.01),
        (0.5, 0.02),
        (0.5, 0.30),
    ]
    assert [x.label for x in sensitivity.most_sensitive(info, 2)] == ["22 · cv3.0.0", "2 · cv1"]


def test_the_figure_has_a_bar_a_layer_the_allowed_drop_and_the_whole_curve():
    figure = sensitivity.sensitivity_figure(sensitivity.sensitivity_info(STORED))
    backbone, neck, head, allowed = figure.data

    assert (tuple(backbone.y), tuple(neck.y), tuple(head.y)) == ((0.20, -0.01), (0.02,), (0.30,))
    assert head.customdata[0] == "25 % gone: −0.100<br>50 % gone: −0.300<br>75 % gone: −0.600"
    assert len({trace.marker.pattern.shape for trace in (backbone, neck, head)}) == 3
    assert figure.layout.shapes[0].y0 == 0.03
    assert "0.030" in allowed.name
