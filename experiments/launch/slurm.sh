#!/usr/bin/env bash
# A run on GPUs of a SLURM cluster, one process a GPU. The page to read is docs/launching.md.
#SBATCH --job-name=mass
#SBATCH --nodes=2
#SBATCH --ntasks-per-node=8
#SBATCH --gpus-per-node=8
#SBATCH --cpus-per-task=8
#SBATCH --time=24:00:00
#SBATCH --requeue
#SBATCH --signal=TERM@120
#SBATCH --open-mode=append
#SBATCH --output=slurm-%j.out
set -euo pipefail

usage() {
  cat <<'END'
Usage: sbatch [--nodes=2 --ntasks-per-node=8 --gpus-per-node=8 --time=24:00:00 ...] experiments/launch/slurm.sh ARGUMENTS

Starts experiments.demo with --distributed and ARGUMENTS, one process a GPU, from the directory that sbatch is called
in. Two minutes before the time limit the run saves itself and ends with status 75: the job is then queued again under
its number, and continues; so it does where it is preempted. --ntasks-per-node and --gpus-per-node have to be equal.

  PYTHON    to run it (.venv/bin/python), on a file system that all nodes see
END
}

RETRY=75 # of mass_jax/parallel/preemption.py

case ${1:-} in
  --*=* | --distributed) ;;
  -h | --help)
    usage
    exit
    ;;
  *)
    usage >&2
    exit 2
    ;;
esac
: "${SLURM_JOB_ID:?is not set: this script is for sbatch, see --help}"

# Before the time is up only the processes are told. Where this shell is too, the job is cancelled or preempted: it lives
# on until they have saved themselves, and does not queue the job again, which SLURM does by itself if it is to be.
told=
trap told=1 TERM
status=0
srun --kill-on-bad-exit=0 "${PYTHON:-.venv/bin/python}" -m experiments.demo --distributed "$@" || status=$?
if [ "$status" -eq "$RETRY" ] && [ -z "$told" ]; then
  scontrol requeue "$SLURM_JOB_ID"
fi
exit "$status"
