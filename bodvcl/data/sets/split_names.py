"""Names of splits, read in the same way for every source: case, spaces and usual synonyms do not matter."""

from __future__ import annotations

import re
import unicodedata
from functools import lru_cache
from itertools import pairwise

TRAIN, VAL, TEST, UNUSED, PROBE = "train", "val", "test", "unused", "probe"

_WORDS = {
    TRAIN: ("train", "trains", "trained", "training", "trn", "pretrain", "pretraining"),
    VAL: (
        "val", "vals", "vali", "valid", "validate", "validating", "validation", "vld", "minival",
        "dev", "devel", "development",
    ),
    TEST: (
        "test", "tests", "tested", "testing", "tst", "eval", "evals", "evaluate", "evaluating", "evaluation",
        "holdout", "heldout", "testdev",
    ),
    UNUSED: (
        "unused", "notused", "ignore", "ignored", "exclude", "excluded", "discard", "discarded", "skip",
        "skipped",
    ),
}  # fmt: skip
_ROLES = {word: role for role, words in _WORDS.items() for word in words}
_SHORT = {"tr": TRAIN, "va": VAL, "vl": VAL, "te": TEST}
_SEVERAL = {"trainval": {TRAIN, VAL}, "trainvalidation": {TRAIN, VAL}, "traintest": {TRAIN, TEST},
            "valtest": {VAL, TEST}}  # fmt: skip
_TAIL = re.compile(r"(set|split|list|part|partition|data|dataset|videos|clips|files|samples)$")
_NEGATIONS = frozenset(["no", "non", "not", "without"])
_BLANK = frozenset(["nan", "none", "null", "na"])  # what other programs write into empty cells


@lru_cache(maxsize=4096)
def canonical_split(name: str) -> str:
    """The split that a name stands for.

    ``Train``, `` TRAINING ``, ``trn``, ``train_set``, ``trainlist01`` and ``trainval`` are ``train``;
    ``valid``, ``validation`` and ``dev`` are ``val``; ``testing``, ``evaluation`` and ``held-out`` are
    ``test``; ``ignored`` is ``unused``. A name that contains ``probe`` becomes ``probe_train``,
    ``probe_val``, ``probe_test`` or ``probe``. A name that says both train and test is ``test``, so that its
    videos are not used for training.

    Returns:
        One of these names; "" for a blank name, none, nan and n/a; any other name unchanged, without the
        spaces around it.
    """
    plain = " ".join(name.split())
    words = re.findall(r"[^\W\d_]+", folded(name))
    if not words:
        return plain
    if "".join(words) in _BLANK:
        return ""
    probe = any(word.startswith(PROBE) for word in words)
    words = [rest for word in words if (rest := word.removeprefix(PROBE))]
    if _NEGATIONS.intersection(words):
        return plain
    pairs = ["".join(pair) for pair in pairwise(words)]  # held-out, pre-training
    roles = set().union(*map(_roles_of, [*words, *pairs, "".join(words)]))
    if len(words) == 1 and words[0] in _SHORT:
        roles = {_SHORT[words[0]]}
    role = next((role for role in (UNUSED, TEST, TRAIN, VAL) if role in roles), None)
    if role == UNUSED:
        return UNUSED
    if probe:
        return f"{PROBE}_{role}" if role else PROBE
    return role or plain


def split_role(name: str) -> str:
    """What a split is for: "train", "val", "test" or "unused"; "" if its name does not say.

    For a split of the probe, this is its role in the probe: the role of ``probe_train`` is "train".
    """
    role = canonical_split(name).removeprefix(f"{PROBE}_")
    return role if role in _WORDS else ""


def of_the_probe(name: str) -> bool:
    """Whether a split is reserved for the probe and never used for pre-training."""
    return canonical_split(name).partition("_")[0] == PROBE


def folded(text: str) -> str:
    """A text for comparing names: without case, accents, invisible characters and spaces around it."""
    parts = unicodedata.normalize("NFKD", unicodedata.normalize("NFKD", text).casefold())
    return "".join(c for c in parts if unicodedata.category(c) not in ("Mn", "Cf")).replace("ı", "i").strip()


def _roles_of(word: str) -> set[str]:
    for stem in (word, _TAIL.sub("", word)):
        if stem in _ROLES:
            return {_ROLES[stem]}
        if stem in _SEVERAL:
            return _SEVERAL[stem]
    return set()
