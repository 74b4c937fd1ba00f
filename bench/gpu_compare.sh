#!/usr/bin/env bash
# One command for a machine with an NVIDIA GPU: plain V-SimCLR, + BOD-VCL, + L_pred and plain without correlation with an
# R(2+1)D-18 at 112 x 112 on both built-in data sets, in at most nine minutes, the build of the package included.
# Writes gpu-<device>-<date>-compare.json, .md and .png with device, versions, commit, table and seconds of every run.
#
#   bench/gpu_compare.sh [FOLDER]      default folder: bench/results
#
# It trains all variants with one seed, plain and BOD-VCL first, then with the next seed, until the time is up; what is
# not finished then is left out and named. EPOCHS (default 4) is the length of a training. docs/gpu.md says what it
# needs. Without a GPU, GPU_COMPARE_ANYWAY=1 trains tiny networks for two steps, to try this script.
set -euo pipefail
SECONDS=0
limit=540   # seconds in all
to_end=60   # of them to stop what is running, report and collect
anyway=${GPU_COMPARE_ANYWAY:-}
cd "$(dirname "$0")/.."
python=${PYTHON:-python3}
out=${1:-bench/results}
mkdir -p "$out"
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
limited() { env --default-signal=INT timeout --signal=INT --kill-after=10 "$@"; } # what is interrupted still reports
arch=$("$python" -c 'import torch
print("%d%d" % torch.cuda.get_device_capability() if torch.cuda.is_available() else "")')
if [ -z "$arch" ] && [ -z "$anyway" ]; then
  echo "gpu_compare: PyTorch sees no CUDA device" >&2
  exit 1
fi
gpu=$([ -n "$arch" ] && echo 1 || echo 0)
timeout 200 "$python" -m bench.gpu.package "$work" --work "$work" --arch "$arch"
export PYTHONUNBUFFERED=1 PYTHONSAFEPATH=1 PYTHONPATH="$work/site${PYTHONPATH:+:$PYTHONPATH}"
"$python" -m bodvcl.info --json >"$work/info.json"
export BODVCL_INDEX="$work/index.sqlite"

training=(--shapes.size 128 --digits.size 128 --shapes.cache "$work/shapes" --digits.cache "$work/digits" --decoder pyav)
cores=$("$python" -c 'import os; print(len(os.sched_getaffinity(0)))')
runs=1 seeds=5
if [ "$gpu" = 1 ]; then
  training+=(--model.backbone r2plus1d_18 --clip.size 112 --batch-size 16)
  # Room for 24 GiB a run, about twice what --dry-run estimates; and three cores.
  runs=$("$python" -c 'import sys, torch
memory = torch.cuda.get_device_properties(0).total_memory / 2**30
print(max(1, min(4, int(memory / 24), int(sys.argv[1]) // 3)))' "$cores")
else
  seeds=1
  training+=(--model.width 4 --model.embed-dim 12 --clip.size 32 --batch-size 4 --max-steps 2)
  training+=(--shapes.train-videos 16 --shapes.probe-videos 32 --digits.train-videos 16 --digits.probe-videos 32)
fi
decoding=$((cores / runs - 1))
training+=(--workers "$((decoding > 1 ? decoding : 1))")

left=$((limit - to_end - SECONDS))
if [ "$left" -le 0 ]; then
  echo "gpu_compare: the build took $SECONDS of $limit seconds: no time is left to train" >&2
  exit 1
fi
echo "== $runs trainings at a time, $left seconds"
failed=0
limited "$((left + to_end - 15))" "$python" -m bodvcl compare --out "$work/runs" --methods simclr --seeds "$seeds" \
  --variants plain "+ BOD-VCL" "+ L_pred" "plain, uncorrelated" --epochs "${EPOCHS:-4}" \
  --workers "$runs" --minutes "$((left / 60)).$(printf %02d $((left % 60 * 100 / 60)))" -- "${training[@]}" || failed=$?
if [ "$failed" -ne 0 ]; then
  tail -n 20 "$work"/runs/*/*/*/*/log.txt || true
fi
if [ -e "$work/runs/comparison.json" ]; then
  "$python" bench/collect.py "$work" "$out" --comparison "$work/runs"
fi
echo "== $SECONDS seconds"
exit "$failed"
