"""The built-in data set: videos of moving shapes with four labelled semantics (section 5.5 of the paper).

Static semantics: background colour and shape. Dynamic semantics: change of the background's brightness and
trajectory of the shape. Random starts, phases and speeds, a drifting camera, texture and sensor noise keep
any single frame from telling the dynamic labels. What tells two videos apart without belonging to a semantic
(tint, texture, size) is faint: contrastive learning takes the easiest way, and would learn nothing else.
Every video is a pure function of (configuration, split, index) and is stored as a real H.264 file.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path

import numpy as np

from bodvcl.config.schema import ShapesConfig
from bodvcl.data.made.rendered import Rendering, write_rendering
from bodvcl.data.made.scenery import TRAJECTORIES, Waves, random_waves, sensor_noise, trajectory
from bodvcl.data.randomness import generator

SEMANTICS: dict[str, tuple[str, ...]] = {
    "background": ("blue", "green", "orange", "purple"),
    "shape": ("triangle", "circle", "square", "pentagon"),
    "brightness": ("brightening", "darkening", "pulsing", "steady"),
    "trajectory": TRAJECTORIES,
}
"""Names of the classes of each semantic; a data set with n classes uses the first n of each."""

SPLITS = ("train", "probe_train", "probe_test")
_RENDERER = 3  # part of the cache key: raise it when the same settings would give other pixels

BASE_COLOUR = {
    "blue": (0.30, 0.45, 0.95),
    "green": (0.30, 0.80, 0.35),
    "orange": (0.95, 0.60, 0.25),
    "purple": (0.70, 0.35, 0.85),
}
_SIDES = {"pentagon": 5, "triangle": 3, "square": 4}
_GAIN_LOW, _GAIN_HIGH = 0.45, 1.0


@dataclass(frozen=True)
class Scene:
    """The exact truth about one video: what is where in every frame.

    All positions are in pixels, x to the right and y down, the centre of the top left pixel at (0, 0).

    Attributes:
        size: height and width of a frame.
        labels: class name per semantic.
        centre: (frames, 2) float64, x and y of the shape's centre in the image.
        angle: (frames,) float64, orientation of the shape in radians.
        camera: (frames, 2) float64, displacement of the background since the first frame.
        gain: (frames,) float64 in (0, 1], brightness of the background.
        radius: radius of the disk that has the shape's area.
        background_colour, shape_colour: (3,) float64 RGB in [0, 1].
        background_texture, shape_texture: waves in the camera's and in the shape's own coordinates.
    """

    size: int
    labels: dict[str, str]
    centre: np.ndarray
    angle: np.ndarray
    camera: np.ndarray
    gain: np.ndarray
    radius: float
    background_colour: np.ndarray
    shape_colour: np.ndarray
    background_texture: Waves
    shape_texture: Waves


def split_sizes(config: ShapesConfig) -> dict[str, int]:
    """Number of videos per split. The probe videos are divided into two halves."""
    half = config.probe_videos // 2
    return {"train": config.train_videos, "probe_train": config.probe_videos - half, "probe_test": half}


def _generator(config: ShapesConfig, split: str, purpose: int, index: int) -> np.random.Generator:
    return generator(config.seed, 16 * (1 + SPLITS.index(split)) + purpose, 0, index)


def video_labels(config: ShapesConfig, split: str, index: int) -> dict[str, str]:
    """Class names of one video.

    Any `classes` consecutive videos hold every class of every semantic once, and any block of classes^4
    (classes^3 with a correlation) holds every combination once.
    """
    classes = config.classes
    confounded = {"sc": ("trajectory", "background"), "dc": ("shape", "brightness")}
    copy, source = confounded.get(config.correlation, ("", "")) if split == "train" else ("", "")
    free = [name for name in SEMANTICS if name != copy]
    per_block = classes ** len(free)
    block, place = divmod(index, per_block)
    rng = _generator(config, split, 0, block)
    groups = rng.permutation(per_block // classes)
    shifts = rng.permuted(np.tile(np.arange(classes), (len(groups), 1)), axis=1)
    group, member = divmod(place, classes)
    digits = groups[group] // classes ** np.arange(len(free)) % classes
    chosen = dict(zip(free, (digits + shifts[group, member]) % classes))
    if copy:
        chosen[copy] = chosen[source]
    return {name: SEMANTICS[name][chosen[name]] for name in SEMANTICS}


def _brightness(kind: str, frames: int, rng: np.random.Generator) -> np.ndarray:
    """Gain of the background per frame: at every time uniform over its range, whatever the kind."""
    ramp = np.arange(frames) / rng.uniform(24, 36) + rng.random()
    pulse = np.arange(frames) / rng.uniform(16, 24) + rng.random()
    level = rng.random()
    share = {
        "brightening": ramp % 1,
        "darkening": -ramp % 1,
        "pulsing": np.abs(2 * (pulse % 1) - 1),
        "steady": np.full(frames, level),
    }[kind]
    return _GAIN_LOW + (_GAIN_HIGH - _GAIN_LOW) * share


def ground_truth(config: ShapesConfig, split: str, index: int) -> Scene:
    """The scene of one video: labels and the exact state of every frame.

    Raises:
        ValueError: unknown split, or an index outside of it.
    """
    sizes = split_sizes(config)
    if split not in sizes or not 0 <= index < sizes[split]:
        raise ValueError(
            f"no video {index} in split {split!r}; expected one of {sizes} (split: number of videos)"
        )
    labels = video_labels(config, split, index)
    rng = _generator(config, split, 1, index)
    size, frames = config.size, config.frames
    time = np.arange(frames)
    wobble = 0.008 * size * np.sin(2 * np.pi * (time[:, None] / rng.uniform(20, 50, 2) + rng.random(2)))
    camera = time[:, None] * rng.uniform(-0.002, 0.002, 2) * size + wobble
    camera -= camera[0]
    middle = (size - 1) / 2 + rng.uniform(-0.08, 0.08, 2) * size
    path = trajectory(labels["trajectory"], frames, rng.uniform(0.14, 0.20) * size, rng)
    gain = _brightness(labels["brightness"], frames, rng)
    background = np.clip(np.asarray(BASE_COLOUR[labels["background"]]) + rng.normal(0, 0.01, 3), 0, 1)
    return Scene(
        size=size,
        labels=labels,
        centre=middle + path + camera,
        angle=rng.uniform(0, 2 * np.pi) + time * rng.uniform(-0.06, 0.06),
        camera=camera,
        gain=gain,
        radius=rng.uniform(0.19, 0.21) * size,
        background_colour=background,
        shape_colour=np.clip(0.9 + rng.normal(0, 0.02, 3), 0, 1),
        background_texture=random_waves(10, 0.1 * size, 0.5 * size, 0.02, rng),
        shape_texture=random_waves(3, 0.08 * size, 0.25 * size, 0.03, rng),
    )


def _background(scene: Scene) -> np.ndarray:
    """(frames, size, size) float32: the drifting texture, around 1, times the gain."""
    waves, axis = scene.background_texture, np.arange(scene.size)
    shift = np.exp(-1j * (scene.camera @ np.stack([waves.fx, waves.fy]))) * np.exp(1j * waves.phase)
    rows = np.exp(1j * axis[:, None] * waves.fy)
    columns = np.exp(1j * axis[None, :] * waves.fx[:, None])
    left = shift[:, None, :] * rows
    real = np.concatenate([left.real, -left.imag], axis=2).astype(np.float32)
    basis = np.concatenate([columns.real, columns.imag], axis=0).astype(np.float32)
    texture = 1 + np.float32(waves.amplitude) * (real @ basis)
    return texture * scene.gain.astype(np.float32)[:, None, None]


def shape_coordinates(scene: Scene) -> tuple[np.ndarray, np.ndarray]:
    """Coordinates of every pixel in the shape's own frame, each (frames, size, size) float32."""
    axis = np.arange(scene.size, dtype=np.float32)
    dx = axis[None, None, :] - scene.centre[:, 0, None, None].astype(np.float32)
    dy = axis[None, :, None] - scene.centre[:, 1, None, None].astype(np.float32)
    cos = np.cos(scene.angle).astype(np.float32)[:, None, None]
    sin = np.sin(scene.angle).astype(np.float32)[:, None, None]
    return cos * dx + sin * dy, cos * dy - sin * dx


