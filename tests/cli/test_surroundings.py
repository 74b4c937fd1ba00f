"""What the machine refuses is one line and exit code 2; a fault of the program keeps its traceback."""

from __future__ import annotations

import ast
import errno
import getpass
import io
import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

import bodvcl
from bodvcl.cli import info
from bodvcl.cli.console import Terminated, run_verb, uninterrupted
from bodvcl.cli.main import VERBS, main
from bodvcl.errors import ConfigError
from bodvcl.ops.backend import BackendError
from bodvcl.system.folders import cache_folder, expand
from bodvcl.system.surroundings import (
    VARIABLES,
    Surroundings,
    as_user_errors,
    explain,
    give_compilers_a_cache,
)

SYSTEM = [OSError(code, os.strerror(code), "/some/file") for code in sorted(errno.errorcode)]
REFUSED = [
    *SYSTEM,
    OSError(errno.ENOSPC, "No space left on device"),
    MemoryError(),
    MemoryError("Unable to allocate 7.28 TiB for an array"),
    RuntimeError("[enforce fail at alloc_cpu.cpp:127] DefaultCPUAllocator: can't allocate memory: you tried"),
    RuntimeError("Storage size calculation overflowed with sizes=[4000000000, 2000000000]"),
    torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 GiB\nof which"),
    ImportError("No module named 'av'", name="av"),
    ImportError("cannot import name 'x' from 'torch.y'", name="torch.y"),
    BackendError("backend='cuda' cannot run this"),
]
FAULTS = [
    TypeError("must be str"),
    ValueError("expected one of"),
    RuntimeError("mat1 and mat2 shapes cannot be multiplied"),
    KeyError("loss"),
    io.UnsupportedOperation("fileno"),
    OSError("Writer is closed"),
    ImportError("No module named 'bodvcl.datta'", name="bodvcl.datta"),
    ImportError("cannot import name 'x' from 'bodvcl.data'", name="bodvcl.data"),
]


def raising(error):
    def body():
        raise error

    return body


@pytest.mark.parametrize("error", REFUSED, ids=lambda e: f"{type(e).__name__}-{str(e)[:24]}")
def test_what_the_machine_refuses_is_one_line(error, capsys):
    assert run_verb("train", raising(error)) == 2
    said = capsys.readouterr().err
    assert said.startswith("bodvcl train: error: ")
    assert said.count("\n") == 1
    assert "Traceback" not in said


@pytest.mark.parametrize("error", FAULTS, ids=lambda e: f"{type(e).__name__}-{str(e)[:24]}")
def test_a_fault_of_the_program_is_not_hidden(error):
    with pytest.raises(type(error)) as seen:
        run_verb("train", raising(error))
    assert seen.value is error


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EDQUOT, errno.EFBIG])
def test_a_full_disk_is_named_with_the_file(code):
    assert "cannot write /some/file: the disk is full" in explain(OSError(code, "text", "/some/file"))


def test_the_reason_is_kept_and_how_to_take_less_is_said():
    said = r"of the GPU is full \(CUDA out of memory\. .*\): buy more"
    with pytest.raises(Surroundings, match=said) as seen, as_user_errors("buy more"):
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20 GiB")
    assert isinstance(seen.value.__cause__, torch.OutOfMemoryError)


@pytest.mark.parametrize("verb", sorted(VERBS))
@pytest.mark.parametrize("name", sorted(VARIABLES))
def test_a_variable_that_means_nothing_is_refused_by_every_verb(verb, name, monkeypatch, capsys):
    monkeypatch.setenv(name, "foo")
    assert main([verb]) == 2
    said = capsys.readouterr().err
    assert f"error: {name} is 'foo'; expected one of {', '.join(VARIABLES[name])}\n" in said


@pytest.mark.parametrize(
    ("name", "value"), [(name, value) for name in VARIABLES for value in ("", *VARIABLES[name])]
)
def test_variables_that_mean_something_are_taken(name, value, monkeypatch):
    monkeypatch.setenv(name, value)
    assert run_verb("info", lambda: 0) == 0


def test_every_variable_of_ours_is_checked():
    read = set()
    for path in sources():
        read |= set(re.findall(r"environ\S*[(\[]\"(BODVCL_\w+)\"", path.read_text(encoding="utf-8")))
    # an index that cannot be written is warned of; info says where BODVCL_BUILD is not that of the library
    assert read == {*VARIABLES, "BODVCL_INDEX", "BODVCL_BUILD"}


def sources() -> list[Path]:
    return sorted(Path(bodvcl.__file__).parent.rglob("*.py"))


