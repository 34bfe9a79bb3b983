#!/bin/bash
# Distil in a container on a rented machine with several GPUs (any cloud): bash experiments/launch/docker.sh
# Change: the image, the folders, teacher and student. The machine may vanish at any time: start the script again.
set -euo pipefail
image=${IMAGE:-pytorch/pytorch:latest}
data=${DATA:-$PWD/sounds}
runs=${RUNS:-$PWD/runs}            # on a disk that outlives the machine
devices=${DEVICES:-$(nvidia-smi --list-gpus | wc -l)}

# Docker gives /dev/shm 64 MB, too little for the batches of loader processes: --shm-size, or --engine.workers 0.
# --init and --stop-timeout give a signal time to save a checkpoint.
docker run --rm --init --gpus all --shm-size 8g --stop-timeout 120 \
    -v "$data:/data:ro" -v "$runs:/runs" -e DEVICES="$devices" "$image" bash -c '
        set -e
        pip install --quiet audio-distill
        if [ -e /runs/first/config.yaml ]; then
            exec distill fit --resume --out /runs/first
        fi
        exec distill fit --teacher musicnn --student cnn --data /data --out /runs/first --engine.devices "$DEVICES"'
