"""Options of ``bodvcl figures``."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal, get_args

from pydantic import AfterValidator, Field

from bodvcl.config.command_line import Positional, argument
from bodvcl.config.schema import STRICT, UserPath
from bodvcl.errors import ConfigError
from bodvcl.evaluate.names import FeatureKind
from bodvcl.evaluate.options import LabelledData, each_once, refuse_two_caches

FigureName = Literal["cam", "distinctiveness", "eigenvalues", "epochs", "curves"]
FIGURES: tuple[FigureName, ...] = get_args(FigureName)
CamOf = Literal["class", "match", "static", "dynamic"]


@dataclass(kw_only=True)
class FigureOptions(LabelledData):
    """Draw the paper's figures of one or more runs, side by side, into one page."""

    __pydantic_config__ = STRICT

    runs: Annotated[
        Positional[tuple[UserPath, ...]],
        AfterValidator(each_once),
        argument(metavar="RUN [RUN ...]"),
    ]
    """Folders of runs."""
    figures: Annotated[tuple[FigureName, ...], AfterValidator(each_once)] = ()
    """cam: where each encoder looks (Fig. 8). distinctiveness: similarity of frames (Fig. 11).
    eigenvalues: of the Koopman operators (Fig. 4). epochs: accuracy over the training (Fig. 9).
    curves: what the training logged. Without this option: all that can be made."""
    out: Annotated[UserPath, argument(metavar="FOLDER")] = Path("figures")
    """Folder of figures.html and of the figures as files."""
    names: Annotated[tuple[str, ...], argument(metavar="NAME [NAME ...]")] = ()
    """What the figures call the runs, one name per run. Without this option: their folders."""
    videos: Annotated[int, Field(ge=2)] = 128
    """Test videos for distinctiveness, eigenvalues and the share of motion, evenly spread."""
    cam: Annotated[tuple[str, ...], argument(metavar="VIDEO[@SECONDS]|N [...]")] = ()
    """Videos that cam shows: files, each with the second at which the clip begins, or a number of test
    videos. Without this option: 2."""
    cam_of: CamOf | None = None
    """What the maps of cam explain. class: the score of a class under a linear probe.
    match: the similarity with another clip of the video, which the contrastive loss raises.
    static: the same of the static stream. dynamic: the size of the dynamic stream.
    None: class if --labels is given, else match."""
    cam_class: Annotated[str | None, argument(metavar="CLASS")] = None
    """A class of the first column of --labels, for --cam-of class.
    None: of each clip the class that the probe predicts."""
    cam_depth: Annotated[int, Field(ge=1, le=4)] | None = None
    """Feature map of the backbone that cam looks at, 1 (shallow) to 4 (the last).
    None: the deepest of at least 7 x 7 cells."""
    probe: Literal["ridge", "sgd", "knn"] = "ridge"
    """Classifier of epochs, as in bodvcl probe."""
    features: Annotated[tuple[FeatureKind, ...], Field(min_length=1), AfterValidator(each_once)] = (
        "backbone",
    )
    """Features that epochs probes, as bodvcl probe calls them."""

    @property
    def explained(self) -> CamOf:
        """What the maps of cam explain."""
        return self.cam_of or ("class" if self.labels else "match")

    def is_asked_for(self, figure: FigureName) -> bool:
        """Whether the user named this figure, or something that only this figure needs."""
        of_cam = (self.cam, self.cam_of, self.cam_class, self.cam_depth)
        return figure in self.figures or (figure == "cam" and any(of_cam))


def refuse_contradictions(options: FigureOptions) -> None:
    """Raise :class:`~bodvcl.errors.ConfigError` for options that contradict each other."""
    refuse_two_caches(options)
    if not options.runs:
        raise ConfigError("missing: RUN; expected the folders of one or more runs; see bodvcl figures --help")
    if options.names and len(options.names) != len(options.runs):
        raise ConfigError(
            f"--names: expected {len(options.runs)} names, one per run, got {len(options.names)}"
        )
    if len(set(options.names)) < len(options.names):
        raise ConfigError("--names: two runs have the same name; expected different names")
    if options.cam_class is not None and options.explained != "class":
        raise ConfigError(f"--cam-class applies only to --cam-of class, not to {options.explained}")
    if options.figures and "cam" not in options.figures and options.is_asked_for("cam"):
        raise ConfigError(
            "--cam, --cam-of, --cam-class and --cam-depth apply only to the figure cam; add it to --figures"
        )
