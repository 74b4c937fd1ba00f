"""Makes the figures one by one; what two of them need is computed once."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from typing import Any

import torch

from bodvcl.data.files.video import VideoInfo
from bodvcl.evaluate.columns import LabelChoice
from bodvcl.evaluate.labels_to_probe import label_notes, wanted_labels
from bodvcl.evaluate.splits import refuse_shared
from bodvcl.figures.cam import draw_clips
from bodvcl.figures.cam_class import class_number, first_column
from bodvcl.figures.cam_clips import WITHOUT_TIME, CamVideo, asked_videos, same_clip
from bodvcl.figures.cam_motion import measure_motion
from bodvcl.figures.curves import draw_curves
from bodvcl.figures.epochs import draw_epochs, probe_epochs, refuse_without_kept
from bodvcl.figures.folder import FigureFolder
from bodvcl.figures.frozen import analyse_run, draw_distinctiveness, draw_eigenvalues
from bodvcl.figures.looking import looking
from bodvcl.figures.opened import OpenedRun
from bodvcl.figures.options import FigureName, FigureOptions
from bodvcl.figures.section import FigureSection
from bodvcl.figures.videos import common_videos, data_name, held_out
from bodvcl.runs.analysis import Analysis
from bodvcl.text.words import counted

SHOWN = 2
"""Test videos that cam shows unless the user chooses."""


class FigureWork:
    """The figures of some runs.

    Args:
        options: runs, figures and data.
        runs: the opened runs.
        folder: where files are written.
        device: where encoders run.
        say: takes lines for the user.
    """

    def __init__(
        self,
        options: FigureOptions,
        runs: Sequence[OpenedRun],
        folder: FigureFolder,
        device: torch.device,
        say: Callable[[str], None],
    ) -> None:
        self.options, self.runs, self.folder, self.device, self.say = options, runs, folder, device, say

    def check_cheaply(self) -> None:
        """Raise the errors of figures that were asked for which show before any video is decoded."""
        if self.options.is_asked_for("epochs"):
            refuse_without_kept(self.runs)
        if self.options.is_asked_for("cam"):
            self.asked  # noqa: B018 - it is computed here, and raises

    def make(self, name: FigureName) -> FigureSection:
        """One figure.

        Raises:
            UserError: it cannot be made.
        """
        makers: dict[FigureName, Callable[[], FigureSection]] = {
            "cam": self._cam,
            "distinctiveness": self._distinctiveness,
            "eigenvalues": self._eigenvalues,
            "epochs": self._epochs,
            "curves": self._curves,
        }
        return makers[name]()

    @functools.cached_property
    def videos(self) -> Sequence[VideoInfo]:
        return common_videos(self.options, self.runs, self.say)

    @functools.cached_property
    def tested(self) -> list[VideoInfo]:
        return held_out(self.videos, self.options.videos)

    @functools.cached_property
    def choice(self) -> LabelChoice:
        choice = wanted_labels(self.videos, self.options.labels, self.options.seed)
        refuse_shared(self.videos, choice.division)
        for line in (*label_notes(choice), choice.division.text):
            self.say(line)
        return choice

    @functools.cached_property
    def analyses(self) -> list[Analysis]:
        workers = self.options.workers
        return [analyse_run(run, self.tested, self.device, workers) for run in self.runs]

    @functools.cached_property
    def asked(self) -> list[CamVideo]:
        """The videos that ``--cam`` names; none where it gives their number."""
        given, clip = self.options.cam, same_clip(self.runs)
        return [] if _number(given) is not None else asked_videos(given, clip)

    def _cam(self) -> FigureSection:
        options = self.options
        videos = self.asked
        if not videos:
            count = _number(options.cam) or SHOWN
            videos = [CamVideo(info, WITHOUT_TIME) for info in held_out(self.videos, count)]
        labelled = None
        if options.explained == "class":
            labelled = (self.videos, self.choice)
            class_number(options.cam_class, *first_column(self.choice))
        looks = looking(options, self.runs, videos[0], labelled, self.device, self.say)
        parts = draw_clips(options, looks, videos, self.folder, self.device)
        data = counted(len(videos), "clip") + (f" of {self._data()}" if not self.asked else "")
        if not self.asked:
            parts.append(measure_motion(options, looks, self.tested, self.folder, self.device))
            data += f"; moving pixels of {counted(len(self.tested), 'video')}"
        return FigureSection(
            "cam",
            "Where each encoder looks",
            "Fig. 8",
            f"Grad-CAM of {_EXPLAINED[options.explained]}. A bright place raises that number. The colours of "
            "each run and clip go from zero to its own strongest place, so shapes can be compared, not "
            "strengths. Frames and crops are the same for all runs. A pixel moves where its grey value "
            "changes by more than a tenth from one frame to the next: a map that does not care about motion "
            "has about the share of their area on them.",
            data,
            parts,
        )

    def _distinctiveness(self) -> FigureSection:
        return FigureSection(
            "distinctiveness",
            "Do features keep time?",
            "Fig. 11",
            "Cosine similarity between the backbone's features of the frames of one clip (Eq. 26). A line "
            "that falls with the lag means that features change with time; a flat line at 1 means that "
            "all frames look the same to the encoder.",
            f"{counted(len(self.tested), 'video')} of {self._data()}, one clip each",
            draw_distinctiveness(self.runs, self.analyses, self.folder),
        )

    def _eigenvalues(self) -> FigureSection:
        return FigureSection(
            "eigenvalues",
            "Eigenvalues of the Koopman operator",
            "Fig. 4a",
            "Each dot is one mode of one clip: near 1 it stays the same from frame to frame (static), "
            "elsewhere it decays, grows or rotates (dynamic). The grey circle is the unit circle; the blue "
            "one has radius xi around 1.",
            f"{counted(len(self.tested), 'video')} of {self._data()}, one clip each",
            draw_eigenvalues(self.runs, self.analyses, self.folder),
        )

    def _epochs(self) -> FigureSection:
        refuse_without_kept(self.runs)
        options, choice = self.options, self.choice
        probed = probe_epochs(options, self.runs, self.videos, choice, self.device, self.say)
        return FigureSection(
            "epochs",
            "Accuracy over the training",
            "Fig. 9",
            "Every kept checkpoint of each run, frozen and probed on the same videos. A run whose line rises "
            "earlier learns faster. Lines begin at the untrained network.",
            f"{self._data()}; {choice.division.text}",
            draw_epochs(options, probed, list(choice.labels), self.folder),
        )

    def _curves(self) -> FigureSection:
        return FigureSection(
            "curves",
            "What the training logged",
            "",
            "Losses of different methods have different units: compare their course, not their height.",
            "metrics.jsonl of each run",
            draw_curves(self.runs, self.folder),
        )

    def _data(self) -> str:
        return data_name(self.options, self.runs)


_EXPLAINED: dict[str, Any] = {
    "class": "the score of a class under a linear probe of the frozen backbone",
    "match": "the similarity of the mean embedding with that of another clip of the same video",
    "static": "the similarity of the static stream with that of another clip of the same video",
    "dynamic": "the size of the dynamic stream",
}


def _number(given: Sequence[str]) -> int | None:
    """``--cam N`` as a number; None: files are given, or nothing."""
    return int(given[0]) if len(given) == 1 and given[0].isdecimal() and int(given[0]) > 0 else None
