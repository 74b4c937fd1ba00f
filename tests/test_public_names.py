"""The public names of the package: what every ``__all__`` holds, so that none goes or comes unseen."""

from __future__ import annotations

import ast
import importlib
import inspect
import subprocess
import sys
from pathlib import Path

import pytest
from test_face import NAMES as FACE

ROOT = Path(__file__).resolve().parent.parent

AUGMENT = ["AugmentParams", "MixParams", "augment_clips", "blur_radius", "mix_scenes", "resize_box"]
CONTRASTIVE = [
    "InfoNCEParts",
    "InfoNCEStats",
    "info_nce",
    "info_nce_parts",
    "merge",
    "negative_cosine",
]
DISTRIBUTED = ["gather", "info_nce_gathered", "sum_over_ranks", "world_size"]
KOOPMAN = [
    "GuardCounts",
    "KoopmanLosses",
    "KoopmanOperator",
    "KoopmanSplit",
    "KoopmanWarning",
    "guard_counts",
    "koopman_operator",
    "koopman_prediction_loss",
    "koopman_split",
    "koopman_split_and_loss",
]
SINKHORN = ["sinkhorn_knopp", "swapped_prediction"]

PUBLIC = {
    "bodvcl": FACE,
    "bodvcl.config.command_line": [
        "Flag",
        "Positional",
        "argument",
        "build",
        "negated",
        "option_names",
        "parse",
        "parse_known",
        "read",
    ],
    "bodvcl.config": [
        "AugmentConfig",
        "BilevelConfig",
        "ByolConfig",
        "ClipConfig",
        "DecodeConfig",
        "DigitsConfig",
        "DualvarConfig",
        "HdcConfig",
        "KoopmanConfig",
        "LogConfig",
        "MocoConfig",
        "ModelConfig",
        "ObjectiveConfig",
        "OptimConfig",
        "PredictionConfig",
        "ScenesConfig",
        "ShapesConfig",
        "SwavConfig",
        "TrainConfig",
    ],
    "bodvcl.data.augment": ["finish"],
    "bodvcl.data.clips": ["colour_matrix", "draw_clips", "required_frames"],
    "bodvcl.data.scan": ["ScanResult", "scan"],
    "bodvcl.data.source": ["ClipSource", "open_source"],
    "bodvcl.data.transcode": ["CopyReport", "CopySettings", "transcode", "write_copy"],
    "bodvcl.data.video": ["BadVideo", "VideoInfo", "probe_video", "read_frames", "stream_frames"],
    "bodvcl.data.sets": [
        "DATA_SETS",
        "BuiltInDataSet",
        "BuiltInSettings",
        "DataSet",
        "DatasetRows",
        "Segment",
        "VideoRow",
        "built_in",
        "open_dataset",
    ],
    "bodvcl.finetune": ["TrainedClassifier", "load_classifier"],
    "bodvcl.engine.checkpoint": [
        "ENCODER",
        "LAST",
        "Changing",
        "KeptEncoder",
        "NotFinite",
        "Shards",
        "checkpoint_state",
        "keep_checkpoint",
        "kept_checkpoints",
        "load_checkpoint",
        "load_encoder",
        "load_kept",
        "load_run",
        "read_checkpoint",
        "read_encoder",
        "rebuilt_encoder",
        "remove_unused_folders",
        "save_checkpoint",
        "save_encoder",
        "save_is_due",
        "saved_config",
        "saved_step",
        "seed_rank",
        "trained_steps",
        "training_folder",
    ],
    "bodvcl.hub": ["VideoEncoderModel"],
    "bodvcl.losses": ["DecoupledInfoNCE"],
    "bodvcl.ops": ["BackendError", *AUGMENT, *CONTRASTIVE, *DISTRIBUTED, *KOOPMAN, *SINKHORN],
    "bodvcl.ops.augment": AUGMENT,
    "bodvcl.ops.contrastive": CONTRASTIVE,
    "bodvcl.ops.distributed": DISTRIBUTED,
    "bodvcl.ops.koopman": KOOPMAN,
    "bodvcl.ops.sinkhorn": SINKHORN,
    "bodvcl.pretrained": ["ClipFormat", "FrameEncoder", "load_encoder"],
}
"""Public module to its names. A module with ``__all__`` is public."""


def dotted(path: Path) -> str:
    return ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")


def kind(name: str) -> tuple[bool, bool, str]:
    """Sorts constants before classes before the rest, and each by the alphabet, as ruff does."""
    return not name.isupper(), not name[0].isupper(), name


def has_all(path: Path) -> bool:
    assigned = [node for node in ast.parse(path.read_text()).body if isinstance(node, ast.Assign)]
    return any(isinstance(to, ast.Name) and to.id == "__all__" for node in assigned for to in node.targets)


def test_every_public_module_is_listed():
    assert {dotted(path) for path in (ROOT / "bodvcl").rglob("*.py") if has_all(path)} == set(PUBLIC)


@pytest.mark.parametrize("module", PUBLIC)
def test_the_names_of_a_module(module):
    names = importlib.import_module(module).__all__
    assert names == sorted(PUBLIC[module], key=kind)


@pytest.mark.parametrize(("module", "name"), [(module, name) for module in PUBLIC for name in PUBLIC[module]])
def test_every_name_is_there_and_explained(module, name):
    found = getattr(importlib.import_module(module), name)
    if inspect.isclass(found) or inspect.isroutine(found):
        assert found.__doc__, "no docstring"
        assert not found.__doc__.startswith(f"{name}("), "the docstring that a tuple or dataclass is given"


@pytest.mark.parametrize("module", PUBLIC)
def test_a_star_import_gives_all_of_them(module):
    names: dict[str, object] = {}
    exec(f"from {module} import *", names)
    assert set(PUBLIC[module]) <= set(names)


def fresh(code: str) -> str:
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def test_an_operation_does_not_load_what_only_others_need():
    heavy = ["torch._dynamo", "torchvision", "triton", "bodvcl.ops.koopman", "bodvcl.ops.augment"]
    code = f"import sys; from bodvcl.ops import info_nce; print([m for m in {heavy} if m in sys.modules])"
    assert fresh(code) == "[]"


def test_no_operation_loads_the_compiler_or_torchvision():
    heavy = ["torch._dynamo", "torchvision", "triton"]
    code = f"import sys; from bodvcl.ops import *; print([m for m in {heavy} if m in sys.modules])"
    assert fresh(code) == "[]"


def test_an_unknown_name_is_refused_as_python_does():
    with pytest.raises(ImportError, match=r"cannot import name 'info_nse' from 'bodvcl\.ops'"):
        exec("from bodvcl.ops import info_nse", {})
    with pytest.raises(AttributeError, match=r"module 'bodvcl\.ops' has no attribute 'info_nse'"):
        importlib.import_module("bodvcl.ops").info_nse  # noqa: B018


def test_the_documented_path_of_sinkhorn_stays():
    module = importlib.import_module("bodvcl.ops.sinkhorn")
    assert module.sinkhorn is module.sinkhorn_knopp