def test_text_files_are_read_and_written_as_utf_8_wherever_the_program_runs():
    silent = []
    for path in sources():
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if not isinstance(node, ast.Call) or not _opens_text(node):
                continue
            if not any(k.arg == "encoding" for k in node.keywords):
                silent.append(f"{path.name}:{node.lineno}")
    assert silent == []


def _opens_text(call: ast.Call) -> bool:
    if isinstance(call.func, ast.Attribute):
        reads = call.func.attr == "read_text" and not call.args
        return reads or (call.func.attr == "write_text" and len(call.args) == 1)
    modes = [a for a in call.args[1:] if isinstance(a, ast.Constant)]
    binary = any("b" in str(mode.value) for mode in modes)
    return isinstance(call.func, ast.Name) and call.func.id == "open" and not binary


# ------------------------------------------------------------------ home, caches


@pytest.fixture
def nobody(monkeypatch, tmp_path):
    """A user without a home folder and without a name."""
    for name in ("HOME", "XDG_CACHE_HOME", "LOGNAME", "USER", "LNAME", "USERNAME", "TORCHINDUCTOR_CACHE_DIR"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr("pwd.getpwuid", _unknown)
    monkeypatch.setattr("tempfile.gettempdir", lambda: str(tmp_path))
    return tmp_path


def _unknown(number):
    raise KeyError(f"getpwuid(): uid not found: {number}")


def test_a_user_without_a_home_has_a_cache_of_his_own(nobody):
    assert cache_folder("shapes") == cache_folder("shapes")
    assert cache_folder("shapes").parent.parent == nobody
    assert cache_folder("shapes").parent.stat().st_mode & 0o777 == 0o700


@pytest.mark.parametrize("prepared", ["file", "link", "link to nothing"])
def test_a_cache_that_somebody_else_prepared_is_not_taken(prepared, nobody, monkeypatch):
    monkeypatch.setattr("tempfile.tempdir", str(nobody))
    place = nobody / f"bodvcl-{os.getuid()}"
    if prepared == "file":
        place.touch()
    else:
        place.symlink_to(nobody / "elsewhere")
    if prepared == "link":
        (nobody / "elsewhere").mkdir()
    folder = cache_folder("shapes").parent
    assert folder.parent == nobody
    assert folder.name not in (place.name, "elsewhere")
    assert folder.stat().st_mode & 0o777 == 0o700


def test_compilers_find_a_cache_without_a_name(nobody):
    with pytest.raises((KeyError, OSError)):
        getpass.getuser()
    give_compilers_a_cache()
    assert os.environ.pop("TORCHINDUCTOR_CACHE_DIR") == str(cache_folder("torchinductor"))


def test_a_home_that_is_not_there_is_said(nobody):
    with pytest.raises(ConfigError, match="~/q: this user has no home folder; set HOME"):
        expand("~/q")


def test_known_users_keep_the_usual_place_of_compiled_kernels(monkeypatch):
    monkeypatch.delenv("TORCHINDUCTOR_CACHE_DIR", raising=False)
    give_compilers_a_cache()
    assert "TORCHINDUCTOR_CACHE_DIR" not in os.environ


@pytest.mark.parametrize("name", ["shapes", "digits", "scenes", "features", "videos.sqlite"])
@pytest.mark.parametrize(
    ("xdg", "parent"),
    [("/x", "/x"), ("~/x", "/home/me/x"), ("", "/home/me/.cache"), ("x", "/home/me/.cache")],
)
def test_xdg_cache_home_moves_every_cache(name, xdg, parent, monkeypatch):
    monkeypatch.setenv("HOME", "/home/me")
    monkeypatch.setenv("XDG_CACHE_HOME", xdg)
    assert cache_folder(name) == Path(parent) / "bodvcl" / name


@given(path=st.text(st.characters(codec="utf-8", exclude_characters="\0"), min_size=1))
def test_only_a_tilde_in_front_is_replaced(path):
    if path.startswith("~"):
        assert expand(path) == Path(os.path.expanduser(path))
    else:
        assert expand(path) == Path(path)


# ------------------------------------------------------------------ packages


def test_info_says_what_is_missing(monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "av", None)
    assert main(["info"]) == 0
    assert "PyAV       unknown: " in capsys.readouterr().out


def test_every_verb_says_what_is_missing():
    code = (
        "import sys\n"
        "sys.modules['av'] = None\n"
        "from bodvcl.cli.main import main\n"
        "for argv in (['train', '--dry-run'], ['probe', '--checkpoint', 'x'], ['data', 'scan', '.'],\n"
        "             ['data', 'show', '.'], ['data', 'transcode', '.', 'x']):\n"
        "    assert main(argv) == 2, argv\n"
        "sys.modules['torch'] = None\n"
        "sys.exit(main(['info']))\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    lines = done.stderr.splitlines()
    assert done.returncode == 0, done.stderr
    assert len(lines) == 5
    assert all("error: av cannot be imported" in line for line in lines)


def test_info_is_told_even_where_nothing_can_be_imported(monkeypatch, capsys):
    def missing(*_: object) -> None:
        raise ImportError("No module named 'torch'", name="torch")

    for name in ("_cpu", "_gpus", "_build", "_libraries", "_operators", "_optimisers"):
        monkeypatch.setattr(info, name, missing)
    assert main(["info"]) == 0
    assert capsys.readouterr().out.count("  unknown: No module named 'torch'\n") == 4


# ------------------------------------------------------------------ signals


def test_sigterm_removes_what_is_half_written(capsys):
    cleaned = []

    def body() -> int:
        try:
            os.kill(os.getpid(), 15)
            return 0
        finally:
            cleaned.append(True)

    assert run_verb("data scan", body) == 143
    assert cleaned == [True]
    assert capsys.readouterr().err == "bodvcl data scan: terminated\n"


def test_an_interrupt_waits_for_the_end_of_an_import(capsys):
    reached = []

    def body() -> int:
        with uninterrupted():
            os.kill(os.getpid(), 2)
            reached.append("the end of the import")
        reached.append("work")
        return 0

    assert run_verb("train", body) == 130
    assert reached == ["the end of the import"]
    assert capsys.readouterr().err == "bodvcl train: interrupted\n"


def test_terminated_is_an_interruption_to_everything_else():
    assert issubclass(Terminated, KeyboardInterrupt)


EVERY_VERB = (
    *(["train"], ["info"], ["probe", "--checkpoint", "x"], ["report", "x"]),
    *(["data", "scan", "x"], ["data", "show", "x"], ["data", "transcode", "x", "y"]),
)
AT_AN_IMPORT = """
import os, sys
class Finder:
    def find_spec(self, name, path=None, target=None):
        if name in ("torch", "numpy", "rich.console", "jinja2", "markupsafe", "bodvcl.viz.report"):
            sys.meta_path.remove(self)
            os.kill(os.getpid(), int(os.environ["SEND"]))
sys.meta_path.insert(0, Finder())
"""


@pytest.mark.parametrize(
    ("argv", "number"),
    [
        pytest.param(argv, number, marks=[] if argv == ["train"] else pytest.mark.slow)
        for argv in EVERY_VERB
        for number in (2, 15)
    ],
    ids=str,
)
def test_a_signal_during_imports_shows_no_traceback(argv, number, tmp_path):
    code = f"{AT_AN_IMPORT}\nfrom bodvcl.cli.main import main\nsys.exit(main({argv!r}))"
    done = subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, "SEND": str(number)},
        capture_output=True,
        text=True,
        cwd=tmp_path,
    )
    assert done.returncode in ((130,) if number == 2 else (143, -15)), done.stderr
    assert "Traceback" not in done.stderr


