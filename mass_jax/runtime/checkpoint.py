"""Save and restore: the only module that knows orbax.

A checkpoint of step ``s`` holds the state after ``s`` completed steps, as two items: ``state``, every array of the
pytree under its path, and ``manifest``, a JSON with the shape, dtype and checksum of every array, the config that they
belong to, the position of the data iterator, and whatever small values the caller adds. The manifest lets a foreign
checkpoint be refused by name before an array is read; the template's shardings say where the arrays go, whatever
devices they were saved from. Of several processes each reads for itself; all then use the same step, or none does.
"""

import base64
import json
import os
import re
import shutil
import time
from collections.abc import Collection, Mapping
from typing import Any, NamedTuple

import jax
import numpy as np
import orbax.checkpoint as ocp
from absl import logging
from etils import epath

from mass_jax import records
from mass_jax.errors import InputError
from mass_jax.parallel import hosts
from mass_jax.runtime import array_tree, chatter
from mass_jax.runtime.checksum import checksums
from mass_jax.runtime.configs import Config, config_diff, describe_diff, to_json, way_back
from mass_jax.types import PyTree

FORMATS = (1, 2)
"""The last is written; the first has neither checksums nor a config."""
TRIES = 3
"""How often a checkpoint is read before it is taken for damaged: a file server may be away for a moment."""
PAUSE = 1.0
"""Seconds between two tries."""


class CheckpointError(InputError):
    """A checkpoint is missing, damaged, foreign, or cannot be written."""


class Restored(NamedTuple):
    """What ``Checkpointer.restore`` returns.

    Attributes:
      step: the number of completed steps.
      state: the structure of the template, bitwise what was saved.
      data: the data iterator's state as it was given to ``save``.
      extra: the small values that were given to ``save``, after a round trip through JSON (tuples are lists).
    """

    step: int
    state: PyTree
    data: Any
    extra: dict[str, Any]


