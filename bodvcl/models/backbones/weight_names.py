"""Names of weights in other projects: which wrapper stands before them, and what they are called here."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Mapping
from typing import NamedTuple

import torch
from torch import Tensor

from bodvcl.errors import CheckpointError
from bodvcl.models.backbones.checkpoint_file import some

_FOLLOWERS = frozenset(("k", "key", "target", "momentum", "student", "ema", "hist", "shadow"))
"""Words in the prefix of the second network of a method with two. Of MoCo's encoder_q and encoder_k, of an
online and a target network, and of SlowFast's backbone and backbone_hist, the first is evaluated; of DINO's
student and teacher it is the teacher."""

_HEAD = re.compile(
    r"(\w*_)?(head|heads|fc|classifier|cls|proj|projector|projection|predictor|prediction|prototypes|mlp|linear"
    r"|queue\w*|ptr)\d*(_\w*)?(\.|$)"
)
"""First part of the name of what a training puts on top of a backbone."""

_PYTORCHVIDEO_HEAD = "blocks.5."

_SLOWFAST = (
    (r"s1\.pathway0_stem\.(conv|bn)\.(\w+)", r"stem.\1.\2"),
    (r"s(\d)\.pathway0_res(\d)\.branch1\.(\w+)", r"res\1.\2.skip.conv.\3"),
    (r"s(\d)\.pathway0_res(\d)\.branch1_bn\.(\w+)", r"res\1.\2.skip.bn.\3"),
    (r"s(\d)\.pathway0_res(\d)\.branch2\.([abc])\.(\w+)", r"res\1.\2.branch.\3.\4"),
    (r"s(\d)\.pathway0_res(\d)\.branch2\.([abc])_bn\.(\w+)", r"res\1.\2.branch.\3_bn.\4"),
)

_PYTORCHVIDEO = (
    (r"blocks\.0\.conv\.(\w+)", r"stem.conv.\1"),
    (r"blocks\.0\.norm\.(\w+)", r"stem.bn.\1"),
    (r"blocks\.(\d)\.res_blocks\.(\d)\.branch1_conv\.(\w+)", r"res<\1>.\2.skip.conv.\3"),
    (r"blocks\.(\d)\.res_blocks\.(\d)\.branch1_norm\.(\w+)", r"res<\1>.\2.skip.bn.\3"),
    (r"blocks\.(\d)\.res_blocks\.(\d)\.branch2\.conv_([abc])\.(\w+)", r"res<\1>.\2.branch.\3.\4"),
    (r"blocks\.(\d)\.res_blocks\.(\d)\.branch2\.norm_([abc])\.(\w+)", r"res<\1>.\2.branch.\3_bn.\4"),
)
"""PyTorchVideo counts stages from 1; SlowFast and bodvcl count from 2: ``<n>`` stands for n + 1."""


class OurWeights(NamedTuple):
    """Weights with the names of a backbone of bodvcl.

    Attributes:
        weights: name to tensor, of the network that was chosen, without its head.
        left_out: names in the file of what is not of the backbone.
        remark: which of several networks it is; empty: there is one.
    """

    weights: dict[str, Tensor]
    left_out: list[str]
    remark: str


def our_weights(weights: Mapping[str, Tensor], own: Mapping[str, Tensor]) -> OurWeights:
    """Weights of any project with the names of a backbone.

    The wrapper, such as ``module._orig_mod.encoder_q.``, is whatever stands before the names of the backbone.

    Args:
        weights: name to tensor, as in a file.
        own: name to tensor of the backbone.

    Raises:
        CheckpointError: several networks fit, and none is known to be the one that counts.
    """
    found = _prefixes(weights, own)
    best = max(found.values(), default=0)
    prefixes = [prefix for prefix, count in found.items() if count == best] or [""]
    chosen, remark = _chosen(prefixes, weights)
    ours, left_out = {}, []
    for name, value in weights.items():
        inside = name.removeprefix(chosen)
        if not name.startswith(chosen) or _HEAD.match(inside) or inside.startswith(_PYTORCHVIDEO_HEAD):
            left_out.append(name)
        else:
            ours[_our_name(inside)] = value
    return OurWeights(ours, left_out, remark)


def _prefixes(weights: Mapping[str, Tensor], own: Mapping[str, Tensor]) -> Counter[str]:
    """What stands before names of the backbone, and before how many of them with the right shape."""
    found: Counter[str] = Counter()
    for name, value in weights.items():
        for prefix in _beginnings(name):
            twin = own.get(_our_name(name[len(prefix) :]))
            if twin is not None and twin.shape == value.shape and value.ndim > 0:
                found[prefix] += 1
    return found


def _beginnings(name: str) -> Iterator[str]:
    """Every beginning of a name that ends with a dot, and the empty one."""
    yield ""
    for match in re.finditer(r"\.", name):
        yield name[: match.end()]


def _chosen(prefixes: list[str], weights: Mapping[str, Tensor]) -> tuple[str, str]:
    """The prefix that counts, and a remark if there was a choice."""
    leaders = [prefix for prefix in prefixes if not _FOLLOWERS & {*re.split(r"[._]", prefix)}]
    candidates = leaders or prefixes
    first = candidates[0]
    if any(not _same(first, other, weights) for other in candidates[1:]):
        raise CheckpointError(
            f"several networks in the file fit: {some(candidates, 5)}; save the one that is meant by itself"
        )
    if len(prefixes) == len(candidates):
        return first, ""
    others = [prefix for prefix in prefixes if prefix not in candidates]
    return first, f"of its networks it takes {first.rstrip('.') or 'the one without a prefix'}, not " + some(
        prefix.rstrip(".") for prefix in others
    )


def _same(one: str, other: str, weights: Mapping[str, Tensor]) -> bool:
    """Whether two prefixes stand before the same tensors."""
    first = {name[len(one) :]: value for name, value in weights.items() if name.startswith(one)}
    second = {name[len(other) :]: value for name, value in weights.items() if name.startswith(other)}
    return first.keys() == second.keys() and all(torch.equal(first[name], second[name]) for name in first)


def _our_name(name: str) -> str:
    for pattern, ours in (*_SLOWFAST, *_PYTORCHVIDEO):
        match = re.fullmatch(pattern, name)
        if match:
            return re.sub(r"<(\d)>", lambda m: str(int(m[1]) + 1), match.expand(ours))
    return name
