"""Options of ``bodvcl detect``."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Annotated

from pydantic import AfterValidator, Field

from bodvcl.config.command_line import Flag, argument
from bodvcl.config.schema import STRICT, BackboneName, ModelConfig, UserPath
from bodvcl.finetune.loop_options import LoopOptions, loop_contradictions, refuse_contradictions
from bodvcl.finetune.options import SCRATCH, expanded
from bodvcl.finetune.parse import read_options

KIND = "detect"
"""Folder in configs/ that holds the recipes."""
GROUND_TRUTH = "ground-truth"
"""Given in place of a file of detections, this means the annotated boxes."""


@dataclass
class DetectClip:
    """Clips around a key frame."""

    __pydantic_config__ = STRICT

    frames: Annotated[int, Field(ge=1)] | None = None
    """Frames per clip. None: those that the checkpoint was trained on."""
    stride: Annotated[int, Field(ge=1)] | None = None
    """Frames from one clip frame to the next. None: that of the checkpoint."""
    fps: Annotated[float, Field(gt=0, le=1000)] | None = 30.0
    """Frames per second in which the stride is counted, whatever the rate of the film; the official frames
    have 30. None: the frames of each film."""
    size: Annotated[int, Field(ge=16)] = 224
    """Height and width of a training clip in pixels."""
    short_side: tuple[int, int] = (256, 320)
    """Smallest and largest short side that a frame is scaled to before a training clip is cut out of it."""
    flip: Annotated[float, Field(ge=0, le=1)] = 0.5
    """Probability that a training clip is mirrored left and right."""
    test_side: Annotated[int, Field(ge=16)] = 256
    """Short side of the frames in the test. Nothing is cut off."""


@dataclass
class DetectOptions(LoopOptions):
    """Train an encoder to detect the actions of people (AVA), and evaluate it by frame mAP."""

    __pydantic_config__ = STRICT

    checkpoint: Annotated[str | None, AfterValidator(expanded), argument(metavar="RUN|FILE|scratch")] = None
    """What the backbone starts from: a run of bodvcl train or its encoder.pt, a run of bodvcl finetune or its
    classifier.pt, or scratch: new weights."""
    data: Annotated[str, argument(metavar="ava:FOLDER")] = ""
    """The data set."""
    recipe: Annotated[str | None, argument(metavar="NAME|FILE")] = None
    """Values to start from: ava, or a .yaml file. Options on the command line override it."""
    evaluate: Annotated[UserPath | None, argument(metavar="FILE")] = None
    """Train nothing: evaluate the predictions in this .csv file, lines video,second,x1,y1,x2,y2,action,score.
    They are compared with the ground truth of the validation films."""
    boxes: Annotated[str | None, argument(metavar="FILE|ground-truth")] = None
    """People in the test: a .csv or .pkl file of detections, or ground-truth.
    None: annotations/ava_val_predicted_boxes.csv of the data set."""
    train_boxes: Annotated[UserPath | None, argument(metavar="FILE")] = None
    """Detected people with actions, in the same .csv format, to train on beside the ground truth.
    An empty action is a person without any."""
    threshold: Annotated[float, Field(ge=0, le=1)] = 0.9
    """Detections with a lower score are not used."""
    backbone: BackboneName | None = None
    """Network of --checkpoint scratch; a checkpoint has its own. None: tiny."""
    width: Annotated[int, Field(ge=4)] = ModelConfig.width
    """Channels of the first layer of the tiny backbone (--checkpoint scratch)."""
    dilate: bool = True
    """Let the last stage of the backbone keep the resolution of the one before: stride 1 and dilation 2."""
    dropout: Annotated[float, Field(ge=0, lt=1)] = 0.5
    """Share of the features of a person that are zeroed while training."""
    clip: DetectClip = field(default_factory=DetectClip)
    extracted: Flag = False
    """Read the extracted frames, frames/<id>/<id>_000001.jpg, in place of the videos."""
    begins: Annotated[float, Field(ge=0)] | None = None
    """Second of the film at which its video file begins.
    None: 900 for files in videos_15min/ and clips/, 0 for those in videos/."""
    max_bad: Annotated[float, Field(ge=0, le=1)] = 0.01
    """Share of the training films that may turn out to be unreadable. Others take their places."""
    workers: Annotated[int, Field(ge=0, le=1024)] | None = None
    """Decoding processes. 0: decode in this process. None: chosen from the number of cores."""
    pictures: Annotated[int, Field(ge=0, le=64)] = 0
    """Number of test key frames to draw with their boxes and actions, evenly spread, into pictures.png."""
    dry_run: bool = False
    """Print what would be trained and tested, then stop. No film is opened and nothing is written."""


def parse_options(
    argv: Sequence[str], prog: str = "bodvcl detect", description: str | None = None
) -> DetectOptions:
    """Options of the command line over those of a recipe or of the run to resume.

    Raises:
        ConfigError: as :func:`bodvcl.finetune.parse.read_options`, or options that contradict each other.
        SystemExit: code 0 after ``--help``.
    """
    options = read_options(DetectOptions, KIND, argv, prog, description)
    refuse_contradictions(detect_contradictions(options))
    return options


def detect_contradictions(options: DetectOptions) -> Iterator[str]:
    """What the options ask for and cannot have."""
    if not options.data.startswith("ava:"):
        yield f"data: expected ava:FOLDER, the root of AVA, got {options.data!r}"
    if (options.checkpoint is None) == (options.evaluate is None):
        yield "give one of --checkpoint (train and test) and --evaluate (a file of predictions)"
        return
    if options.evaluate is not None:
        return
    yield from loop_contradictions(options)
    clip = options.clip
    low, high = clip.short_side
    if not clip.size <= low <= high:
        yield (
            f"clip.short_side: expected two numbers from clip.size ({clip.size}) upwards, the smaller first, "
            f"got {low} {high}"
        )
    if options.backbone is not None and options.checkpoint != SCRATCH:
        yield f"backbone {options.backbone}: a checkpoint has its own; it is for --checkpoint scratch"