def shape_coverage(scene: Scene, u: np.ndarray, v: np.ndarray) -> np.ndarray:
    """Share of each pixel that the shape covers, in [0, 1], from shape coordinates; same shape as `u`."""
    name = scene.labels["shape"]
    if name == "circle":
        distance = np.sqrt(u * u + v * v) - np.float32(scene.radius)
    else:
        sides = _SIDES[name]
        apothem = scene.radius * np.sqrt(np.pi / (sides * np.tan(np.pi / sides)))
        distance = np.full_like(u, -np.inf)
        for side in range(sides):
            normal = 2 * np.pi * side / sides
            np.maximum(
                distance, np.float32(np.cos(normal)) * u + np.float32(np.sin(normal)) * v, out=distance
            )
        distance -= np.float32(apothem)
    return np.clip(np.float32(0.5) - distance, 0, 1)


def render(config: ShapesConfig, split: str, index: int) -> tuple[np.ndarray, dict[str, str]]:
    """Draw one video.

    Returns:
        uint8 frames (frames, size, size, 3) RGB, and the labels.
    """
    scene = ground_truth(config, split, index)
    image = _background(scene)[..., None] * (255 * scene.background_colour).astype(np.float32)
    u, v = shape_coordinates(scene)
    alpha = shape_coverage(scene, u, v)
    where = np.nonzero(alpha)
    waves, u, v = scene.shape_texture, u[where], v[where]
    texture = np.ones_like(u)
    for fx, fy, phase in zip(waves.fx, waves.fy, waves.phase):
        texture += np.float32(waves.amplitude) * np.cos(
            np.float32(fx) * u + np.float32(fy) * v + np.float32(phase)
        )
    colour = texture[:, None] * (255 * scene.shape_colour).astype(np.float32)
    image[where] += alpha[where][:, None] * (colour - image[where])
    image += sensor_noise(image.shape, _generator(config, split, 2, index))
    return np.clip(image, 0, 255).astype(np.uint8), scene.labels


def rendering(config: ShapesConfig) -> Rendering:
    """The data set of these settings, to be written by :func:`bodvcl.data.made.rendered.write_rendering`."""
    settings = {"renderer": _RENDERER} | {k: v for k, v in asdict(config).items() if k != "cache"}
    return Rendering(
        "shapes", config.cache, settings, split_sizes(config), list(SEMANTICS), partial(render, config)
    )


def prepare(config: ShapesConfig, *, workers: int | None = None, progress: bool = True) -> Path:
    """Render the data set unless the cache already holds it.

    Returns:
        `labels.csv`, with the columns path, split, background, shape, brightness, trajectory.

    Raises:
        DataError: the cache folder cannot be written.
    """
    return write_rendering(rendering(config), workers=workers, progress=progress)