# ------------------------------------------------------------------ printed commands


@pytest.mark.parametrize("name", ["plain", "my runs/x", "it's", "a;b", "$HOME"])
def test_printed_commands_can_be_pasted(name, tmp_path, monkeypatch, capsys):
    from bodvcl.cli import end_of_run
    from bodvcl.cli.data_transcode import print_copy
    from bodvcl.config.schema import TrainConfig
    from bodvcl.data.files.transcode import CopyReport
    from bodvcl.engine.loop import TrainingOutcome

    monkeypatch.setattr(end_of_run, "summarise", lambda *_: None)
    monkeypatch.setattr(end_of_run, "write_atomically", lambda *_: None)
    outcome = TrainingOutcome(step=1, total=2, seconds=1.0, signal=15, encoder=None)
    run = end_of_run.TrainedRun(Path(name), None, None, outcome)
    assert end_of_run.finish(TrainConfig(), torch.device("cpu"), run) == 143
    command = capsys.readouterr().out.splitlines()[-1]
    assert shlex.split(command) == ["bodvcl", "train", "--resume", "--run-dir", str(Path(name))]
    print_copy(CopyReport(Path(name), source=name))
    command = capsys.readouterr().out.splitlines()[-1].partition("use it with ")[2]
    assert shlex.split(command) == ["--data", name]
