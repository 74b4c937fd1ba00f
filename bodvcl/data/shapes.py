"""The built-in data set: videos of moving shapes with four labelled semantics (section 5.5 of the paper).

Static semantics: background colour and shape. Dynamic semantics: change of the background's brightness and
trajectory of the shape. Random starts, phases and speeds, a drifting camera, texture and sensor noise keep
any single frame from telling the dynamic labels. What tells two videos apart without belonging to a semantic
(tint, texture, size) is faint: contrastive learning takes the easiest way, and would learn nothing else.
Every video is a pure function of (configuration, split, index) and is stored as a real H.264 file.
"""

from __future__ import annotations

import csv
import hashlib
import json
import os
import shutil
import uuid
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import asdict, dataclass
from pathlib import Path

import av
import numpy as np

from bodvcl.config import ShapesConfig
from bodvcl.data.randomness import generator
from bodvcl.data.workers import available_cores, end_with_parent, leave_signals_to_parent, process_context
from bodvcl.errors import DataError
from bodvcl.progress import progress_bar

SEMANTICS: dict[str, tuple[str, ...]] = {
    "background": ("blue", "green", "orange", "purple"),
    "shape": ("triangle", "circle", "square", "pentagon"),
    "brightness": ("brightening", "darkening", "pulsing", "steady"),
    "trajectory": ("rotation", "linear", "eight", "jumping"),
}
"""Names of the classes of each semantic; a data set with n classes uses the first n of each."""

SPLITS = ("train", "probe_train", "probe_test")
FPS = 20
GOP = 12
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
class Waves:
    """A texture that can be evaluated anywhere: sum_k amplitude cos(x fx_k + y fy_k + phase_k)."""

    fx: np.ndarray
    fy: np.ndarray
    phase: np.ndarray
    amplitude: float


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


def _trajectory(kind: str, frames: int, radius: float, rng: np.random.Generator) -> np.ndarray:
    """(frames, 2) path around the origin; every kind has mean square distance radius^2 from it."""
    phase = 2 * np.pi * (np.arange(frames) / rng.uniform(16, 26) * rng.choice([-1, 1]) + rng.random())
    heading = rng.uniform(0, 2 * np.pi)
    hold, offset = rng.uniform(5, 7), rng.random()
    corners = np.cumsum(rng.uniform(np.pi / 2, 3 * np.pi / 2, size=frames // 5 + 2))
    corner = corners[(np.arange(frames) / hold + offset).astype(int)]
    along, across = {
        "rotation": (np.cos(phase), np.sin(phase)),
        "linear": (np.sqrt(2) * np.cos(phase), np.zeros(frames)),
        "eight": (1.2 * np.cos(phase), np.sqrt(0.56) * np.sin(2 * phase)),
        "jumping": (np.cos(corner), np.sin(corner)),
    }[kind]
    x = np.cos(heading) * along - np.sin(heading) * across
    y = np.sin(heading) * along + np.cos(heading) * across
    return radius * np.stack([x, y], axis=1)


def _waves(count: int, shortest: float, longest: float, spread: float, rng: np.random.Generator) -> Waves:
    frequency = 2 * np.pi / np.exp(rng.uniform(np.log(shortest), np.log(longest), count))
    direction = rng.uniform(0, np.pi, count)
    return Waves(
        fx=frequency * np.cos(direction),
        fy=frequency * np.sin(direction),
        phase=rng.uniform(0, 2 * np.pi, count),
        amplitude=spread * np.sqrt(2 / count),
    )


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
    path = _trajectory(labels["trajectory"], frames, rng.uniform(0.14, 0.20) * size, rng)
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
        background_texture=_waves(10, 0.1 * size, 0.5 * size, 0.02, rng),
        shape_texture=_waves(3, 0.08 * size, 0.25 * size, 0.03, rng),
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
    image += _sensor_noise(image.shape, _generator(config, split, 2, index))
    return np.clip(image, 0, 255).astype(np.uint8), scene.labels


def _sensor_noise(shape: tuple[int, ...], rng: np.random.Generator) -> np.ndarray:
    """Noise of standard deviation 4 grey levels, the sum of two uniform ones, plus 0.5 for rounding."""
    table = ((np.arange(256) - 127.5) / 255 * 4 * np.sqrt(6) + 0.25).astype(np.float32)
    count = int(np.prod(shape))
    bytes_ = np.frombuffer(rng.bytes(2 * count), np.uint8).reshape(2, *shape)
    return table[bytes_[0]] + table[bytes_[1]]


def encode(path: Path, frames: np.ndarray) -> None:
    """Write uint8 RGB frames (frames, height, width, 3) as H.264 in .mp4, in closed groups of 12 frames."""
    with av.open(str(path), "w", format="mp4") as container:
        stream = container.add_stream("libx264", rate=FPS)
        stream.height, stream.width = frames.shape[1:3]
        stream.pix_fmt = "yuv420p"
        stream.thread_count = 1
        stream.options = {
            "preset": "veryfast",
            "crf": "20",
            "g": str(GOP),
            "x264-params": "open-gop=0:scenecut=0",
        }
        for frame in frames:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(frame, format="rgb24")))
        container.mux(stream.encode(None))


