"""Names of splits mean the same however they are written; no name is both to train and to test on."""

from __future__ import annotations

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from bodvcl.data.sets.split_names import canonical_split, of_the_probe, split_role

MEANT = {
    "train": ("train", "training", "trn", "tr", "pretrain", "pre-training", "trainval"),
    "val": ("val", "valid", "validation", "validate", "dev", "development", "minival"),
    "test": ("test", "testing", "tst", "te", "eval", "evaluation", "held-out", "holdout", "test-dev"),
    "unused": ("unused", "ignored", "excluded"),
}
WORDS = [(word, meaning) for meaning, words in MEANT.items() for word in words]
LONG = [(word, meaning) for word, meaning in WORDS if len(word) > 2]
AROUND = st.text(" \t\n\u00a0\u200b\ufeff\"'", max_size=3)


@st.composite
def spelt(draw: st.DrawFn, words: list[tuple[str, str]] = WORDS) -> tuple[str, str]:
    """(a word in any case, with blanks, quotes and a number around it; what it means)"""
    word, meaning = draw(st.sampled_from(words))
    up = draw(st.lists(st.booleans(), min_size=len(word), max_size=len(word)))
    mixed = "".join(c.upper() if high else c for c, high in zip(word, up))
    return draw(AROUND) + mixed + draw(st.sampled_from(["", "1", "_02", " 2017"])) + draw(AROUND), meaning


@given(spelt())
def test_case_blanks_quotes_and_numbers_do_not_matter(name: tuple[str, str]) -> None:
    assert canonical_split(name[0]) == name[1]
    assert split_role(name[0]) == name[1]
    assert not of_the_probe(name[0])


@given(
    spelt(LONG), st.sampled_from(["{}_set", "{} split", "{}List", "fold1_{}", "{}.csv", "{}_256", "my {}"])
)
def test_words_around_it_do_not_matter(name: tuple[str, str], form: str) -> None:
    assert canonical_split(form.format(name[0])) == name[1]


@given(spelt(LONG), spelt(LONG))
@example(("train", "train"), ("held-out", "test"))
def test_a_name_that_says_test_never_trains(one: tuple[str, str], other: tuple[str, str]) -> None:
    meanings = {one[1], other[1]}
    if meanings & {"test", "unused"}:
        assert split_role(f"{one[0]} {other[0]}") != "train"


@given(
    spelt([(w, m) for w, m in LONG if m != "unused"]), st.sampled_from(["probe_{}", "Probe {}", "PROBE{}"])
)
def test_the_probe_keeps_its_splits(name: tuple[str, str], form: str) -> None:
    split = form.format(name[0])
    assert canonical_split(split) == f"probe_{name[1]}"
    assert split_role(split) == name[1]
    assert of_the_probe(split)


@given(st.text() | spelt().map(lambda name: name[0]))
def test_what_was_read_is_read_alike_again(name: str) -> None:
    once = canonical_split(name)
    assert canonical_split(once) == once
    assert split_role(once) == split_role(name)
    assert of_the_probe(once) == of_the_probe(name)


@pytest.mark.parametrize(
    "name", ["fold1", "trial", "untrained", "not_test", "s1", "group va", "7", "protest"]
)
def test_other_names_stay(name: str) -> None:
    assert canonical_split(f" {name} ") == name
    assert split_role(name) == ""


@pytest.mark.parametrize("name", ["", "  ", "nan", "None", "N/A"])
def test_no_split(name: str) -> None:
    assert canonical_split(name) == ""


@pytest.mark.parametrize("name", ["TRA\u0130N", "tra\u0131n\u0131ng", "\uff54\uff52\uff41\uff49\uff4e"])
def test_other_keyboards(name: str) -> None:
    assert canonical_split(name) == "train"
