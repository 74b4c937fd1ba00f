#!/usr/bin/env bash
# One command for a machine with an NVIDIA GPU: build, every GPU test, then the benchmarks, in under nine minutes.
# Writes bench/results/gpu-<device>-<date>.json with device, versions, commit, test outcome and timings.
#
#   bench/gpu_check.sh [FOLDER]        default folder: bench/results
#
# What it needs is in bench/gpu_build.sh; pytest and pytest-benchmark too.
# Without a GPU, GPU_CHECK_ANYWAY=1 runs what a CPU can, to try this script.
set -euo pipefail
anyway=${GPU_CHECK_ANYWAY:-}
. "$(dirname "$0")/gpu_build.sh"
out=${1:-bench/results}
mkdir -p "$out"

echo "== GPU tests"
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
