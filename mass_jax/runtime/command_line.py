"""The command line of a main: ``--config=configs/x.py --config.field=value --workdir=...``."""

import re
import sys
import traceback
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple, NoReturn, TypeVar

from absl import flags, logging
from ml_collections import ConfigDict, config_flags
from ml_collections.config_dict import placeholder

from mass_jax.errors import InputError, nearest
from mass_jax.parallel import hosts, joining, preemption
from mass_jax.runtime import profiling, program
from mass_jax.runtime.agreement import agree
from mass_jax.runtime.configs import flatten, summary

try:
    _CONFIG = config_flags.DEFINE_config_file("config", None, "Config file; change a field by --config.name=value.")
except flags.Error as _error:  # it looks at the command line at once, and at a --flagfile that it names
    program.refuse(_error)
_WORKDIR = flags.DEFINE_string("workdir", None, "Directory of the run: checkpoints, metrics, results.")
_PROFILE = flags.DEFINE_integer("profile", 0, "Trace this many warm training steps into <arm>/profile.", lower_bound=0)
_DISTRIBUTED = flags.DEFINE_bool("distributed", False, "This is one of several processes, all with the same command.")
_COORDINATOR = flags.DEFINE_string("coordinator", None, "host:port of the first process, where no cluster tells.")
_PROCESSES = flags.DEFINE_integer(
    "processes", None, "How many processes there are, where no cluster tells.", lower_bound=1
)
_PROCESS = flags.DEFINE_integer(
    "process", None, "Number of this process, from 0, where no cluster tells.", lower_bound=0
)
_PATIENCE = flags.DEFINE_integer("patience", 300, "Seconds within which all processes have to come.", lower_bound=1)


Read = TypeVar("Read")
EXACT = 2**53
"""Whole numbers below it are floats, too."""


class ConfigError(InputError):
    """The command line does not give a config."""


class Field(NamedTuple):
    """A field that a config can have.

    Attributes:
      default: what it is where a config does not name it; None also where it has to.
      kind: the type that the field takes, beside None.
      meaning: what the field is for, in a line.
    """

    default: Any
    kind: type
    meaning: str


class _ConfigParser(flags.ArgumentParser):
    """Loads a config's file, and adds the fields that it leaves out, so that they can be set as all others.

    A field that the file gives as None or as a whole number takes all that is of its kind.
    """

    def __init__(self, files: flags.ArgumentParser, known: Callable[[ConfigDict], Mapping[str, Field]]) -> None:
        self._files, self._known = files, known
        self.added: dict[str, Field] = {}
        self._whole: list[str] = []

    def parse(self, path: str) -> ConfigDict:
        config = self._files.parse(path)
        if isinstance(config, ConfigDict):
            self.added, self._whole = {}, []
            with config.unlocked():
                for name, (default, kind, _) in (known := self._known(config)).items():
                    group, field = _place(config, name)
                    if field not in group:
                        self.added[name] = known[name]
                        group[field] = placeholder(kind) if default is None else default
                    elif kind is float and type(group[field]) is int and abs(group[field]) < EXACT:
                        self._whole.append(name)
                        _replace(group, field, float(group[field]))
                    elif group[field] is None:
                        _replace(group, field, placeholder(kind))
        return config

    def as_written(self, config: ConfigDict) -> None:
        """Takes out what was added and is not set: what is stored and compared is what the user wrote."""
        with config.unlocked():
            for name in self._whole:
                group, field = _place(config, name)
                if group[field].is_integer() and abs(group[field]) < EXACT:
                    _replace(group, field, int(group[field]))
            for name, added in self.added.items():
                group, field = _place(config, name)
                if group[field] == added.default:
                    del group[field]


def _place(config: ConfigDict, name: str) -> tuple[ConfigDict, str]:
    """What holds the field of a dotted name, made where it is not there, and the field's own name."""
    *groups, field = name.split(".")
    for group in groups:
        if group not in config:
            config[group] = ConfigDict()
        config = config[group]
    return config, field


def _replace(group: ConfigDict, field: str, value: Any) -> None:
    """Gives a field a value of another type."""
    del group[field]
    group[field] = value


def run(
    main: Callable[[Read, Path], None],
    read: Callable[[ConfigDict], Read],
    known: Callable[[ConfigDict], Mapping[str, Field]],
) -> NoReturn:
    """Parses the flags, calls ``main(config, workdir)`` and exits, with sentences and statuses as `program.run`.

    The config is locked: a field that neither ``get_config`` nor ``known`` has can be set neither by a flag nor by
    the program. The first process prints the whole of it.

    Args:
      main: the program.
      read: checks a config, and makes of it what ``main`` takes.
      known: the fields that a config can have, by their dotted names. Those that it leaves out can be set as all
        others. One that keeps its default is no part of what ``read`` gets: equal runs have equal configs, whatever is
        optional.
    """
    flag = flags.FLAGS["config"]
    flag.parser = parser = _ConfigParser(flag.parser, known)

    def prepared() -> None:
        profiling.trace_steps(_PROFILE.value)
        try:
            preemption.leave_on_notice()
            if _DISTRIBUTED.value:
                joining.join(_COORDINATOR.value, _PROCESSES.value, _PROCESS.value, _PATIENCE.value)
                own = flags.FLAGS.get_key_flags_for_module(sys.argv[0])
                agree(_CONFIG.value, {flag.name: flag.value for flag in own})
            resolved = summary(_CONFIG.value)
            parser.as_written(_CONFIG.value)
            config = read(_CONFIG.value)
            if not _DISTRIBUTED.value or hosts.first():
                print(f"{_given()}\n{resolved}", file=sys.stderr, flush=True)
            main(config, Path(_WORKDIR.value or ""))
        except InputError:
            raise
        except preemption.Preempted:
            preemption.say("Stopped: the state is saved, and the same command goes on from there.")
            raise
        except Exception as error:
            if not _DISTRIBUTED.value or program.is_of_a_full_disk(error):
                raise
            joining.follow()
            traceback.print_exc()
            joining.leave(1)
        finally:
            preemption.end_on_second()

    program.run(prepared, _check_overrides, _check_flags, lambda argv: _help(argv, parser))


