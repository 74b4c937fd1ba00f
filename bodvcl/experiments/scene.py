"""``python -m bodvcl.experiments.scene``: what is learned where the scene gives a video away?

Every video of the built-in data set `scenes` has a scene of its own. The experiment trains the plain method
and BOD-VCL on it, each without and with mixed scenes, and asks the frozen encoder for the scene, the figure
and its trajectory. Two controls tell suppressed from too hard: a network of the same size trained with the
labels, and the same videos without scenes. The results are a table, a curve over the share of the scene that
is seen, and a few sentences. Finished runs are not repeated, interrupted ones continue.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence

from bodvcl.cli.console import run_verb
from bodvcl.compare.trained_table import trained_table
from bodvcl.config.command_line import parse
from bodvcl.experiments.scene_plan import SceneOptions, plan_scene
from bodvcl.experiments.scene_report import knob_plot, verdict

_NAME = "scene"


def main(argv: Sequence[str] | None = None) -> int:
    """Train what is missing, then write table, curve and sentences; returns the exit code."""
    arguments = list(sys.argv[1:] if argv is None else argv)
    end = arguments.index("--") if "--" in arguments else len(arguments)

    def experiment() -> int:
        options = parse(SceneOptions, arguments[:end], prog="python -m bodvcl.experiments.scene")
        tasks = list(plan_scene(options, arguments[end + 1 :]))
        lines = trained_table(tasks, options.out, _NAME, options.workers, options.minutes)
        if knob_plot(lines, options.out / f"{_NAME}_knob.png"):
            print(f"{_NAME}_knob.png shows the accuracy over the share of the scene")
        print("\n".join(verdict(lines)))
        return 0

    return run_verb("experiments.scene", experiment)


if __name__ == "__main__":
    sys.exit(main())
