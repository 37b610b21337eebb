"""The processes of a run are about to do the same, or nothing starts."""

import json
from collections.abc import Mapping
from typing import Any

import jax

from mass_jax import records
from mass_jax.parallel import hosts
from mass_jax.parallel.rendezvous import JoinError
from mass_jax.runtime.configs import config_diff, describe_diff, to_json


def agree(config: Mapping[str, Any], command: Mapping[str, Any]) -> None:
    """See that all processes are about to do the same.

    Args:
      config: the resolved config.
      command: what else decides what is done.

    Raises:
      JoinError: names what another process has otherwise, on all of them.
    """
    mine = {
        "config": json.loads(to_json(config)),
        "command": dict(command),
        "code": records.method_version(),
        "jax": jax.__version__,
    }
    first, *rest = hosts.everyone(mine)
    for number, other in enumerate(rest, 1):
        if diff := config_diff(first, other):
            raise JoinError(
                f"The processes of this run were not started alike. They differ in:\n"
                f"{describe_diff(diff, 'process 0', f'process {number}')}\n"
                "Start the same command, from the same code, on every host."
            )
