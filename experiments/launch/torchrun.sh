#!/bin/bash
# Distil on several machines without a scheduler. Start it on each machine, with the same words:
#   FIRST_MACHINE=gpu1 MACHINES=2 bash experiments/launch/torchrun.sh --data /shared/audio --out /shared/runs/first
# Change: teacher and student, the number of GPUs of a machine. All machines must see the data and the run folder.
set -euo pipefail
first=${FIRST_MACHINE:-127.0.0.1}  # a name or an address that all machines reach
port=${PORT:-29500}                # a free port on it
machines=${MACHINES:-1}
devices=${DEVICES:-$(nvidia-smi --list-gpus | wc -l)}
export OMP_NUM_THREADS=${OMP_NUM_THREADS:-8}

# torchrun sets the number of processes, so --engine.devices and --engine.num_nodes are not needed.
# After a crash, start all machines again with --resume --out /shared/runs/first; their number may differ.
torchrun \
    --nnodes "$machines" --nproc_per_node "$devices" \
    --rdzv_backend c10d --rdzv_endpoint "$first:$port" --rdzv_id distill \
    ${LOCAL_ADDRESS:+--local_addr "$LOCAL_ADDRESS"} \
    -m distill fit --teacher "${TEACHER:-musicnn}" --student "${STUDENT:-cnn}" "$@"
