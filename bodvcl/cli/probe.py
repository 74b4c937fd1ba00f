"""``python -m bodvcl.probe``: what can be read from the frozen features of a trained encoder."""

from __future__ import annotations

import argparse
import errno
import sys
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NoReturn

from bodvcl.cli.console import run_verb, uninterrupted
from bodvcl.config.limits import MOST, SEEDS
from bodvcl.errors import ConfigError
from bodvcl.evaluate.names import CONTROLS, FLOWS, PROBES
from bodvcl.system.folders import cache_folder, expand

CLIP = {"frames": int, "stride": int, "size": int, "fps": float}


def main(argv: Sequence[str] | None = None) -> int:
    """Parse the options and probe; returns the exit code."""
    arguments = list(sys.argv[1:] if argv is None else argv)
    return run_verb("probe", lambda: _probe(_parser().parse_args(arguments)))


def _probe(given: argparse.Namespace) -> int:
    with uninterrupted():
        from bodvcl.evaluate.probe_plot import check_plot_path, probe_figure, save_plot
        from bodvcl.evaluate.probe_run import ProbeOptions, run_probe
        from bodvcl.text.tables import show

    if given.plot is not None:
        check_plot_path(given.plot)
        _check_writable("--plot", given.plot)
    if given.out is not None:
        _check_writable("--out", given.out)
    if given.flow != "auto" and given.control != "dynamic":
        raise ConfigError(f"--flow {given.flow} is of the dynamic control; add --control dynamic")
    if given.no_cache and given.cache is not None:
        raise ConfigError("--cache and --no-cache contradict each other; drop one of them")
    clip = {name: value for name in (*CLIP, "short") if (value := getattr(given, f"clip.{name}")) is not None}
    report = run_probe(
        ProbeOptions(
            checkpoint=given.checkpoint,
            data=given.data,
            labels=given.labels,
            probes=tuple(dict.fromkeys(given.probe)),
            streams=given.streams,
            control=given.control,
            flow=given.flow,
            clips_per_video=given.clips_per_video,
            clip=clip,
            k=given.k,
            temperature=given.temperature,
            against=given.against,
            drop_overlap=given.drop_overlap,
            cache=None if given.no_cache else (given.cache or cache_folder("features")),
            device=given.device,
            workers=given.workers,
            seed=given.seed,
        )
    )
    show(*report.tables())
    if given.out is not None:
        report.save(given.out)
        print(f"wrote {given.out}")
    if given.plot is not None:
        figure = probe_figure(report.scores, report.against, given.against or "")
        if figure is None:
            raise ConfigError("--plot: there is nothing to draw; add retrieval or a classifier to --probe")
        save_plot(figure, given.plot)
        print(f"wrote {given.plot}")
    return 0


def _check_writable(option: str, path: Path) -> None:
    """Raises ConfigError before any work is done for a file that could not be written after it."""
    try:
        if path.is_dir():
            raise IsADirectoryError(errno.EISDIR, "it is a folder; expected the name of a file")
        there = next(folder for folder in path.absolute().parents if folder.exists())
        with tempfile.TemporaryFile(dir=there):
            pass
    except OSError as error:
        raise ConfigError(f"{option}: cannot write {path}: {error.strerror or error}") from error


class _Parser(argparse.ArgumentParser):
    """Mistakes are one line, as with every verb."""

    def error(self, message: str) -> NoReturn:
        raise ConfigError(f"{message}; see bodvcl probe --help")


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(
        prog="bodvcl probe",
        description="Probe the frozen features of a trained encoder.",
        allow_abbrev=False,
    )
    add = parser.add_argument
    add("--checkpoint", type=expand, required=True, metavar="RUN|FILE", help="run folder, or its encoder.pt")
    add("--data", help="labelled .csv list, NAME:FOLDER, shapes or digits; default: the data of the run")
    add(
        "--labels",
        nargs="+",
        default=[],
        metavar="COLUMN",
        help="label columns to probe; default: all that can be labels",
    )
    add(
        "--probe",
        nargs="+",
        choices=PROBES,
        default=["ridge", "knn", "retrieval"],
        metavar="PROBE",
        help="ridge: linear, in closed form; sgd: linear, as in the paper; knn: weighted vote of neighbours; "
        "retrieval: R@k; default: ridge knn retrieval",
    )
    add("--streams", action="store_true", help="probe the projector's mean and the two Koopman streams too")
    add(
        "--control",
        choices=CONTROLS,
        default="none",
        help="section 3.2 of the paper; static: one frame repeated; dynamic: noise moved by optical flow",
    )
    add(
        "--flow",
        choices=FLOWS,
        default="auto",
        help="of the dynamic control; auto: RAFT where its weights are on disk, else TV-L1",
    )
    add(
        "--against",
        type=_encoder,
        metavar="RUN|FILE|untrained",
        help="another encoder; differences are on the same videos",
    )
    add("--drop-overlap", action="store_true", help="test without videos that train too, instead of refusing")
    add("--clips-per-video", type=_count(1), default=3, help="clips whose features are averaged; default: 3")
    for name, kind in CLIP.items():
        number = _positive if kind is float else _count(1)
        add(f"--clip.{name}", type=number, metavar="N", help="where it is not to be the run's")
    add("--clip.short", choices=("refuse", "repeat"), help="videos shorter than a clip; default: the run's")
    add("--k", type=_count(1), default=200, help="neighbours of knn; default: 200")
    add("--temperature", type=_positive, default=0.07, help="of knn; default: 0.07")
    add("--out", type=expand, metavar="FILE", help="write the scores as JSON")
    add("--plot", type=expand, metavar="FILE", help="draw R@k and the accuracy of each class, .png or .svg")
    add(
        "--cache",
        type=expand,
        metavar="FOLDER",
        help="of features; default: bodvcl/features in the user's cache folder",
    )
    add("--no-cache", action="store_true", help="compute features anew and keep none")
    add("--device", default="auto", help="auto, cpu, cuda or cuda:N")
    add(
        "--workers",
        type=_count(0, 1024),
        help="decoding processes; 0: decode in this process; default: by cores",
    )
    add(
        "--seed",
        type=_count(0, SEEDS - 1),
        default=0,
        help="of drawn halves, of sgd and of the controls; default: 0",
    )
    return parser


def _encoder(text: str) -> str:
    return text if text == "untrained" else str(expand(text))


def _count(least: int, most: int = MOST[int]) -> Callable[[str], int]:
    def whole(text: str) -> int:
        try:
            value = int(text)
        except ValueError:
            value = least - 1
        if not least <= value <= most:
            limit = f"of at most {most}" if value > most else f"of {least} or more"
            raise argparse.ArgumentTypeError(f"expected a whole number {limit}, got {text}")
        return value

    return whole


def _positive(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = 0.0
    if not 0 < value <= MOST[float]:
        raise argparse.ArgumentTypeError(f"expected a number above 0, at most {MOST[float]:g}, got {text}")
    return value


if __name__ == "__main__":
    sys.exit(main())
