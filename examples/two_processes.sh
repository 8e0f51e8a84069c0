#!/usr/bin/env bash
# Runs one job as two processes on this machine, as two hosts would.
# Usage: examples/two_processes.sh --config=experiments/5w1s.py --workdir=runs/two [other flags]
set -euo pipefail
export JAX_PLATFORMS=cpu
flags=(--distributed --coordinator_address=localhost:29500 --process_count=2)
python -m sib_jax.main "$@" "${flags[@]}" --process_id=1 &
python -m sib_jax.main "$@" "${flags[@]}" --process_id=0
wait "$!"
