#!/usr/bin/env bash
# A run on a Cloud TPU pod slice, by gcloud. The page to read is docs/launching.md.
set -euo pipefail

usage() {
  cat <<'END'
Usage: NAME=... ZONE=... [TYPE=v5litepod-16] experiments/launch/tpu_pod.sh COMMAND [ARGUMENTS]

  create           ask for a slice (a queued resource), and wait until it is there
  install          put the committed state of this checkout on all of its hosts, with what it needs, and mount SHARE
  run ARGUMENTS    start experiments.demo with --distributed and ARGUMENTS on all hosts, in the background;
                   it is started again as long as it ends with status 75
  watch            follow what the first host prints
  stop             SIGTERM on all hosts: the run saves itself; the same run continues it
  delete           give the slice back

  NAME      of the slice                ZONE     for instance us-west4-a
  TYPE      accelerator type            RUNTIME  its software version (v2-alpha-tpuv5-lite)
  CAPACITY  --spot (default), --reserved, or empty for on demand
  SHARE     address:/name of a file server in the same network, to be mounted on all hosts at /runs
  HF_TOKEN  passed on to the run, for models that need one
END
}

TYPE=${TYPE:-v5litepod-16}
RUNTIME=${RUNTIME:-v2-alpha-tpuv5-lite}
CAPACITY=${CAPACITY---spot}
RETRY=75 # of mass_jax/parallel/preemption.py

on_all() { gcloud compute tpus tpu-vm ssh "$NAME" --zone="$ZONE" --worker=all --command="$1"; }

create() {
  # shellcheck disable=SC2086 # CAPACITY may be empty
  gcloud compute tpus queued-resources create "$NAME" --node-id="$NAME" --zone="$ZONE" \
    --accelerator-type="$TYPE" --runtime-version="$RUNTIME" $CAPACITY
  local state=
  until [ "$state" = ACTIVE ]; do
    state=$(gcloud compute tpus queued-resources describe "$NAME" --zone="$ZONE" --format='value(state.state)')
    echo "$(date +%T) $state"
    case $state in
      FAILED | SUSPENDING | SUSPENDED)
        echo "The request for $NAME has ended: delete it, and ask again." >&2
        exit 1
        ;;
      ACTIVE) ;;
      *) sleep 30 ;;
    esac
  done
}

install() {
  local archive
  archive=$(mktemp -d)/mass_jax.tgz
  git archive --format=tgz --output="$archive" HEAD
  gcloud compute tpus tpu-vm scp "$archive" "$NAME:" --zone="$ZONE" --worker=all
  # The hosts' own Python is older than 3.11.
  on_all "set -e; mkdir -p mass_jax; tar xzf mass_jax.tgz -C mass_jax; cd mass_jax
    curl -LsSf https://astral.sh/uv/install.sh | sh
    ~/.local/bin/uv venv --quiet --allow-existing --python 3.12 .venv
    ~/.local/bin/uv pip install --quiet --python .venv/bin/python -e '.[study,tpu]'"
  if [ -n "${SHARE:-}" ]; then
    on_all "set -e; command -v mount.nfs >/dev/null || sudo apt-get install --yes --quiet nfs-common
      sudo mkdir -p /runs; mountpoint -q /runs || sudo mount -t nfs $(printf '%q' "$SHARE") /runs; sudo chmod 1777 /runs"
  fi
}

run() {
  local program loop
  program=".venv/bin/python -m experiments.demo --distributed $(printf '%q ' "$@")"
  loop="while $program; code=\$?; [ \$code -eq $RETRY ]; do sleep 10; done; echo ended with status \$code"
  # A session of its own: it outlives this connection, and stop reaches the loop and what it started.
  on_all "cd mass_jax || exit; export HF_TOKEN=$(printf '%q' "${HF_TOKEN:-}")
    setsid nohup bash -c $(printf '%q' "$loop") </dev/null >>run.log 2>&1 & echo \$! >run.pid"
}

watch() {
  gcloud compute tpus tpu-vm ssh "$NAME" --zone="$ZONE" --worker=0 --command='tail -n 50 -F mass_jax/run.log'
}

# shellcheck disable=SC2016 # for the hosts to read
stop() { on_all 'kill -TERM -- -$(cat mass_jax/run.pid)'; }

delete() { gcloud compute tpus queued-resources delete "$NAME" --zone="$ZONE" --force --quiet; }

case ${1:-} in
  create | install | run | watch | stop | delete)
    : "${NAME:?is not set: see --help}" "${ZONE:?is not set: see --help}"
    "$@"
    ;;
  -h | --help) usage ;;
  *)
    usage >&2
    exit 2
    ;;
esac
