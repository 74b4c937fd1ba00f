"""Problems outside the program: a full disk, no memory, a missing package, a bad environment variable."""

from __future__ import annotations

import contextlib
import errno
import io
import os
import sys
from collections.abc import Iterator

from bodvcl.errors import ConfigError, UserError
from bodvcl.system.folders import cache_folder

VARIABLES = {
    "BODVCL_BACKEND": ("auto", "cuda", "cpu", "triton", "chunked", "torch", "reference"),
    "BODVCL_NATIVE": ("0", "1"),
    "BODVCL_CPU_ISA": ("baseline", "avx2", "avx512", "neon"),
}
"""Environment variables and their valid values. An empty variable counts as unset."""

DISK_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
"""Error numbers of a disk, a quota or a file that can take no more."""

SMALLER = "use smaller batches or clips or fewer --workers, or free some memory"

_TOO_MANY = (errno.EMFILE, errno.ENFILE)
_NO_MEMORY = (
    "can't allocate memory",
    "not enough memory",
    "cannot allocate memory",
    "out of memory",
    "storage size calculation overflowed",
    "invalid buffer size",
)


class Surroundings(UserError):
    """A problem of the machine: its disk, its memory, or what is installed on it."""


def explain(error: BaseException, smaller: str = SMALLER) -> str | None:
    """One line that explains a problem of the machine to the user.

    Args:
        error: the exception.
        smaller: advice on how to use less memory.

    Returns:
        The line. None: the error is a bug of the program and needs its traceback.
    """
    text = _explanation(error, smaller)
    return None if text is None else " ".join(text.split())


def _explanation(error: BaseException, smaller: str) -> str | None:
    said = str(error).strip().splitlines() or [""]
    if _lacks_memory(error):
        full = "the GPU" if "cuda" in said[0].lower() else "this machine"
        why = f" ({said[0]})" if said[0] else ""
        return f"the memory of {full} is full{why}: {smaller}"
    if isinstance(error, ImportError):
        missing = (error.name or "bodvcl").partition(".")[0]
        if missing == "bodvcl":
            return None
        return f"{missing} cannot be imported ({said[0]}): install it, or a version that works with bodvcl"
    if isinstance(error, UnicodeEncodeError):
        known = sys.getfilesystemencoding()
        if known == "utf-8":
            return None
        name = error.object.encode("ascii", "backslashreplace").decode()
        return f"{name}: file names are {known} here, which has no such letters; set LC_ALL=C.UTF-8"
    if isinstance(error, OSError):
        return _of_the_system(error)
    return None


def _lacks_memory(error: BaseException) -> bool:
    if isinstance(error, MemoryError):
        return True
    if isinstance(error, OSError):
        return error.errno == errno.ENOMEM
    if not isinstance(error, RuntimeError):
        return False
    return any(words in str(error).lower() for words in _NO_MEMORY)


def _of_the_system(error: OSError) -> str | None:
    if isinstance(error, io.UnsupportedOperation):
        return None
    if error.errno is None:  # raised by Python code; the error of a download has a reason
        return f"cannot be reached: {error}" if hasattr(error, "reason") else None
    names = [os.fsdecode(name) for name in (error.filename, error.filename2) if isinstance(name, str | bytes)]
    where = " -> ".join(names)
    reason = error.strerror or str(error)
    if error.errno in DISK_FULL:
        return f"cannot write {where or 'a file'}: the disk is full ({reason}); make room and try again"
    if error.errno in _TOO_MANY:
        return f"{reason}: raise the limit with `ulimit -n`, or lower --workers"
    return f"{where}: {reason}" if where else reason


@contextlib.contextmanager
def as_user_errors(smaller: str = SMALLER) -> Iterator[None]:
    """Turn the errors that :func:`explain` knows into :class:`Surroundings`; others pass unchanged."""
    try:
        yield
    except UserError:
        raise
    except Exception as error:
        text = explain(error, smaller)
        if text is None:
            raise
        raise Surroundings(text) from error


def check_variables() -> None:
    """Refuse invalid values of bodvcl's environment variables.

    Raises:
        ConfigError: names the variable, its value and what was expected.
    """
    for name, values in VARIABLES.items():
        if os.environ.get(name, "") not in ("", *values):
            raise ConfigError(f"{name} is {os.environ[name]!r}; expected one of {', '.join(values)}")


def give_compilers_a_cache() -> None:
    """Set a cache folder for PyTorch's compilers if the user is unknown: they would find none."""
    import getpass

    try:
        getpass.getuser()
    except (KeyError, OSError):  # OSError from Python 3.13 on
        os.environ.setdefault("TORCHINDUCTOR_CACHE_DIR", str(cache_folder("torchinductor")))
