"""The command line of a main: ``--config=configs/x.py --config.field=value --workdir=...``."""

import re
import sys
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import NoReturn

from absl import app, flags, logging
from ml_collections import ConfigDict, config_flags

from mass_jax.training import distributed, preemption, profiling
from mass_jax.training.errors import InputError
from mass_jax.training.workdir import flatten, nearest

_CONFIG = config_flags.DEFINE_config_file("config", None, "Config file; change a field by --config.name=value.")
_WORKDIR = flags.DEFINE_string("workdir", None, "Directory of the run: checkpoints, metrics, results.")
_PROFILE = flags.DEFINE_integer("profile", 0, "Write a trace of so many warm training steps, into <arm>/profile.")
_DISTRIBUTED = flags.DEFINE_bool("distributed", False, "This is one of several processes, all with the same command.")
_COORDINATOR = flags.DEFINE_string("coordinator", None, "host:port of the first process, where no cluster tells.")
_PROCESSES = flags.DEFINE_integer("processes", None, "How many processes there are, where no cluster tells.")
_PROCESS = flags.DEFINE_integer("process", None, "Which of them this is, from 0, where no cluster tells.")
_PATIENCE = flags.DEFINE_integer("patience", 300, "Seconds in which all processes have to come.", lower_bound=1)


class ConfigError(InputError):
    """The command line does not give a config."""


def run(main: Callable[[ConfigDict, Path], None]) -> NoReturn:
    """Parses the flags, calls ``main(config, workdir)`` and exits.

    The config is locked: a field that ``get_config`` does not set can be neither set by a flag nor by the program.
    Every ``InputError`` of the flags or of ``main`` is printed as a sentence and ends with exit status 2, so that a
    launcher can tell it from a crash (1), which keeps its traceback.
    """

    def sentences_only(_: list[str]) -> None:
        if not flags.FLAGS["verbosity"].present:
            logging.set_verbosity(logging.WARNING)  # the libraries' INFO lines would bury the progress bar
        profiling.trace_steps(_PROFILE.value)
        try:
            preemption.leave_on_notice()
            if _DISTRIBUTED.value:
                distributed.join(_COORDINATOR.value, _PROCESSES.value, _PROCESS.value, _PATIENCE.value)
                own = flags.FLAGS.get_key_flags_for_module(sys.argv[0])
                distributed.agree(_CONFIG.value, {flag.name: flag.value for flag in own})
            main(_CONFIG.value, Path(_WORKDIR.value or ""))
        except InputError as e:
            _exit(e)
        except preemption.Preempted:
            print("Stopped: the state is saved, and the same command goes on from there.", file=sys.stderr)
            raise
        except Exception:
            if not _DISTRIBUTED.value:
                raise
            distributed.follow()
            traceback.print_exc()
            distributed.leave(1)

    app.run(sentences_only, flags_parser=_parse)


def _parse(argv: list[str]) -> list[str]:
    try:
        _check_overrides(argv)
        rest = flags.FLAGS(argv)
        for flag, example in ((_CONFIG, "configs/x.py"), (_WORKDIR, "runs/x")):
            if not flag.value:
                raise ConfigError(f"--{flag.name} is missing. Give one, for instance --{flag.name}={example}.")
        if "://" in str(_WORKDIR.value):
            raise ConfigError(
                f"--workdir={_WORKDIR.value} is an address, not a directory: mount what is there on every host, and "
                "give the directory."
            )
        for flag in (_COORDINATOR, _PROCESSES, _PROCESS):
            if flag.value is not None and not _DISTRIBUTED.value:
                raise ConfigError(f"--{flag.name} is for several processes: give --distributed too.")
        return rest
    except (InputError, flags.Error) as e:
        _exit(e)


def _check_overrides(argv: list[str]) -> None:
    """Raises a sentence where the flag parser would fail with an AttributeError or a KeyError of its own making."""
    words = " ".join(argv[1:])
    path = re.search(r"(?:^|\s)--?config[=\s](\S+)", words)
    if path is None:
        return
    config = flags.FLAGS["config"].parser.parse(path[1])
    if not isinstance(config, ConfigDict):
        raise ConfigError(f"The config file '{path[1]}' cannot be read. Give --config a Python file with get_config().")
    valid = sorted(flatten(config))
    for name in re.findall(r"(?:^|\s)--?(?:no)?config\.([\w.]+)", words):
        if name not in valid and not any(v.startswith(f"{name}.") for v in valid):
            near = nearest(name, valid)
            hint = f"Did you mean {' or '.join(near)}?" if near else f"The fields are: {', '.join(valid)}."
            raise ConfigError(f"The config '{path[1]}' has no field '{name}'. {hint}")


def _exit(error: Exception) -> NoReturn:
    print(f"{error}", file=sys.stderr)
    distributed.leave(2)
