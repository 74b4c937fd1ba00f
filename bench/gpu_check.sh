#!/usr/bin/env bash
# One command for a machine with an NVIDIA GPU: build, check and measure, in under nine minutes (docs/gpu.md).
#
#   bench/gpu_check.sh [FOLDER] [--only STEP ...] [--from STEP] [--seconds N]
#
# PYTHON chooses the interpreter. Without a GPU, GPU_CHECK_ANYWAY=1 runs what a CPU can, to try the check itself.
set -euo pipefail
cd "$(dirname "$0")/.."
exec "${PYTHON:-python3}" -m bench.gpu "$@"
