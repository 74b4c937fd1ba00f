"""Command line to a checked dataclass: the one parser of every verb.

A dataclass describes the options of a verb. Each field is an option: ``clip_size`` becomes ``--clip-size``
(``--clip_size`` works, too). A field that is a dataclass becomes a group (``--clip.size``). The text under a
field is its ``--help``. Ranges stand in the type, ``Annotated[int, Field(ge=1)]``, and pydantic checks them.
:data:`Positional` arguments, and a :data:`Flag` without a ``--no-`` twin, are marked in the type, too::

    @dataclass
    class CopyOptions:
        \"""Copy a data set.\"""

        __pydantic_config__ = STRICT

        data: Annotated[Positional[str], argument(metavar="DATA")]
        \"""Folder of videos.\"""
        crf: Annotated[int, Field(ge=0, le=51)] = 23
        \"""Quality, 0 (lossless) to 51.\"""
        json: Flag = False
        \"""Print JSON.\"""


    options = parse(CopyOptions, argv, prog="bodvcl data transcode")
"""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import io
import os
import re
import shutil
import typing
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, TypeVar

import tyro
from pydantic import TypeAdapter, ValidationError
from tyro.conf import FlagCreatePairsOff, Positional, arg

from bodvcl.config.limits import MOST
from bodvcl.errors import ConfigError
from bodvcl.text.words import nearest

__all__ = [
    "Flag",
    "Positional",
    "argument",
    "build",
    "negated",
    "option_names",
    "parse",
    "parse_known",
    "read",
]

Flag = FlagCreatePairsOff[bool]
"""An option without a value: ``--json``, and no ``--no-json``."""

argument = arg
"""``Annotated[str, argument(metavar="FILE")]``: what ``--help`` shows in place of the value."""

MIN_COLUMNS = 40
"""``--help`` is never narrower: tyro hangs where a word does not fit."""

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

Options = TypeVar("Options", bound="DataclassInstance")


def parse(cls: type[Options], argv: Sequence[str], *, prog: str, description: str | None = None) -> Options:
    """Options of a verb, every range checked.

    Args:
        cls: dataclass of the options.
        argv: arguments without the program's name.
        prog: name of the program in ``--help`` and in messages.
        description: first lines of ``--help``. None: the docstring of ``cls``.

    Returns:
        An instance of ``cls``.

    Raises:
        ConfigError: one line: an unknown option (the nearest name is suggested), a missing argument, a value
            of the wrong type or out of range.
        SystemExit: code 0 after ``--help``.
    """
    options = read(cls, argv, prog=prog, description=description)
    return build(cls, dataclasses.asdict(options), name=functools.partial(_as_typed, cls))


def parse_known(
    cls: type[Options], argv: Sequence[str], *, prog: str, description: str | None = None, help: bool = True
) -> tuple[Options, list[str]]:
    """As :func:`parse`, but unknown arguments are handed back for another parser.

    Args:
        cls, argv, prog, description: as for :func:`parse`.
        help: whether ``--help`` is answered here. False: it is handed back, too.

    Returns:
        An instance of ``cls``, and the arguments that it has no field for, in their order.

    Raises:
        ConfigError: a missing argument, a value of the wrong type or out of range.
        SystemExit: code 0 after ``--help``.
    """
    with _bounded_width(), _as_config_error(prog):
        options, rest = tyro.cli(
            cls, args=list(argv), prog=prog, description=description, return_unknown_args=True, add_help=help
        )
    return build(cls, dataclasses.asdict(options), name=functools.partial(_as_typed, cls)), rest


