#!/bin/bash
# Distil on several machines of a SLURM cluster: sbatch experiments/launch/slurm.sh
# Change: the lines #SBATCH, the environment, the data, the teacher, the folder of the run.
#SBATCH --job-name=distill
#SBATCH --nodes=2
#SBATCH --ntasks-per-node=4       # one task for each GPU; distill reads it, so --engine.devices is not needed
#SBATCH --gres=gpu:4
#SBATCH --cpus-per-task=8
#SBATCH --time=24:00:00
#SBATCH --signal=TERM@120         # two minutes before the end, a checkpoint is saved
#SBATCH --requeue                 # after the loss of a machine, SLURM starts the job again, and it resumes
set -euo pipefail
source "$HOME/venv/bin/activate"
run=$SCRATCH/runs/first           # a folder that all machines share
export OMP_NUM_THREADS=$SLURM_CPUS_PER_TASK

# --ntasks-per-node and --gres reach srun from the lines above. --kill-on-bad-exit ends all tasks with the first.
words=(--out "$run" --engine.workers 7)
if [ -e "$run/config.yaml" ]; then
    words+=(--resume)
else
    words+=(--teacher beats --teacher.checkpoint "$SCRATCH/BEATs_iter3_plus.pt" --student hear --data "$SCRATCH/audioset")
fi
srun --kill-on-bad-exit=1 distill fit "${words[@]}"

# Embeddings alone need no connection between machines: a job array of 64 parts, each on one GPU.
#   sbatch --array=0-63 --gres=gpu:1 --wrap \
#     'distill embed --teacher beats --teacher.checkpoint BEATs.pt --data audioset --out store --shard $SLURM_ARRAY_TASK_ID/64'
# A part that failed is submitted again with its number: sbatch --array=17 ...
