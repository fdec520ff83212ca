#!/bin/bash
# Sixteen shards of a job as a SLURM array, and one dataset of them: sbatch jobs/slurm.sh
# Eight run side by side, so each has an eighth of the limits and a sixteenth of the cap. OUTPUT is on a file system that
# all nodes see; ledgers are SQLite files and lie on each node's own disk (--scratch), copied to OUTPUT every two seconds.
#SBATCH --job-name=docreduce
#SBATCH --array=1-16%8
#SBATCH --cpus-per-task=2
#SBATCH --signal=TERM@120
#SBATCH --requeue
set -u
job=${1:-jobs/summarize.toml}
docreduce run "$job" --shard "$SLURM_ARRAY_TASK_ID/16" --at-once 8 --scratch "${TMPDIR:-/tmp}/docreduce"
# Whoever ends last merges; for all others shards are missing, and nothing is merged.
docreduce merge results || true