def read(
    cls: type[Options],
    argv: Sequence[str],
    *,
    prog: str,
    description: str | None = None,
    default: Options | None = None,
) -> Options:
    """As :func:`parse`, but ranges are not checked yet.

    Args:
        cls, argv, prog, description: as for :func:`parse`.
        default: values of the options that are not given. None: the defaults of ``cls``.

    Raises:
        ConfigError: an unknown option, a missing argument, a value of the wrong type.
        SystemExit: code 0 after ``--help``.
    """
    _refuse_unknown_options(cls, argv, prog)
    with _bounded_width(), _as_config_error(prog):
        return tyro.cli(
            cls,
            args=list(argv),
            prog=prog,
            description=description,
            default=tyro.MISSING_NONPROP if default is None else default,
        )


def build(
    cls: type[Options],
    values: Mapping[str, Any],
    *,
    name: Callable[[str], str] = str,
    reasons: Mapping[str, str] | None = None,
) -> Options:
    """Build a dataclass from nested values; types and ranges are checked.

    Args:
        cls: the dataclass.
        values: its fields by name, groups as mappings.
        name: turns the dotted name of a field (``clip.frames``) into what the message calls it.
        reasons: why a field has a lower bound, by its dotted name; part of the message when it is too small.

    Raises:
        ConfigError: names every offending field, its value and what was expected.
    """
    try:
        made: Options = _adapter(cls).validate_python(values)
    except ValidationError as error:
        raise ConfigError("; ".join(_describe(e, name, reasons or {}) for e in error.errors())) from error
    absurd = list(_absurd(dataclasses.asdict(made), name))
    if absurd:
        raise ConfigError("; ".join(absurd))
    return made


def option_names(cls: type, prefix: str = "") -> Iterator[str]:
    """Every option of a dataclass without its leading dashes: ``data``, ``clip.frames``, ``no-fast``, ..."""
    for field, hint in _fields(cls):
        if dataclasses.is_dataclass(hint):
            yield from option_names(typing.cast(type, hint), f"{prefix}{field.name}.")
            continue
        marks = getattr(hint, "__metadata__", ())
        if Positional in marks:
            continue
        name = prefix + field.name.replace("_", "-")
        switch = (hint if not marks else hint.__origin__) is bool
        single = FlagCreatePairsOff in marks
        if not (switch and single and field.default is True):
            yield name
        if switch and not (single and field.default is False):
            yield negated(name)


@functools.cache
def _adapter(cls: type) -> TypeAdapter[Any]:
    return TypeAdapter(cls)


def _fields(cls: type) -> Iterator[tuple[dataclasses.Field[Any], Any]]:
    """The fields of a dataclass with their types."""
    hints = typing.get_type_hints(cls, include_extras=True)
    for field in dataclasses.fields(cls):
        yield field, hints[field.name]


def negated(name: str) -> str:
    """The option that turns a switch off: ``no-fast`` for ``fast``, ``group.no-fast`` for ``group.fast``."""
    head, _, tail = name.rpartition(".")
    return f"{head}.no-{tail}" if head else f"no-{tail}"


def _as_typed(cls: type, path: str) -> str:
    """What a user types for a field: ``--clip.frames``, or the metavar of a positional argument."""
    for field, hint in _fields(cls):
        marks = getattr(hint, "__metadata__", ())
        if field.name == path and Positional in marks:
            shown = [m.metavar for m in marks if getattr(m, "metavar", None)]
            return str(shown[0]) if shown else path.upper()
    return "--" + path.replace("_", "-")


def _refuse_unknown_options(cls: type, argv: Sequence[str], prog: str) -> None:
    known = {*option_names(cls), "help"}
    for token in argv:
        if token == "--":
            return
        if token.startswith("--"):
            name = token[2:].split("=")[0].replace("_", "-")
            if name not in known:
                hint = _nearest(name, known)
                raise ConfigError(f"unknown option {token.split('=')[0]}{hint}; see {prog} --help")


def _nearest(name: str, known: Collection[str]) -> str:
    positive = name.removeprefix("no-")
    if positive != name and negated(positive) in known:
        meant = [negated(positive)]
    else:
        meant = sorted(other for other in known if other.rpartition(".")[2] == name)
    meant = meant or list(filter(None, [nearest(name, known)]))
    return f" (did you mean {' or '.join(f'--{other}' for other in meant)}?)" if meant else ""


