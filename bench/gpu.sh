#!/usr/bin/env bash
# All checks and figures that need a GPU, on a machine with one GPU and no network, in about 8 minutes:
#   bench/gpu.sh WHEELS OUT [cpu]
# WHEELS: a folder of wheels to install first of what the machine lacks (deepspeed, segment-anything, pycocotools, tyro, ...), or - for none.
# OUT: a folder for logs and figures, written as soon as they are there; OUT/summary.txt has a line for each step.
# cpu: tries the script itself on a CPU, with small sizes.
# A step that fails does not stop the next; the exit code is the number of steps that failed.
set -u
wheels=$1 out=$2 device=${3:-cuda}
cd "$(dirname "$0")/.."
mkdir -p "$out"
out=$(cd "$out" && pwd)
export PYTHONUNBUFFERED=1 HF_HUB_OFFLINE=1 TOKENIZERS_PARALLELISM=false
if [ "$wheels" != - ]; then
    site=$(mktemp -d)
    python3 -m pip install --quiet --no-index --no-deps --no-compile --target "$site" "$wheels"/*.whl || exit 1
    export PYTHONPATH=$site
fi
failed=0

step() { # NAME SECONDS COMMAND...
    local name=$1 seconds=$2 begun=$SECONDS code
    shift 2
    timeout --kill-after 10 "$seconds" "$@" >"$out/$name.log" 2>&1
    code=$?
    printf '%s: exit code %s after %s s (limit %s)\n' "$name" "$code" $((SECONDS - begun)) "$seconds" | tee -a "$out/summary.txt"
    tail -n "${LINES_SHOWN:-15}" "$out/$name.log"
    [ $code -eq 0 ] || failed=$((failed + 1))
}

: >"$out/summary.txt"
if [ "$device" = cpu ]; then
    config=tiny pairs=1 precision=fp32 rows="whole_step_c3_t256 mfu_train_step"
    main=(--vision_steps 1 --grounding_steps 1 --epochs 1 --steps_per_epoch 2 --batch_size 2 --processes 1
        --num_classes_per_sample 2 --val_limit 2 ${LISA_GPU_SH_FLAGS:-})
    tune=(--epochs 1 --steps_per_epoch 1 --grad_accumulation_steps 1 --workers 0 --val_limit 2 ${LISA_GPU_SH_FLAGS:-})
    tests=(-n 0 tests/sam_bridge/test_gpu_sam.py)
else
    nvidia-smi --query-gpu=name,memory.total,driver_version --format=csv,noheader >>"$out/summary.txt"
    config=lisa7b pairs=3 precision=bf16 rows="whole_step_c3_t256 whole_step_c3_t256_sam_cached packed_c3_t256 packed_c8_t576 mfu_train_step"
    tune=(--epochs 1 --steps_per_epoch 10 --dataset_dir data/synthetic --workers 8 --val_limit 16 --log_base_dir "$out/runs")
    main=(--workers 8 --log_base_dir "$out/runs" ${LISA_GPU_SH_FLAGS:-})
    tests=(-n 8 --maxprocesses 8 tests/lisa tests/sam_bridge tests/backbones)
fi
step tests 200 python3 -m pytest -m gpu --device "$device" -q "${tests[@]}"
step main_job 270 python3 train_ds.py --overwrite --exp_name gpu "${main[@]}"
step fine_tune 90 python3 train_ds.py --overwrite --exp_name gpu_fine_tune --version models/tiny "${tune[@]}"
step train_step 120 python3 bench/train_step.py --config $config --pairs $pairs --rows $rows --out "$out/train_step.json"
step generate 90 python3 bench/generate.py --config $config --pairs $pairs --precision $precision \
    --rows generate_32 first_answer_32 --out "$out/generate.json"
for bench in evaluate sam; do
    step $bench 60 python3 bench/$bench.py --config $config --pairs $pairs --precision $precision --out "$out/$bench.json"
done
for file in report.json metrics.jsonl predictions.png; do
    [ -f "$out/runs/gpu/$file" ] && cp "$out/runs/gpu/$file" "$out/main_job_$file"
done
cat "$out/summary.txt"
exit $failed
