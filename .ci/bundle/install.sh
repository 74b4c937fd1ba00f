#!/bin/sh
# Install bodvcl @bodvcl@ and all that it needs from this folder. No network is used.
#
#   ./install.sh [--python PYTHON] FOLDER        a new environment in FOLDER
#   ./install.sh [--keep-torch] --into FOLDER    into an environment that exists; --keep-torch leaves its
#                                                PyTorch, torchvision and CUDA libraries as they are
#
# Nothing is written when a check fails. Exit code 2: one line says what is wrong and what to do.
set -u
want_python=@python@ want_machine=@architecture@ want_glibc=@glibc_minor@ need_bytes=@installed_bytes@

fail() {
    echo "install.sh: $*" >&2
    exit 2
}

python='' folder='' into='' keep=''
while [ $# -gt 0 ]; do
    case $1 in
    --python) python=${2-}; [ -n "$python" ] || fail "--python needs a program, such as python$want_python"; shift ;;
    --into) into=yes ;;
    --keep-torch) keep=yes ;;
    -h | --help) sed -n '2,/^set/s/^# \{0,1\}//p' "$0"; exit 0 ;;
    -*) fail "unknown option $1; ./install.sh --help lists them" ;;
    *) [ -z "$folder" ] || fail "one folder is expected, got $folder and $1"; folder=$1 ;;
    esac
    shift
done
[ -n "$folder" ] || fail "which folder? ./install.sh FOLDER"
[ -z "$keep" ] || [ -n "$into" ] || fail "--keep-torch is for an environment that exists: --into FOLDER"
[ -z "$into" ] || [ -z "$python" ] || fail "--into uses the Python of that environment; leave out --python"
case $folder in /*) ;; *) folder=$PWD/$folder ;; esac
case $python in /*) ;; */*) python=$PWD/$python ;; esac
bundle=$(CDPATH='' cd -- "$(dirname -- "$0")" && pwd) || fail "the folder of the bundle cannot be entered"

# The machine.
machine=$(uname -m)
[ "$machine" = "$want_machine" ] || fail "this bundle is for $want_machine, this machine is $machine"
glibc=$(getconf GNU_LIBC_VERSION 2>/dev/null) || fail "needs glibc 2.$want_glibc or newer; this system has another C library"
minor=${glibc#glibc 2.}
[ "${minor%%.*}" -ge "$want_glibc" ] 2>/dev/null || fail "needs glibc 2.$want_glibc or newer, this system has $glibc"

# Python and the place.
if [ -n "$into" ]; then
    python=$folder/bin/python
    [ -x "$python" ] || fail "$folder is not an environment: it has no bin/python"
else
    [ ! -e "$folder" ] || fail "$folder exists; choose a new folder, or --into for an environment that exists"
    [ -n "$python" ] || python=python$want_python
    command -v "$python" >/dev/null || fail "no $python here; name a Python $want_python: --python PYTHON"
fi
have=$("$python" -I -c 'import sys; print("%s %d.%d" % (sys.implementation.name, *sys.version_info[:2]))') ||
    fail "$python does not start"
[ "$have" = "cpython $want_python" ] || fail "this bundle is for CPython $want_python, $python is $have"
if [ -n "$into" ]; then
    "$python" -I -c 'import pip' 2>/dev/null || fail "$folder has no pip, which installs the wheels"
    [ -z "$keep" ] || "$python" -I -c 'import torch, torchvision' 2>/dev/null ||
        fail "--keep-torch: torch and torchvision cannot be imported in $folder"
else
    "$python" -I -c 'import venv, ensurepip' 2>/dev/null ||
        fail "$python has no venv or ensurepip (Debian and Ubuntu: install python$want_python-venv)"
fi
parent=$folder
while [ ! -e "$parent" ]; do parent=$(dirname "$parent"); done
[ -d "$parent" ] || fail "$parent is a file; choose another folder"
[ -w "$parent" ] || fail "$parent cannot be written to"
need=$((need_bytes / 1024 / 1024 + 100))
free=$(stat -f -c '%a * %S' "$parent" 2>/dev/null) || fail "the free space of $parent cannot be read"
free=$(($free / 1024 / 1024))
[ "$free" -ge "$need" ] || [ -n "$keep" ] || fail "needs $need MB, $parent has $free MB free"

# The files.
cd "$bundle" || fail "$bundle cannot be entered"
[ -f SHA256SUMS ] || fail "no SHA256SUMS in $bundle: the bundle is not whole; make or copy it again"
command -v sha256sum >/dev/null || fail "no sha256sum here, which checks the files; it is part of GNU coreutils"
bad=$(LC_ALL=C sha256sum --strict --quiet -c SHA256SUMS 2>/dev/null) || {
    bad=$(printf '%s\n' "$bad" | sed -n 's/: FAILED.*//p' | tr '\n' ' ')
    bad=${bad% }
    fail "missing or damaged: ${bad:-SHA256SUMS}; copy the bundle again"
}
pins=$(cat requirements.txt torch.txt 2>/dev/null | wc -l)
[ "$(grep -cE '  (requirements\.txt|torch\.txt|wheels/.+)$' SHA256SUMS)" -eq "$((pins + 2))" ] ||
    fail "missing or damaged: SHA256SUMS does not list every file; copy the bundle again"

made=''
ended() {
    code=$?
    if [ -n "$made" ]; then rm -rf "$made"; fi
    exit "$code"
}
trap ended EXIT
trap 'exit 130' INT
trap 'exit 143' TERM HUP
if [ -z "$into" ]; then
    made=$folder
    "$python" -I -m venv "$folder" || fail "no environment could be made in $folder"
    python=$folder/bin/python
fi
set -- -r requirements.txt
[ -n "$keep" ] || set -- "$@" -r torch.txt
PIP_CONFIG_FILE=/dev/null "$python" -I -m pip --isolated install --quiet --disable-pip-version-check --no-cache-dir \
    --no-index --find-links wheels --no-deps --require-hashes "$@" || fail "pip could not install into $folder"
made=''
PYTHONPATH="" "$folder/bin/bodvcl" info --brief || fail "installed in $folder, but bodvcl does not start there"
echo "installed in $folder; to use it: . $folder/bin/activate"
