# Sourced by the scripts of this folder that run on a machine with a GPU, with `set -euo pipefail`. Puts the package
# together from links in a temporary folder, which the end of the script removes; nothing is installed.
# Needs Python 3.11 or newer with torch >= 2.11 (CUDA build), the packages that pyproject.toml lists, nvcc, cmake and
# a C++ compiler. Wheels found in wheels/ (here or beside this folder) are unpacked there too. PYTHON chooses the
# interpreter. `anyway`: not empty to go on without a GPU.
# Sets python, gpu (1 or 0), work (the temporary folder) and the environment of the interpreter; defines limited.
cd "$(dirname "${BASH_SOURCE[0]}")/.."
python=${PYTHON:-python3}
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
mkdir -p "$work/site/bodvcl"
export PYTHONUNBUFFERED=1 PYTHONSAFEPATH=1 # the current folder's bodvcl lacks what is built here
export PYTHONPATH="$work/site${PYTHONPATH:+:$PYTHONPATH}"
limited() { env --default-signal=INT timeout --signal=INT --kill-after=10 "$@"; } # what is interrupted still reports

for wheels in wheels ../wheels; do
  if compgen -G "$wheels/*.whl" >/dev/null; then
    echo "== wheels from $wheels"
    "$python" -m pip install -q --no-index --no-deps --no-compile --target "$work/site" "$wheels"/*.whl
    break
  fi
done

gpu=$("$python" -c 'import torch; print(int(torch.cuda.is_available()))')
if [ "$gpu" = 0 ] && [ -z "${anyway:-}" ]; then
  echo "$(basename "$0" .sh): PyTorch sees no CUDA device" >&2
  exit 1
fi
torch_dir=$("$python" -c 'import pathlib, torch; print(pathlib.Path(torch.__file__).parent)')
build=(-S . -B "$work/build" -DTORCH_DIR="$torch_dir")
if [ "$gpu" = 1 ]; then
  arch=$("$python" -c 'import torch; print("%d%d" % torch.cuda.get_device_capability())')
  build+=(-DBODVCL_CUDA=ON -DCMAKE_CUDA_ARCHITECTURES="$arch")
else
  build+=(-DBODVCL_CUDA=OFF)
fi

echo "== build${arch:+ for sm_$arch}"
{
  cmake "${build[@]}" &&
    timeout 150 cmake --build "$work/build" -j "${MAX_JOBS:-8}" &&
    cmake --install "$work/build" --prefix "$work/site/bodvcl"
} >"$work/build.log" 2>&1 || { tail -n 40 "$work/build.log"; exit 1; }
for part in bodvcl/*; do
  link="$work/site/bodvcl/$(basename "$part")"
  case "$part" in *.so | *.json | *__pycache__) ;; *) [ -e "$link" ] || ln -s "$PWD/$part" "$link" ;; esac
done
"$python" -m bodvcl.info --json >"$work/info.json"
"$python" -m bodvcl.info --brief