class Checkpointer:
    """The checkpoints of one run: atomic, written in the background, the newest ``keep`` kept.

    Nothing is made on disk before the first ``save``. Close it, or use it as a context manager, so that the last save
    is on disk. With several processes every process makes the same calls.
    """

    def __init__(self, directory: str | os.PathLike[str], *, keep: int = 3, config: Config | None = None) -> None:
        """Takes note of the place.

        Args:
          directory: where the checkpoints lie; one subdirectory a step.
          keep: how many to keep, at least 1.
          config: whatever decides what the arrays are; a checkpoint that was saved with another is refused. None does
            not ask.
        """
        if keep < 1:
            raise CheckpointError(f"keep={keep} would leave no checkpoint to resume from; give at least 1.")
        self.directory = epath.Path(directory).expanduser().resolve()
        self._keep = keep
        self._config = None if config is None else json.loads(to_json(config))
        chatter.hush()
        self._damaged: list[int] = []
        self._bytes = 0
        self._writer: ocp.CheckpointManager | None = None

    def __enter__(self) -> "Checkpointer":
        """Returns itself."""
        return self

    def __exit__(self, *_: object) -> None:
        """Closes it."""
        self.close()

    def steps(self) -> list[int]:
        """Returns the steps that have a finished checkpoint, oldest first."""
        self.wait()
        return sorted(ocp.utils.checkpoint_steps(self.directory)) if self.directory.is_dir() else []

    def latest_step(self) -> int | None:
        """Returns the newest step of which any process sees a finished checkpoint, or None before the first."""
        newest = hosts.largest(max(self.steps(), default=-1))
        return None if newest < 0 else newest

    def save(self, step: int, state: PyTree, *, data: Any = None, extra: Mapping[str, Any] | None = None) -> bool:
        """Starts to write the checkpoint of ``step``; the arrays are copied before it returns and may be donated.

        Args:
          step: the number of completed steps.
          state: a pytree of arrays (JAX, typed PRNG keys among them, or NumPy) and Python numbers.
          data: the data iterator's state: JSON-able, as of a grain ``DatasetIterator``, or bytes. With several
            processes it must be the same on each, that is a global position.
          extra: small JSON-able values.

        Returns:
          False if ``step`` is the newest checkpoint already, which is then left as it is.

        Raises:
          CheckpointError: a later step was saved before, ``data`` or ``extra`` is not JSON-able, or this checkpoint or
            the previous one could not be written.
        """
        if isinstance(data, bytes):
            data = {"__bytes__": base64.b64encode(data).decode()}
        arrays, layout = array_tree.encode(state), array_tree.layout(state)
        manifest = {"format": FORMATS[-1], "step": step, "config": self._config, "layout": layout}
        manifest |= {"data": data, "extra": dict(extra or {})}
        try:
            json.dumps(manifest)
        except TypeError as e:
            raise CheckpointError(f"The data state and the extra values of step {step} must be JSON-able: {e}.") from e
        self._move_damaged_aside()
        latest = self.latest_step()
        if latest is not None and latest >= step:
            if latest == step:
                return False
            raise CheckpointError(
                f"Step {step} cannot be saved in '{self.directory}': step {latest} is there already. Resume from step "
                f"{latest}, choose another --workdir, or remove the later checkpoints."
            )
        manifest = records.sealed(manifest | {"checksums": checksums(arrays)})
        self._bytes = sum(array.nbytes for array in arrays.values())
        items = ocp.args.Composite(state=ocp.args.StandardSave(arrays), manifest=ocp.args.JsonSave(manifest))
        try:
            if self._writer is None:
                # Where a directory that is made in the background cannot be, its writers wait 20 minutes for it.
                at_once = ocp.AsyncOptions(create_directories_asynchronously=False)
                options = ocp.CheckpointManagerOptions(
                    max_to_keep=self._keep, cleanup_tmp_directories=True, async_options=at_once
                )
                self._writer = ocp.CheckpointManager(self.directory, options=options)
            self._writer.save(step, args=items, force=True)
        except Exception as e:
            raise self._write_error(e) from e
        return True

    def wait(self) -> None:
        """Waits until the last save is on disk.

        Raises:
          CheckpointError: it could not be written.
        """
        if self._writer is not None:
            try:
                self._writer.wait_until_finished()
            except Exception as e:
                raise self._write_error(e) from e

    def close(self) -> None:
        """Waits, and frees the background threads; a later ``save`` starts them again."""
        try:
            self.wait()
        finally:
            if self._writer is not None:
                writer, self._writer = self._writer, None
                try:
                    writer.close()  # which raises once more what `wait` has
                except Exception as e:
                    raise self._write_error(e) from e

    def restore(self, template: PyTree, step: int | None = None, parts: Collection[str] | None = None) -> Restored:
        """Reads the newest checkpoint, or that of ``step``, into the structure of ``template``.

        If the newest is damaged, on disk or in the eyes of one process of several, all take the next older good one
        and a warning is logged; the damaged ones are moved to ``<directory>-damaged`` at the next ``save``.

        Args:
          template: the pytree to restore, as arrays or as ``jax.ShapeDtypeStruct``. Its shapes and dtypes are checked,
            its shardings obeyed (default: the first device); NumPy leaves and Python numbers come back as such.
          step: which checkpoint; None for the newest good one.
          parts: first words of paths: ``template`` has these parts of what was saved, and the others are not read. None
            for all of it.

        Raises:
          CheckpointError: there is none, none can be read, its arrays are not those of ``template``, or it was saved
            with another config.
        """
        steps = self.steps()
        if self.latest_step() is None:
            raise CheckpointError(
                f"There is no checkpoint in '{self.directory}'. Give the directory of a run with one, or start anew."
            )
        if step is not None and step not in steps:
            raise CheckpointError(f"There is no checkpoint of step {step} in '{self.directory}'. There are: {steps}.")
        reasons: dict[int, str] = {}
        left = steps if step is None else [step]
        while (candidate := hosts.largest(max(left, default=-1))) >= 0:
            left = [s for s in left if s < candidate]
            restored = self._attempt(candidate, template, parts)
            if isinstance(restored, str):
                reasons[candidate] = restored
                continue
            if reasons:
                logging.warning(
                    "Damaged checkpoints in '%s': %s. Continuing from step %d, the newest that is whole.",
                    self.directory,
                    reasons,
                    candidate,
                )
                self._damaged = list(reasons)
            return restored
        others = [s for s in steps if s not in reasons]
        way_out = "Give another directory, or move this one away to train anew"
        if others:
            way_out = (
                "Give the command that saved it again, such as python -m experiments.train: it goes on from the newest "
                f"step that is whole, of {others}"
            )
        raise CheckpointError(
            f"No checkpoint can be read in '{self.directory}', damaged or of another program: {reasons}. {way_out}."
        )

    def read_extra(self, step: int) -> dict[str, Any]:
        """Returns the small values of the checkpoint of ``step`` without reading its arrays.

        Raises:
          CheckpointError: it cannot be read.
        """
        try:
            with self._reader() as reader:
                return _manifest(reader, step)["extra"]
        except Exception as e:
            raise CheckpointError(f"The checkpoint of step {step} in '{self.directory}' cannot be read: {e}.") from e

    def check_config(self) -> None:
        """Looks, before anything is computed, whether the newest checkpoint was saved with this config.

        Raises:
          CheckpointError: it was saved with another one; the message names every field that differs.
        """
        step = self.latest_step()
        if step is None:
            return
        try:
            with self._reader() as reader:
                self._refuse_other_config(step, _manifest(reader, step))
        except CheckpointError:
            raise
        except Exception as e:  # a restore will find an older one, or say that there is none
            logging.warning("The checkpoint of step %d in '%s' cannot be read: %s", step, self.directory, e)

    def read_arrays(self, step: int) -> dict[str, np.ndarray]:
        """Returns every array of the checkpoint of ``step`` by path, on the host; PRNG keys as their data.

        Raises:
          CheckpointError: it cannot be read.
        """
        try:
            handlers = {"state": ocp.StandardCheckpointHandler(), "manifest": ocp.JsonCheckpointHandler()}
            options = ocp.CheckpointManagerOptions(create=False)
            with ocp.CheckpointManager(self.directory, options=options, item_handlers=handlers) as reader:
                found = reader.item_metadata(step).state.tree
                hosts = {path: np.zeros(leaf.shape, leaf.dtype) for path, leaf in found.items()}
                arrays = reader.restore(step, args=ocp.args.Composite(state=ocp.args.StandardRestore(hosts))).state
            with self._reader() as reader:
                if changed := _changed(arrays, _manifest(reader, step)):
                    raise ValueError(f"the saved values differ in {', '.join(changed)}")
            return arrays
        except Exception as e:
            raise CheckpointError(f"The checkpoint of step {step} in '{self.directory}' cannot be read: {e}.") from e

    def _reader(self) -> ocp.CheckpointManager:
        # Each process for itself: one that fails would leave the others waiting for it.
        me = jax.process_index()
        alone = ocp.options.MultiprocessingOptions(primary_host=me, active_processes={me})
        options = ocp.CheckpointManagerOptions(create=False, multiprocessing_options=alone)
        return ocp.CheckpointManager(self.directory, options=options)

    def _attempt(self, step: int, template: PyTree, parts: Collection[str] | None) -> Restored | str:
        """What all processes read alike, or why it cannot be used, by any of them."""
        found: tuple[dict[str, Any], dict[str, Any]] | Exception
        for left in reversed(range(TRIES)):
            try:
                found = self._read(step, template, parts)
                break
            except Exception as e:  # orbax, tensorstore and json each have their own ways to fail on a damaged file
                found = e
                if isinstance(e, CheckpointError) or not left:
                    break
                time.sleep(PAUSE)
        if hosts.largest(isinstance(found, CheckpointError)):
            elsewhere = CheckpointError(f"Checkpoint {step} in '{self.directory}' is refused by another process.")
            raise found if isinstance(found, CheckpointError) else elsewhere
        if hosts.largest(isinstance(found, Exception)):
            return str(found).strip().split("\n")[0][:200] if isinstance(found, Exception) else "unreadable elsewhere"
        assert not isinstance(found, Exception)
        arrays, manifest = found
        changed = _changed(arrays, manifest)
        if hosts.largest(bool(changed)):
            return f"the saved values differ in {', '.join(changed) or 'what another process read'}"
        data = manifest["data"]
        if isinstance(data, dict) and data.keys() == {"__bytes__"}:
            data = base64.b64decode(data["__bytes__"])
        return Restored(step, array_tree.decode(arrays, template), data, manifest["extra"])

    def _read(
        self, step: int, template: PyTree, parts: Collection[str] | None
    ) -> tuple[dict[str, Any], dict[str, Any]]:
        """This process's arrays by path, and the manifest."""
        with self._reader() as reader:
            manifest = _manifest(reader, step)
            self._refuse_other_config(step, manifest)  # before the arrays: it says more than that the shapes differ
            if parts is not None:
                for named in ("layout", "checksums"):
                    manifest[named] = {x: y for x, y in manifest[named].items() if x.partition("/")[0] in parts}
            if mismatch := array_tree.describe_mismatch(manifest["layout"], array_tree.layout(template)):
                raise CheckpointError(
                    f"Checkpoint {step} in '{self.directory}' is of another model or optimiser:\n{mismatch}\n"
                    "Give the config it was saved with, or another directory."
                )
            arrays = array_tree.abstract(template)
            places = ocp.checkpoint_utils.construct_restore_args(arrays)
            state = ocp.args.PyTreeRestore(item=arrays, restore_args=places, partial_restore=parts is not None)
            return reader.restore(step, args=ocp.args.Composite(state=state)).state, manifest

    def _refuse_other_config(self, step: int, manifest: dict[str, Any]) -> None:
        saved, now = manifest["config"], self._config
        if saved is not None and now is not None and (diff := config_diff(saved, now)):
            raise CheckpointError(
                f"Checkpoint {step} in '{self.directory}' was made with another config, differing in:\n"
                f"{describe_diff(diff, 'there', 'now')}\n"
                f"Give another directory, or remove this one to train or pretrain anew; {way_back(diff)}"
            )

    def _move_damaged_aside(self) -> None:
        if self._damaged:
            self.close()
            aside = self.directory.with_name(f"{self.directory.name}-damaged")
            if hosts.first():
                for step in self._damaged:
                    aside.mkdir(exist_ok=True)
                    target = aside / str(step)
                    while target.exists():
                        target = target.with_name(f"{target.name}-again")
                    (self.directory / str(step)).rename(target)
                    logging.warning("Moved the damaged checkpoint of step %d to '%s'.", step, target)
            hosts.wait("damaged checkpoints moved")
            self._damaged = []

    def _write_error(self, error: Exception) -> CheckpointError:
        good = sorted(ocp.utils.checkpoint_steps(self.directory)) if self.directory.is_dir() else []
        kept = f"Step {good[-1]} is the last good one" if good else "There is no earlier one"
        # Of many files that could not be written tensorstore names some, each several times.
        number = re.search(r"(?:os_error_code='|OS error )(\d+)", str(error))
        reason = os.strerror(int(number[1])) if number else getattr(error, "strerror", None) or error
        there = next(path for path in (self.directory, *self.directory.parents) if path.is_dir())
        return CheckpointError(
            f"A checkpoint with {self._bytes / 1e6:.1f} MB of arrays could not be written in '{self.directory}', where "
            f"{shutil.disk_usage(there).free / 1e6:.1f} MB are free ({reason}). {kept}. Free space there or make it "
            "writable, and run the same command again to resume."
        )


def _manifest(reader: ocp.CheckpointManager, step: int) -> dict[str, Any]:
    manifest = records.unsealed(reader.restore(step, args=ocp.args.Composite(manifest=ocp.args.JsonRestore())).manifest)
    if manifest.get("format") not in FORMATS:
        raise ValueError(f"its manifest is of none of the formats {FORMATS}")
    if manifest["step"] != step:
        raise ValueError(f"its manifest is of step {manifest['step']}: give the folder that name back")
    if manifest["format"] == 1:
        logging.warning(
            "Checkpoint %d in '%s' is an old one without checksums: used unchecked.", step, reader.directory
        )
        return manifest | {"config": manifest["extra"].get("config"), "checksums": {}}
    return manifest


def _changed(arrays: dict[str, Any], manifest: dict[str, Any]) -> list[str]:
    """The first few of the arrays that are not what was saved."""
    saved = manifest["checksums"]
    found = checksums({path: arrays[path] for path in saved})
    return [path for path, value in found.items() if value != saved[path]][:3]
