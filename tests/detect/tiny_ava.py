"""A made AVA in its official layout: rectangles whose action can be seen in their motion alone."""

from __future__ import annotations

from pathlib import Path

import av
import numpy as np

STAND, WALK, JUMP, BEND = 12, 14, 80, 1
"""Official numbers: rectangles that stand, move left and right, move up and down; bend does not count."""
ROWS, COLUMNS, RATE = 48, 64, 10
BEGINS = 901
"""Second of the film at which the files begin."""

_NAMES = {BEND: "bend/bow (at the waist)", STAND: "stand", WALK: "walk", JUMP: "jump/leap"}


def _film(path: Path, rng: np.random.Generator, seconds: int) -> list[tuple[int, np.ndarray, int]]:
    """Write a film with two people, who begin another action half a second after each key frame.

    Returns:
        Second, box and action of each person in each key frame.
    """
    starts = [np.array([rng.uniform(7, ROWS - 27), left + rng.uniform(7, 12)]) for left in (0, COLUMNS // 2)]
    actions, phases = rng.choice([STAND, WALK, JUMP], (seconds + 1, 2)), rng.random((seconds + 1, 2))
    paper = np.full((ROWS, COLUMNS, 3), rng.integers(60, 120, 3), np.uint8)
    rows = []
    with av.open(str(path), "w") as out:
        stream = out.add_stream("libx264", rate=RATE)
        stream.height, stream.width, stream.pix_fmt = ROWS, COLUMNS, "yuv420p"
        stream.thread_count = 1
        stream.options = {"crf": "16"}
        for frame in range(seconds * RATE):
            image = paper.copy()
            part = (frame + RATE // 2) // RATE
            for start, action, phase in zip(starts, actions[part], phases[part]):
                swing = 5 * np.sin(2 * np.pi * (frame / 4 + phase))
                moved = {STAND: (0, 0), WALK: (0, swing), JUMP: (swing, 0)}[int(action)]
                top, left = np.round(start + moved).astype(int)
                image[top : top + 20, left : left + 11] = (220, 60, 60)
                if frame % RATE == 0 and 1 <= part < seconds - 1:
                    box = np.array([left, top, left + 11, top + 20]) / [COLUMNS, ROWS, COLUMNS, ROWS]
                    rows.append((BEGINS + part, box, int(action)))
            out.mux(stream.encode(av.VideoFrame.from_ndarray(image, format="rgb24")))
        out.mux(stream.encode(None))
    return rows


def tiny_ava(root: Path, train: int = 6, val: int = 3, seconds: int = 8, seed: int = 0) -> Path:
    """Films of ``seconds`` seconds with two people each, lists, and detections of the validation films.

    Detections are the annotated boxes moved by a little, with a score of 0.95, and a false one in each key
    frame with 0.5.
    """
    rng = np.random.default_rng(seed)
    lists = root / "annotations"
    lists.mkdir(parents=True)
    (root / "videos_15min").mkdir()
    found = []
    for split, count in (("train", train), ("val", val)):
        lines = []
        for number in range(count):
            name = f"{split}-film_{number:02d}"
            for person, (second, box, action) in enumerate(
                _film(root / f"videos_15min/{name}.mp4", rng, seconds)
            ):
                corners = ",".join(f"{value:.3f}" for value in box)
                lines.append(f"{name},{second:04d},{corners},{action},{person % 2}\n")
                lines.append(f"{name},{second:04d},{corners},{BEND},{person % 2}\n" if action == JUMP else "")
                near = np.clip(box + rng.uniform(-0.01, 0.01, 4), 0, 1)
                if split == "val":
                    found.append(f"{name},{second:04d},{','.join(f'{v:.3f}' for v in near)},,0.95\n")
                    found.append(f"{name},{second:04d},0.4,0.4,0.6,0.6,,0.5\n")
        (lists / f"ava_{split}_v2.2.csv").write_text("".join(lines))
    (lists / "ava_val_predicted_boxes.csv").write_text("".join(found))
    (lists / "ava_val_excluded_timestamps_v2.2.csv").write_text("val-film_00,0904\n")
    for name, numbers in (
        ("ava_action_list_v2.2.pbtxt", _NAMES),
        ("ava_action_list_v2.2_for_activitynet_2019.pbtxt", (STAND, WALK, JUMP)),
    ):
        items = "".join(f'item {{\n  name: "{_NAMES[number]}"\n  id: {number}\n}}\n' for number in numbers)
        (lists / name).write_text(items)
    return root
