"""The first word of a command: the verb of ``bodvcl``, the action of ``bodvcl data``."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from bodvcl.errors import ConfigError
from bodvcl.text.words import suggestion


def choose(
    argv: Sequence[str], choices: Mapping[str, str], *, prog: str, noun: str, about: str
) -> str | None:
    """The word that ``argv`` begins with.

    Args:
        argv: arguments without the program's name.
        choices: every word, with one line of explanation.
        prog: name of the program in ``--help``.
        noun: what the words are called: verb, action.
        about: what the program does, for ``--help``.

    Returns:
        A key of ``choices``. None when help was asked for, which is then printed.

    Raises:
        ConfigError: no word, or an unknown one (the nearest is suggested).
    """
    word = argv[0] if argv else ""
    if word in choices:
        return word
    if word in ("-h", "--help", "help"):
        width = max(map(len, choices)) + 1
        print(f"usage: {prog} {noun.upper()} [OPTIONS]\n\n{about}\n\n{noun}s:")
        for name, text in choices.items():
            print(f"  {name:<{width}} {text}")
        print(f"\n{prog} {noun.upper()} --help explains {'an' if noun[0] in 'aeiou' else 'a'} {noun}.")
        return None
    given = f" {word!r}{suggestion(word, choices)}" if word else ""
    raise ConfigError(f"no {noun}{given}; there are: {', '.join(choices)}")
