"""From a sweep file to the runs that it consists of."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from bodvcl.errors import ConfigError
from bodvcl.sweep.axes import Cell, Point, named, points, words_of
from bodvcl.sweep.file import SweepFile
from bodvcl.sweep.job import RUN, SUMMARY, Job, as_word, run_folder
from bodvcl.sweep.names import check_names
from bodvcl.sweep.places import Places
from bodvcl.sweep.verbs import Verb, find_verb, result_of
from bodvcl.text.words import suggestion


@dataclass(frozen=True, kw_only=True)
class SweepJob(Job):
    """One command of a sweep.

    Attributes:
        cell: axis to label.
        seed: the repetition.
        step: name of the evaluation; empty: the run itself.
        ranks: whether several processes can run it together.
    """

    cell: Cell
    seed: int
    step: str = ""
    ranks: bool = False


MODULE = "bodvcl"
"""What runs the jobs: their first argument is the verb."""

Chain = Sequence[SweepJob]
"""A run and its evaluations."""


@dataclass(frozen=True)
class Plan:
    """What a sweep runs.

    Attributes:
        chains: the runs, ordered by seed, then by row.
        left_out: labels and evaluations that are left out, with the data set that is missing.
    """

    chains: Sequence[Chain]
    left_out: Sequence[str] = ()

    @property
    def cells(self) -> list[Cell]:
        """The rows, in their order."""
        return list({named(chain[0].cell): chain[0].cell for chain in self.chains}.values())


@dataclass(frozen=True)
class Wanted:
    """What a command line asks of a sweep.

    Attributes:
        out: folder of the runs.
        only: labels, or names of rows; empty: all.
        data: data sets by name.
        checkpoints: runs that the sweep starts from.
        extra: further options of every run.
    """

    out: Path
    only: Sequence[str] = ()
    data: Sequence[str] = ()
    checkpoints: Sequence[Path] = ()
    extra: Sequence[str] = field(default=())


def make_plan(sweep: SweepFile, wanted: Wanted) -> Plan:
    """Every run of a sweep; the options of each are parsed by its verb.

    Raises:
        ConfigError: a verb, option, axis or label that does not exist, two runs that are the same or have the
            same folder, or no run at all.
    """
    check_names(sweep)
    places = Places(wanted.data)
    left_out: dict[str, str] = {}
    head, *words = _command(sweep.run, "run")
    runs, steps = find_verb(head), {}
    for name, text in sweep.then.items():
        after, *rest = _command(text, f"then.{name}")
        if missing := places.missing(rest):
            left_out[name] = missing[0]
        else:
            steps[name] = (find_verb(after), (after, *places.fill(rest)))
    chosen = []
    for point in _only(list(points(sweep, wanted.checkpoints)), wanted.only):
        lacks = {
            point.cell[axis]: names[0]
            for axis, part in point.parts.items()
            if (names := places.missing(part))
        }
        left_out |= lacks
        if not lacks:
            chosen.append(Point(point.cell, {axis: places.fill(part) for axis, part in point.parts.items()}))
    notes = [f"{name} (needs --data {data}:FOLDER)" for name, data in left_out.items()]
    if not chosen:
        raise ConfigError(f"no run is left, for want of data: {'; '.join(notes)}")
    words = list(places.fill(words))
    places.refuse_unused()
    _refuse_same_folders([point.cell for point in chosen], steps)
    results = _check(chosen, runs, [*words, *wanted.extra], steps)
    if SUMMARY in results and not sweep.then:
        raise ConfigError("no run is probed at its end, nor evaluated after it: remove --log.no-probe")
    chains = []
    for seed in range(sweep.seeds):
        command = [head, *words, "--seed", str(seed), *wanted.extra]
        for point, result in zip(chosen, results):
            chains.append(tuple(_chain(point, seed, wanted.out, runs, command, result, steps)))
    return Plan(chains, notes)


Steps = Mapping[str, tuple[Verb, tuple[str, ...]]]


def _chain(
    point: Point, seed: int, out: Path, verb: Verb, words: Sequence[str], result: str, steps: Steps
) -> Iterator[SweepJob]:
    run = SweepJob(
        folder=run_folder(out, tuple(point.cell.values()) or ("all",), seed),
        arguments=(*words, *point.words),
        module=MODULE,
        ending=verb.ending,
        result=result,
        cell=point.cell,
        seed=seed,
        ranks=verb.ranks,
    )
    yield run
    for name, (after, options) in steps.items():
        yield SweepJob(
            folder=run.folder / as_word(name),
            arguments=(*options, "--seed", str(seed)),
            module=MODULE,
            ending=after.ending,
            result=after.result,
            start=run.run,
            cell=point.cell,
            seed=seed,
            step=name,
            ranks=after.ranks,
        )


def _command(text: str, place: str) -> tuple[str, ...]:
    words = words_of(text, place)
    if not words:
        raise ConfigError(f"{place}: expected a verb with its options, such as `train --data shapes`")
    return words


def _only(found: Sequence[Point], names: Sequence[str]) -> Sequence[Point]:
    known = dict.fromkeys(text for point in found for text in (named(point.cell), *point.cell.values()))
    for name in names:
        if name not in known:
            raise ConfigError(f"--only {name!r}{suggestion(name, known)}: there are: {'; '.join(known)}")
    if not names:
        return found
    return [p for p in found if {named(p.cell), *p.cell.values()} & set(names)]


def _refuse_same_folders(cells: Sequence[Cell], steps: Steps) -> None:
    """Refuse names that are the same as names of folders, or none."""
    for texts in (*zip(*(cell.values() for cell in cells)), tuple(steps)):
        words: dict[str, str] = {}
        for text in dict.fromkeys(texts):
            word = as_word(text).lower()
            if not word or word in ("run",):
                raise ConfigError(f"{text!r} cannot be the name of a folder: choose another name")
            if word in words:
                raise ConfigError(
                    f"{words[word]!r} and {text!r} would have the same folder, {as_word(text)}: rename one"
                )
            words[word] = text


def _check(chosen: Sequence[Point], verb: Verb, words: Sequence[str], steps: Steps) -> list[str]:
    """Parse the options of every row; returns the file of each that says that it has finished."""
    made: list[tuple[str, object]] = []
    for point in chosen:
        name = named(point.cell)
        parsed = _parsed(verb, [*words, *point.words], f"row {name}")
        for other, known in made:
            if known == parsed:
                raise ConfigError(f"{other!r} and {name!r} are the same run: their options are equal")
        made.append((name, parsed))
    for name, (after, (_, *options)) in steps.items():
        _parsed(after, [word.replace(RUN, "run") for word in options], f"then.{name}")
    return [result_of(verb, parsed) for _, parsed in made]


def _parsed(verb: Verb, words: Sequence[str], name: str) -> object:
    try:
        return verb.check(words)
    except ConfigError as error:
        raise ConfigError(f"{name}: {error}") from error