# ------------------------------------------------------------------ values out of range


def _describe(error: Any, name: Callable[[str], str], reasons: Mapping[str, str]) -> str:
    path = ".".join(
        str(part) for part in error["loc"] if part not in ("constrained-float", "constrained-int")
    )
    message = error["msg"][0].lower() + error["msg"][1:]
    if error["type"] == "greater_than_equal" and path in reasons:
        message += f": {reasons[path]}"
    return f"{name(path)}: {message}, got {error['input']!r}"


def _absurd(values: Mapping[str, Any], name: Callable[[str], str], prefix: str = "") -> Iterator[str]:
    for key, value in values.items():
        if isinstance(value, dict):
            yield from _absurd(value, name, f"{prefix}{key}.")
        for number in value if isinstance(value, tuple) else (value,):
            most = MOST.get(type(number))
            if most is not None and abs(number) > most and key != "seed":
                yield f"{name(prefix + key)}: expected at most {_plainly(most)}, got {_plainly(number)}"


def _plainly(number: float) -> str:
    return f"{number:,}" if isinstance(number, int) else f"{number:g}"


# ------------------------------------------------------------------ what tyro says


@contextlib.contextmanager
def _bounded_width() -> Iterator[None]:
    """A terminal of at least :data:`MIN_COLUMNS` columns, for what is printed while entered."""
    if shutil.get_terminal_size().columns >= MIN_COLUMNS:
        yield
        return
    before = os.environ.get("COLUMNS")
    os.environ["COLUMNS"] = str(MIN_COLUMNS)
    try:
        yield
    finally:
        if before is None:
            del os.environ["COLUMNS"]
        else:
            os.environ["COLUMNS"] = before


@contextlib.contextmanager
def _as_config_error(prog: str) -> Iterator[None]:
    """Turn tyro's framed, many-line complaint and exit code 2 into one line."""
    captured = io.StringIO()
    try:
        with contextlib.redirect_stderr(captured):
            yield
    except SystemExit as stop:
        if not stop.code:
            raise
        raise ConfigError(f"{_in_one_line(captured.getvalue())}; see {prog} --help") from None


_FRAME = re.compile(r"[│╭╮╰╯─┌┐└┘━┃|+]+|-{3,}")
_HEADING = re.compile(
    r"^((Value|Parsing) error|Invalid choice|Missing argument|Unrecognized options(?= ))\s*"
)
_MISSING = re.compile(r"^[│| ] {5}(?! )(.*?)\s*[│|]?$", re.MULTILINE)  # without UTF-8 there is no frame
_PLAIN = (
    (re.compile(r"^Unrecognized options: (.*)$"), r"unexpected argument \1"),
    (re.compile(r"^Error parsing (\S+): no type matching .* from \[(.*?)\]\..*$"), r"\1: cannot take \2"),
    (re.compile(r"^Error parsing (\S+): invalid literal for int.*: (.*)$"), r"\1: not a whole number: \2"),
    (re.compile(r"^Error parsing (\S+): could not convert string to float: (.*)$"), r"\1: not a number: \2"),
    (re.compile(r"^Missing value for argument '(?:\(')?(.*?)(?:',\))?'.*$"), r"\1: its value is missing"),
    (re.compile(r"\. Expected one of \((.*)\) ?\.$"), r"; expected one of \1"),
)


def _in_one_line(framed: str) -> str:
    if "Required options" in framed:
        return f"missing: {', '.join(_MISSING.findall(re.split('Unrecognized|For full', framed)[0]))}"
    text = " ".join(_FRAME.sub(" ", framed).split())
    text = text.partition(" For full helptext")[0].partition(" Argument helptext")[0]
    text = _HEADING.sub("", text).strip()
    for pattern, plain in _PLAIN:
        text = pattern.sub(plain, text)
    return text
