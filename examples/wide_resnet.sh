#!/usr/bin/env bash
# The paper's WRN-28-10 on one GPU: pretraining, features, both tables, GPU rows of the benchmarks.
# Usage: examples/wide_resnet.sh DATA OUT          (DATA holds mini-ImageNet)
#        TOY=1 examples/wide_resnet.sh - OUT       (a rehearsal on glyphs; minutes on a CPU)
# If it was stopped, the same command goes on. OUT gets the run, features in float16 and gpu.json.
set -euo pipefail
data=$1 out=$2
if [ -n "${TOY:-}" ]; then
  dataset=glyphs toy=(--toy)
  flags=(--config.backbone=wrn_10_2 --config.pretrain.epochs=1 --config.eval.val_tasks=20
    --config.eval.test_tasks=20 --config.optimizer.epochs=1 --config.optimizer.steps_per_epoch=20
    '--config.optimizer.drop_epochs=()' --config.optimizer.val_tasks=20)
else
  dataset=mini_imagenet toy=()
  # 60 epochs of 32,000 images take 13 minutes at 2,500 images a second.
  flags=(--data_dir="$data" --config.backbone=wrn_28_10 --config.dtype=bfloat16
    --config.pretrain.epochs=60 '--config.pretrain.growth=()' --config.pretrain.batch=256
    --config.pretrain.lr=0.1 --config.pretrain.jitter=0.2)
fi
mkdir -p "$out"
run() { python -m sib_jax.main --config="experiments/paper.py:$dataset" --workdir="$out/run" "${flags[@]}" "$@"; }
run --mode=pretrain
python -m sib_jax.features --run="$out/run" --out="$out/features.npz" --dtype=float16
run
python benchmarks/gpu.py "${toy[@]}" --json="$out/gpu.json"
