#!/usr/bin/env bash
# A run on TPUs of a GKE cluster, by xpk. The page to read is docs/launching.md.
set -euo pipefail

usage() {
  cat <<'END'
Usage: CLUSTER=... PROJECT=... ZONE=... [TYPE=v5litepod-16] experiments/launch/gke_xpk.sh COMMAND [ARGUMENTS]

  create           make a cluster with one slice, and a file server that its runs see at /runs
  run ARGUMENTS    start experiments.demo with --distributed and ARGUMENTS on all hosts of the slice, from an image of
                   this directory; it is started again where it ends with status 75 or its hosts are taken away
  watch            follow what the first host prints
  stop             delete the workload: the run saves itself within GRACE seconds; the same run continues it
  delete           delete the cluster; what is in /runs stays, until: xpk storage delete runs

  CLUSTER   its name                    PROJECT, ZONE  where it is
  TYPE      accelerator type            WORKLOAD       name of the run (mass)
  CAPACITY  --spot (default), --on-demand, or --reservation=...
  IMAGE     what the run's image begins from (python:3.12)
  RESTARTS  at most (100)               GRACE          seconds to save itself (120)
  HF_TOKEN  passed on to the run, for models that need one
END
}

TYPE=${TYPE:-v5litepod-16}
WORKLOAD=${WORKLOAD:-mass}
CAPACITY=${CAPACITY:---spot}
IMAGE=${IMAGE:-python:3.12}
RESTARTS=${RESTARTS:-100}
GRACE=${GRACE:-120}
# 75 of mass_jax/parallel/preemption.py; and how the others end when a host is lost: aborted, killed, terminated.
RETRY=75,134,137,143

on_cluster() { xpk "$1" "$2" --cluster="$CLUSTER" --project="$PROJECT" --zone="$ZONE" "${@:3}"; }

create() {
  on_cluster cluster create --tpu-type="$TYPE" --num-slices=1 "$CAPACITY" --enable-gcpfilestore-csi-driver
  xpk storage create runs --type=gcpfilestore --auto-mount=true --mount-point=/runs --readonly=false \
    --size=1024 --tier=BASIC_HDD --access_mode=ReadWriteMany --vol=runs \
    --cluster="$CLUSTER" --project="$PROJECT" --zone="$ZONE"
}

run() {
  # exec, so that SIGTERM reaches the program and not a shell around it.
  on_cluster workload create --workload="$WORKLOAD" --tpu-type="$TYPE" --num-slices=1 \
    --base-docker-image="$IMAGE" --script-dir=. --env="HF_TOKEN=${HF_TOKEN:-}" \
    --max-restarts="$RESTARTS" --restart-on-exit-codes="$RETRY" --termination-grace-period-seconds="$GRACE" \
    --command="pip install -q -e '.[study,tpu]' && exec python -m experiments.demo --distributed $(printf '%q ' "$@")"
}

watch() {
  on_cluster workload list
  kubectl logs --follow --container=jax-tpu \
    --selector="jobset.sigs.k8s.io/jobset-name=$WORKLOAD,batch.kubernetes.io/job-completion-index=0"
}

stop() { on_cluster workload delete --workload="$WORKLOAD"; }

delete() { on_cluster cluster delete; }

case ${1:-} in
  create | run | watch | stop | delete)
    : "${CLUSTER:?is not set: see --help}" "${PROJECT:?is not set: see --help}" "${ZONE:?is not set: see --help}"
    "$@"
    ;;
  -h | --help) usage ;;
  *)
    usage >&2
    exit 2
    ;;
esac
