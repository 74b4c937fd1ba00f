#!/usr/bin/env bash
# One command for a machine with an NVIDIA GPU: build, every GPU test, then the benchmarks, in under nine minutes.
# Writes bench/results/gpu-<device>-<date>.json with device, versions, commit, test outcome and timings.
#
#   bench/gpu_check.sh [FOLDER]        default folder: bench/results
#
# Needs Python with torch >= 2.11 (CUDA build), the packages that pyproject.toml lists, pytest and
# pytest-benchmark, and nvcc, cmake and a C++ compiler. PYTHON chooses the interpreter.
set -euo pipefail
cd "$(dirname "$0")/.."
out=${1:-bench/results}
python=${PYTHON:-python3}
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
mkdir -p "$out"
export PYTHONPATH="$PWD${PYTHONPATH:+:$PYTHONPATH}" PYTHONUNBUFFERED=1

"$python" -c 'import sys, torch; sys.exit(0 if torch.cuda.is_available() else "gpu_check: PyTorch sees no CUDA device")'
arch=$("$python" -c 'import torch; print("%d%d" % torch.cuda.get_device_capability())')
torch_dir=$("$python" -c 'import pathlib, torch; print(pathlib.Path(torch.__file__).parent)')

echo "== build for sm_$arch"
cmake -S . -B build/gpu_check -DTORCH_DIR="$torch_dir" -DBODVCL_CUDA=ON -DCMAKE_CUDA_ARCHITECTURES="$arch" >"$work/build.log"
cmake --build build/gpu_check -j "${MAX_JOBS:-8}" >>"$work/build.log" 2>&1 || { tail -n 40 "$work/build.log"; exit 1; }
cmake --install build/gpu_check --prefix bodvcl >>"$work/build.log"
"$python" -m bodvcl.info --json >"$work/info.json"

echo "== GPU tests"
tests=0
timeout 180 "$python" -m pytest -q -m gpu tests --junitxml="$work/tests.xml" || tests=$?

echo "== benchmarks"
benchmarks=0
timeout 270 "$python" -m pytest -q bench --benchmark-json="$work/bench.json" || benchmarks=$?

"$python" bench/collect.py "$work" "$out" --tests "$tests" --benchmarks "$benchmarks"
[ "$tests" -eq 0 ] && [ "$benchmarks" -eq 0 ]
