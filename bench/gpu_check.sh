#!/usr/bin/env bash
# One command for a machine with an NVIDIA GPU: build, every GPU test, then the benchmarks, in under nine minutes.
# Writes bench/results/gpu-<device>-<date>.json with device, versions, commit, test outcome and timings.
#
#   bench/gpu_check.sh [FOLDER]        default folder: bench/results
#
# Needs Python 3.11 or newer with torch >= 2.11 (CUDA build), the packages that pyproject.toml lists, pytest and
# pytest-benchmark, and nvcc, cmake and a C++ compiler. Nothing is installed: the package is put together from
# links in a temporary folder, and wheels found in wheels/ (here or beside this folder) are unpacked there too.
# PYTHON chooses the interpreter. Without a GPU, GPU_CHECK_ANYWAY=1 runs what a CPU can, to try this script.
set -euo pipefail
cd "$(dirname "$0")/.."
out=${1:-bench/results}
python=${PYTHON:-python3}
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
mkdir -p "$out" "$work/site/bodvcl"
export PYTHONUNBUFFERED=1 PYTHONSAFEPATH=1 # the current folder's bodvcl lacks its kernels and recipes
export PYTHONPATH="$work/site${PYTHONPATH:+:$PYTHONPATH}"

for wheels in wheels ../wheels; do
  if compgen -G "$wheels/*.whl" >/dev/null; then
    echo "== wheels from $wheels"
    "$python" -m pip install -q --no-index --no-deps --no-compile --target "$work/site" "$wheels"/*.whl
    break
  fi
done

gpu=$("$python" -c 'import torch; print(int(torch.cuda.is_available()))')
if [ "$gpu" = 0 ] && [ -z "${GPU_CHECK_ANYWAY:-}" ]; then
  echo "gpu_check: PyTorch sees no CUDA device" >&2
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
for part in bodvcl/* kernels configs; do
  link="$work/site/bodvcl/$(basename "$part")"
  case "$part" in *.so | *.json | *__pycache__) ;; *) [ -e "$link" ] || ln -s "$PWD/$part" "$link" ;; esac
done
"$python" -m bodvcl.info --json >"$work/info.json"
"$python" -m bodvcl.info --brief

echo "== GPU tests"
limited() { env --default-signal=INT timeout --signal=INT --kill-after=10 "$@"; } # an interrupted pytest still reports
tests=0
limited 130 "$python" -m pytest -q -m gpu tests --continue-on-collection-errors --junitxml="$work/tests.xml" || tests=$?

echo "== benchmarks"
benchmarks=0
# One process for each file, with so many seconds: what one writes survives the next one's end.
for file in test_train_step:120 test_koopman:40 test_contrastive:40 test_augment:20; do
  name=${file%:*}
  [ -e "bench/$name.py" ] || continue
  limited "${file#*:}" "$python" -m pytest -q "bench/$name.py" \
    --benchmark-max-time=0.3 --benchmark-json="$work/bench-$name.json" || benchmarks=$?
done

"$python" bench/collect.py "$work" "$out" --tests "$tests" --benchmarks "$benchmarks"
[ "$tests" -eq 0 ] && [ "$benchmarks" -eq 0 ]
