"""Boxes follow the crop, the scale and the mirror; draws are functions of (seed, epoch, index)."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from bodvcl.detect.view import View, has_area, training_view, whole_view

DRAW = {"size": 32, "short_side": (40, 60), "flip": 0.5, "seed": 0}


def marked(rows: int, columns: int, box: np.ndarray) -> torch.Tensor:
    """A black frame with a white box, uint8 (1, H, W, 3)."""
    frame = torch.zeros(1, rows, columns, 3, dtype=torch.uint8)
    x1, y1, x2, y2 = (box * [columns, rows, columns, rows]).round().astype(int)
    frame[:, y1:y2, x1:x2] = 255
    return frame


@pytest.mark.parametrize("index", range(12))
def test_the_box_is_where_its_pixels_are(index):
    rows, columns, box = 90, 120, np.array([[0.3, 0.2, 0.7, 0.6]])
    view = training_view(rows, columns, box, epoch=1, index=index, **DRAW)
    x1, y1, x2, y2 = view.boxes(box, rows, columns)[0]
    seen = view.pixels(marked(rows, columns, box[0]))[0, :, :, 0].float() / 255
    assert seen.shape == (32, 32)
    assert seen.sum() == pytest.approx((x2 - x1) * (y2 - y1), abs=32)  # half a pixel along the edges
    inside = seen[int(np.ceil(y1)) + 1 : int(y2) - 1, int(np.ceil(x1)) + 1 : int(x2) - 1]
    assert inside.numel() == 0 or inside.min() > 0.9


def test_the_scale_is_in_its_range_and_the_square_inside_of_the_frame():
    boxes = np.array([[0.0, 0.0, 1.0, 1.0]])
    views = [training_view(90, 120, boxes, epoch=0, index=n, **DRAW) for n in range(300)]
    for view in views:
        top, left, height, width = view.crop
        assert height == width
        assert round(32 * 90 / 60) <= height <= round(32 * 90 / 40)
        assert 0 <= top <= 90 - height
        assert 0 <= left <= 120 - width
    assert 0.4 < np.mean([view.flip for view in views]) < 0.6
    assert len({view.crop[1] for view in views}) > 30
    assert len({view.crop[2] for view in views}) > 15


def test_draws_depend_on_seed_epoch_and_index_alone():
    boxes = np.array([[0.0, 0.0, 1.0, 1.0]])

    def drawn(**changes):
        return training_view(90, 120, boxes, **{**DRAW, "epoch": 3, "index": 5, **changes})

    assert drawn() == drawn()
    assert len({drawn(), drawn(seed=1), drawn(epoch=4), drawn(index=6)}) == 4


def test_a_crop_holds_a_box_even_if_it_is_in_a_corner():
    boxes = np.array([[0.99, 0.98, 1.0, 1.0], [0.985, 0.98, 0.99, 1.0]])
    for index in range(100):
        view = training_view(90, 400, boxes, epoch=0, index=index, **DRAW)
        assert has_area(view.boxes(boxes, 90, 400)).any()


def test_boxes_are_clipped_and_those_outside_have_no_area():
    view = View((10, 20, 40, 40), (80, 80))
    boxes = np.array([[0.1, 0.1, 0.5, 0.5], [0.7, 0.1, 0.9, 0.5], [0.3, 0.3, 0.4, 0.4]])
    seen = view.boxes(boxes, 100, 100)
    assert has_area(seen).tolist() == [True, False, True]
    np.testing.assert_allclose(seen[0], [0, 0, 60, 80])
    np.testing.assert_allclose(seen[2], [20, 40, 40, 60])
    mirrored = View((10, 20, 40, 40), (80, 80), flip=True).boxes(boxes, 100, 100)
    np.testing.assert_allclose(mirrored[2], [40, 40, 60, 60])


def test_the_whole_frame_in_a_test():
    assert whole_view(480, 640, 256).size == (256, 341)
    assert whole_view(640, 480, 256).size == (341, 256)
    assert whole_view(480, 640, 256, step=16).size == (256, 336)
    np.testing.assert_allclose(
        whole_view(480, 640, 256).boxes(np.array([[0.0, 0.5, 1.0, 1.0]]), 480, 640), [[0, 128, 341, 256]]
    )
