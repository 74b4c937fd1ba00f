"""Do the libraries that decode videos work here?"""

from __future__ import annotations

import tempfile
from pathlib import Path

import numpy as np

from bodvcl.doctor.outcome import Outcome, failed, ok, skipped, warning

_FRAMES, _HEIGHT, _WIDTH = 26, 48, 64
_WANTED = (17, 3, 25)
_NEAR = 12.0
"""Mean difference between a decoded frame and the drawn one, in levels of 0 to 255. Between two of the frames
it is larger."""


def check_pyav() -> Outcome:
    """The check ``pyav``: draw a video, encode it, and get exactly the frames asked for."""
    import av

    from bodvcl.data.files.probing import probe_video
    from bodvcl.data.files.reading import read_frames
    from bodvcl.data.made.rendered import encode

    if "libx264" not in av.codecs_available:
        return warning(
            f"PyAV {av.__version__} has no libx264: the built-in data sets cannot be rendered",
            "install the wheel of PyAV from PyPI",
        )
    drawn = drawn_frames()
    with tempfile.TemporaryDirectory(prefix="bodvcl-doctor-") as folder:
        path = Path(folder, "drawn.mp4")
        encode(path, drawn)
        got = read_frames(probe_video(path), _WANTED)
    apart = [
        float(np.abs(a.astype(float) - b.astype(float)).mean()) for a, b in zip(got, drawn[list(_WANTED)])
    ]
    if max(apart) > _NEAR:
        return failed(
            f"PyAV {av.__version__} gives other frames than those asked for (off by {max(apart):.0f} of 255)",
            "install a supported release of PyAV (docs/versions.md)",
        )
    codec = ".".join(str(number) for number in av.library_versions["libavcodec"])
    return ok(
        f"PyAV {av.__version__} (libavcodec {codec}) encodes H.264 and decodes exactly the frames asked for"
    )


def drawn_frames() -> np.ndarray:
    """uint8 (frames, height, width, 3): a bar that moves, on a ground that brightens."""
    frames = np.zeros((_FRAMES, _HEIGHT, _WIDTH, 3), np.uint8)
    for number, frame in enumerate(frames):
        frame[:] = 40 + 4 * number
        frame[:, 2 * number : 2 * number + 8] = 230
    return frames


def check_dali() -> Outcome:
    """The check ``dali``."""
    import torch

    from bodvcl.data.sources.source_choice import can_run_dali

    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    able, why_not = can_run_dali((), device)
    if not able:
        return skipped(f"{why_not}; videos are decoded by PyAV")
    import nvidia.dali

    from bodvcl.data.sources import dali_graph  # noqa: F401  it loads what decoding needs

    return ok(f"DALI {nvidia.dali.__version__} loads; decodes on {device.type}")


def check_torchcodec() -> Outcome:
    """The check ``torchcodec``."""
    from bodvcl.data.sources.source_choice import can_run_torchcodec

    able, why_not = can_run_torchcodec(())
    if able:
        return ok("TorchCodec loads and finds FFmpeg")
    if "not installed" in why_not:
        return skipped(f"{why_not}; not needed")
    return warning(why_not, "only --decoder torchcodec needs it")