def _given() -> str:
    """The config's file, and what the command line changes."""
    flag = flags.FLAGS["config"]
    changes = (f"{name}={value!r}" for name, value in config_flags.get_override_values(flag).items())
    return " ".join((f"config {config_flags.get_config_filename(flag)}", *changes))


def _check_flags() -> None:
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
    arm = flags.FLAGS["arm"].value if "arm" in flags.FLAGS else None
    _check_arms(_CONFIG.value, config_flags.get_override_values(flags.FLAGS["config"]), arm)


def _check_arms(config: ConfigDict, given: Mapping[str, Any], arm: str | None) -> None:
    """Whether what the command line gives is heeded, for an arm's own value wins over the config's."""
    arms = config.get("arms", {})
    trained = [str(name) for name in ([arm] if arm in arms else arms)]
    for field, value in given.items():
        own = {name: flatten(arms[name]).get(field, value) for name in trained}
        deaf = [name for name in trained if own[name] is not value and own[name] != value]  # NaN is not equal to itself
        # Outside training, the config's own value is what all arms are tested with.
        if deaf and deaf == trained and (arm in arms or field.startswith(("train.", "metagrad."))):
            raise ConfigError(
                f"--config.{field}={value} would change nothing: {', '.join(f'{n} has {own[n]!r}' for n in deaf)} in "
                f"config.arms, which wins. Give --config.arms.{deaf[0]}.{field}={value}."
            )
        if deaf:
            logging.warning("%s: --config.%s is not for them, config.arms has its own.", ", ".join(deaf), field)


def _load(words: list[str]) -> tuple[str, ConfigDict] | None:
    """The config that is given, as its file has it, and the path.

    Raises:
      ConfigError: it cannot be read.
    """
    given = re.search(r"(?:^|\s)--?config[=\s](\S+)", " ".join(words))
    if given is None:
        return None
    try:
        config = flags.FLAGS["config"].parser.parse(given[1])
        error = (
            None if isinstance(config, ConfigDict) else "there is no such file, or get_config() returns no ConfigDict"
        )
    except InputError:
        raise
    except Exception as raised:  # whatever the file does; of a library's own traceback the last line is the reason
        kind, last = type(raised).__name__, (str(raised).strip().splitlines() or [""])[-1]
        error = last if last.startswith(kind) else ": ".join(filter(None, (kind, last)))
    if error is not None:
        raise ConfigError(
            f"The config '{given[1]}' cannot be read ({error}). Give --config a Python file with get_config(), and a "
            "colon with an argument only where that takes one."
        )
    return given[1], config


def _check_overrides(argv: list[str]) -> None:
    """Raises a sentence where the flag parser would fail with an AttributeError or a KeyError of its own making."""
    loaded = _load(argv[1:])
    if loaded is None:
        return
    path, config = loaded
    valid = sorted(flatten(config))
    for name in re.findall(r"(?:^|\s)--?(?:no)?config\.([\w.]+)", " ".join(argv[1:])):
        if name not in valid and not any(v.startswith(f"{name}.") for v in valid):
            near = nearest(name, valid)
            hint = f"Did you mean {' or '.join(near)}?" if near else f"The fields are: {', '.join(valid)}."
            raise ConfigError(f"The config '{path}' has no field '{name}'. {hint}")


def _help(argv: list[str], parser: _ConfigParser) -> str:
    """The flags of this module, and the fields of the config that is given, with what its file says of them."""
    text = flags.FLAGS.module_help(sys.modules[__name__])
    loaded = _load(argv[1:])
    if loaded is None:
        return f"{text}\n\n--config=configs/demo.py --help shows the fields of that config, too."
    path, config = loaded
    files = [module.__file__ for name, module in sys.modules.items() if name.startswith("configs.")]
    said = {name: default.meaning for name, default in parser.added.items()}
    for file in (*files, path.partition(":")[0]):  # the given config last: it is made from the others
        said |= re.findall(r"^ *config\.([\w.]+) = [^#\n]*# (.+)$", Path(str(file)).read_text(encoding="utf-8"), re.M)
    fields = (f"--config.{name}={value!r}" for name, value in flatten(config).items())
    lines = (f"  {field:<44} {said.get(field[9:].partition('=')[0], '')}".rstrip() for field in fields)
    return f"{text}\n\nfields of {path}:\n" + "\n".join(lines)