def cache_key(config: ShapesConfig) -> str:
    """Sixteen hexadecimal digits that change with every setting that changes a pixel or a label."""
    settings = {k: v for k, v in asdict(config).items() if k != "cache"}
    text = json.dumps({"renderer": _RENDERER, **settings}, sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def _render_many(config: ShapesConfig, folder: Path, items: list[tuple[str, int]]) -> list[dict[str, str]]:
    rows = []
    for split, index in items:
        frames, labels = render(config, split, index)
        relative = f"{split}/{index:05d}.mp4"
        encode(folder / relative, frames)
        rows.append({"path": relative, "split": split, **labels})
    return rows


def _start_worker() -> None:
    leave_signals_to_parent()
    end_with_parent()


def _render_parallel(
    config: ShapesConfig, folder: Path, chunks: list[list[tuple[str, int]]], workers: int
) -> Iterator[list[dict[str, str]]]:
    with ProcessPoolExecutor(workers, process_context(), _start_worker) as pool:
        futures = [pool.submit(_render_many, config, folder, chunk) for chunk in chunks]
        try:
            for future in as_completed(futures):
                yield future.result()
        finally:
            pool.shutdown(wait=True, cancel_futures=True)


def _write(config: ShapesConfig, folder: Path, workers: int, progress: bool) -> None:
    items = [(split, index) for split, count in split_sizes(config).items() for index in range(count)]
    for split in SPLITS:
        (folder / split).mkdir(parents=True)
    chunks = [items[start : start + 8] for start in range(0, len(items), 8)]
    rows = []
    with progress_bar(total=len(items), desc="rendering shapes", unit="video", disable=not progress) as bar:
        for done in _render_parallel(config, folder, chunks, workers):
            rows += done
            bar.update(len(done))
    rows.sort(key=lambda row: (SPLITS.index(row["split"]), row["path"]))
    (folder / "settings.json").write_text(json.dumps(asdict(config), indent=2, default=str) + "\n")
    with open(folder / "labels.csv", "w", newline="") as file:
        writer = csv.DictWriter(file, ["path", "split", *SEMANTICS])
        writer.writeheader()
        writer.writerows(rows)


def prepare(config: ShapesConfig, *, workers: int | None = None, progress: bool = True) -> Path:
    """Render the data set unless the cache already holds it.

    The videos are written to a temporary folder that is renamed when it is complete, so a cache that
    exists is whole, and two processes that race both end up with the same folder.

    Args:
        config: settings; each set of settings has its own folder below `config.cache`.
        workers: rendering processes. None: one per core.
        progress: show a progress bar.

    Returns:
        `labels.csv` of the data set, with the columns path, split, background, shape, brightness, trajectory.

    Raises:
        DataError: the cache folder cannot be written.
    """
    cache = Path(config.cache).expanduser()
    final = cache / cache_key(config)
    if (final / "labels.csv").is_file():
        return final / "labels.csv"
    temporary = cache / f".{final.name}-{os.getpid()}-{uuid.uuid4().hex[:8]}"
    try:
        temporary.mkdir(parents=True)
        _write(config, temporary, workers or available_cores(), progress)
        try:
            temporary.rename(final)
        except OSError:
            if not (final / "labels.csv").is_file():
                raise
    except (OSError, av.FFmpegError) as error:
        raise DataError(
            f"cannot write the built-in data set to {cache}: {error.strerror or error}; "
            f"free some space there, or choose another folder with --shapes.cache"
        ) from error
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
    return final / "labels.csv"
