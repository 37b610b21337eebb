"""Several processes, one run: they find each other, or nothing starts."""

import os
import sys
import threading
from typing import NoReturn

import jax

from mass_jax.training.errors import InputError


class JoinError(InputError):
    """The processes of a run did not find each other."""


def leave(status: int) -> NoReturn:
    """End the process; of several at once, for the runtime's own farewell waits until all of them take leave."""
    if jax.distributed.is_initialized():
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(status)
    sys.exit(status)


def join(coordinator: str | None, processes: int | None, process: int | None, patience: int) -> None:
    """Make this process one of a run's; its devices are then all processes' together.

    Cloud TPU, GKE and SLURM say how many processes there are and which one this is; elsewhere all three are given.

    Args:
      coordinator: ``host:port`` of the first process.
      processes: how many there are.
      process: which one this is, from 0.
      patience: seconds to wait for the others.

    Raises:
      JoinError: some of the three are missing or contradict each other, or the runtime does not start. Where not all
        processes come in time, this one says so and ends with status 2.
    """
    given = {"--coordinator": coordinator, "--processes": processes, "--process": process}
    if missing := [flag for flag, value in given.items() if value is None]:
        if len(missing) < len(given):
            raise JoinError(f"{', '.join(missing)} must be given too: all three of {', '.join(given)}, or none.")
    elif not 0 <= process < processes:  # type: ignore[operator]
        raise JoinError(f"--process={process} is none of --processes={processes}: they are counted from 0.")
    who = f"process {process} of {processes} at {coordinator}" if coordinator else "this process"

    def sentence(reason: str) -> str:
        return (
            f"{who} could not join its run ({reason}). Start the same command on every host, see that they reach the "
            "coordinator's port, and give --coordinator, --processes and --process where neither Cloud TPU, GKE nor "
            "SLURM does; without --distributed this process runs alone."
        )

    def give_up() -> None:
        print(sentence(f"not all have come within --patience={patience} seconds"), file=sys.stderr, flush=True)
        os._exit(2)

    # SIGTERM is ours (`preemption`): the runtime would catch it for a service of its own that is not used here.
    jax.config.update("jax_enable_preemption_service", False)
    # The runtime's own deadline aborts the process, with a stack trace in place of a reason.
    timer = threading.Timer(patience, give_up)
    timer.start()
    try:
        jax.distributed.initialize(coordinator, processes, process, initialization_timeout=patience + 60)
    except Exception as error:  # whatever the discovery of a cluster or a connection raises
        raise JoinError(sentence(str(error).strip().split("\n")[0])) from None
    finally:
        timer.cancel()
