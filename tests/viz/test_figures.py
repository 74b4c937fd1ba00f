"""Numbers behind the figures, and the small pieces of HTML."""

from __future__ import annotations

import base64
import io
import math

import numpy as np
import pytest
from matplotlib.image import imread
from matplotlib.patches import Circle

from bodvcl.runs.analysis import Analysis
from bodvcl.viz.figures import MAX_POINTS, Curve, eigenvalue_plane, picture_uri, smooth, training_curves
from bodvcl.viz.html import Markup, duration, escape, facts, number
from bodvcl.viz.svg import DYNAMIC, STATIC


def spectrum(values: list[complex], weights: list[float]) -> Analysis:
    nothing = np.zeros(0, np.float32)
    eigenvalues = np.array([values], np.complex64)
    return Analysis(eigenvalues, np.array([weights], np.float32), nothing, nothing, nothing, nothing, nothing)


def test_moving_average_by_hand() -> None:
    values = np.array([0.0, 3.0] * 10)
    assert smooth(values)[1:-1] == pytest.approx([1.0, 2.0] * 9)
    assert smooth(values)[0] == 1.5
    assert (smooth(values[:19]) == values[:19]).all()


def test_moving_average_leaves_nan_out() -> None:
    values = np.ones(40)
    values[10] = np.nan
    assert (smooth(values) == 1).all()
    values[5:12] = np.nan
    assert np.isnan(smooth(values)).sum() == 3


def test_circles_have_the_radii_of_the_configuration() -> None:
    figure = eigenvalue_plane(
        spectrum([1, 0.5j], [1.0, 0.1]), {"xi": 0.25, "mask": "smooth", "smooth_power": 4}
    )
    circles = [patch for patch in figure.axes[0].patches if isinstance(patch, Circle)]
    found = {(circle.center[0], round(circle.radius, 6)) for circle in circles}
    contours = {(-1, round(2 * level**0.25, 6)) for level in (0.1, 0.5, 0.9)}
    assert found == {(0, 1.0), (1, 0.25)} | contours


def test_dots_are_coloured_by_the_larger_share() -> None:
    figure = eigenvalue_plane(spectrum([1, 0.9, 0.2j, complex(np.nan)], [0.9, 0.5, 0.4, 0.9]), {"xi": 0.1})
    dots = {line.get_color(): line.get_xdata().tolist() for line in figure.axes[0].lines if line.get_alpha()}
    assert sorted(dots[STATIC]) == pytest.approx([0.9, 1.0])
    assert dots[DYNAMIC] == [0.0]


def test_large_sets_of_eigenvalues_are_thinned() -> None:
    figure = eigenvalue_plane(spectrum([0.5] * 5000, [0.0] * 5000), {})
    assert max(len(line.get_xdata()) for line in figure.axes[0].lines) == MAX_POINTS


@pytest.mark.parametrize(
    ("values", "options", "scale"),
    [
        ([1.0, 0.001], {}, "log"),
        ([1.0, 0.1], {}, "linear"),
        ([1.0, 0.0], {}, "linear"),
        ([1.0, 0.001], {"share": True}, "linear"),
        ([1.0, 0.001], {"from_zero": True}, "linear"),
    ],
)
def test_logarithmic_axis_only_where_it_helps(values: list[float], options: dict, scale: str) -> None:
    figure = training_curves([Curve("x", np.array(values), STATIC, np.array([1.0, 2.0]))], "y", **options)
    assert figure.axes[0].get_yscale() == scale


def test_pictures_keep_their_colours() -> None:
    frame = np.zeros((16, 16, 3), np.uint8)
    frame[:, 8:] = (240, 30, 30)
    uri = picture_uri(frame)
    assert uri.startswith("data:image/jpeg;base64,")
    decoded = imread(io.BytesIO(base64.b64decode(uri.partition(",")[2])), format="jpeg")
    assert decoded.shape == (16, 16, 3)
    assert decoded[8, 14].tolist() == pytest.approx([240, 30, 30], abs=12)
    assert decoded[8, 2].tolist() == pytest.approx([0, 0, 0], abs=12)


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0.0, "0.00"),
        (2.4567, "2.46"),
        (-0.51, "-0.510"),
        (0.00123, "0.00123"),
        (421.3, "421"),
        (12345.6, "12,346"),
        (1.5e-7, "1.50e-07"),
        (3e12, "3.00e+12"),
        (math.nan, "–"),
        (math.inf, "–"),
    ],
)
def test_numbers(value: float, text: str) -> None:
    assert number(value) == text


@pytest.mark.parametrize(
    ("seconds", "text"), [(0.4, "0 s"), (59.7, "1 min 0 s"), (125, "2 min 5 s"), (11520, "3 h 12 min")]
)
def test_durations(seconds: float, text: str) -> None:
    assert duration(seconds) == text


def test_escaping_once() -> None:
    assert escape("<a href='x'>") == "&lt;a href=&#x27;x&#x27;&gt;"
    assert escape(Markup("<b>")) == "<b>"
    assert escape(escape("<")) == "&lt;"


def test_facts_are_flattened_and_escaped() -> None:
    html = facts(
        {"versions": {"torch": "2.11"}, "skipped": [], "gpu": None, "tf32": False, "names": ["<a>", 1]}
    )
    for expected in (
        "versions: torch</dt><dd>2.11<",
        "skipped</dt><dd>none<",
        "gpu</dt><dd>none<",
        "tf32</dt><dd>no<",
    ):
        assert expected in html
    assert "&lt;a&gt;, 1" in html


@pytest.mark.parametrize("names", [["a", "b"], ["BOD-VCL, all scenes mixed", "plain, all scenes mixed", "c"]])
def test_a_legend_does_not_squeeze_the_panel(names: list[str]) -> None:
    steps = np.array([1.0, 2.0])
    figure = training_curves([Curve(name, steps, STATIC, steps) for name in names], "loss")
    figure.draw_without_rendering()
    panel, legend = figure.axes[0].get_window_extent(), figure.axes[0].get_legend().get_window_extent()
    assert panel.width > 0.75 * figure.bbox.width
    assert legend.x1 <= figure.bbox.x1
    assert legend.y0 >= panel.y1 - 1
