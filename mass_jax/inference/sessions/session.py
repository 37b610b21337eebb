"""`Session`: problems of one learner or client, answered one after another; each may leave something to the next."""

import dataclasses
import fcntl
import os
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any, TextIO, overload

from mass_jax.adapt.learner import Learner
from mass_jax.errors import InputError
from mass_jax.guard.calibration import fingerprint
from mass_jax.guard.drift import Drift, carried
from mass_jax.guard.guard import Guard
from mass_jax.inference import phases
from mass_jax.inference.adapted import Adapted
from mass_jax.inference.adapter import DEFAULT, Given, MassAdapter, Watch
from mass_jax.inference.options import Options
from mass_jax.inference.sessions import buffer, mixture, state
from mass_jax.inference.sessions.buffer import Kept
from mass_jax.inference.sessions.policy import Policy
from mass_jax.inference.sessions.state import State
from mass_jax.mass.practice import fitting
from mass_jax.parallel.mesh import entered
from mass_jax.tasks.base import Practice
from mass_jax.types import PyTree

LOCK = ".lock"


class Session:
    """Problems in a row. Practice is always the un-adapted model's; it is the update that goes on.

    An update begins at what is left of the last one, and goes over the problem's practice and what is practised again.
    What the guard refuses leaves nothing: the base answers, and the session is where that update began. All of it is
    deterministic by the policy, the problems and their options, unless a budget of seconds runs out.

    Attributes:
      state: after the last problem.
    """

    def __init__(
        self, adapter: MassAdapter, policy: Policy | None = None, folder: str | os.PathLike[str] | None = None
    ) -> None:
        """Begins a session, or goes on with the one in the folder, which no other program may then open.

        Args:
          adapter: answers; with its guard, if it has one.
          policy: what one problem leaves to the next; of a session that goes on the same, or None.
          folder: where the state is kept after every problem; None: nowhere.

        Raises:
          InputError: the folder cannot be used, or has a session of another model or policy; or the adapter would drift
            without a bound; or it has an audit.
        """
        self._adapter, self._lock = adapter, None
        self._model = fingerprint((adapter.learner.actor.params, adapter.learner.eta))
        with entered(adapter.learner.mesh):
            self._fresh = phases.fresh_adapter(adapter.learner.actor)
        self._folder = None if folder is None else state.opened(folder)
        if self._folder is not None:
            self._lock = _locked(self._folder)
        try:
            self.state = self._begun(policy)
        except BaseException:
            self.close()
            raise

    def __enter__(self) -> "Session":
        """Itself."""
        return self

    def __exit__(self, *_: object) -> None:
        """Closes it."""
        self.close()

    def close(self) -> None:
        """Others may open the folder."""
        if self._lock is not None:
            self._lock.close()
            self._lock = None

    @property
    def learner(self) -> Learner:
        """The model, its scorer and recipe."""
        return self._adapter.learner

    @property
    def name(self) -> str:
        """Of the model, as it was asked for."""
        return self._adapter.name

    @overload  # a text is a sequence of texts too, and this comes first
    def adapt(  # type: ignore[overload-overlap]
        self, problems: Given, options: Options = ..., watch: Watch = ..., ticket: str = ...
    ) -> Adapted: ...

    @overload
    def adapt(
        self, problems: Sequence[Given], options: Options | Sequence[Options] = ..., watch: Watch = ...
    ) -> list[Adapted]: ...

    def adapt(
        self,
        problems: Given | Sequence[Given],
        options: Options | Sequence[Options] = DEFAULT,
        watch: Watch = lambda event: None,
        ticket: str = "",
    ) -> Adapted | list[Adapted]:
        """Answer the next problem, or the next several, one after another; the state is kept after each.

        Args:
          problems: one, as a text or whole, or a list.
          options: for all of them, or one for each.
          watch: is told what happens.
          ticket: kept in the state with the answer, by which a caller that was killed knows that it is there.

        Raises:
          InputError: as `MassAdapter.adapt`; or the state cannot be written, and is as it was.
        """
        if isinstance(problems, str) or not isinstance(problems, Sequence):
            assert isinstance(options, Options)
            return self._one(problems, options, watch, ticket)
        each = [options] * len(problems) if isinstance(options, Options) else options
        return [self._one(problem, its, watch, "") for problem, its in zip(problems, each, strict=True)]

    def remember(self, problem: Given, solution: str) -> None:
        """Keep a problem whose solution is known by now among what is practised again.

        Args:
          problem: as a text or whole.
          solution: in the form that a solver writes.

        Raises:
          InputError: the session keeps nothing; or it is no problem of the domain, or too long.
        """
        if not self.state.policy.buffer:
            raise InputError("the session keeps no examples: give its policy a buffer.")
        read = self.learner.read(problem)
        try:
            fits = fitting(self.learner.actor, read, Practice(read.prompt, solution, True)).well_formed
        except (ValueError, LookupError) as error:  # a vocabulary, or a form, that it is not of
            raise InputError(f"the solution {solution!r} cannot be read: {str(error).rstrip('.')}.") from None
        if not fits:
            raise InputError(f"the solution {solution!r} is too long beside its problem: shorten it.")
        self._keep(self._with_kept(self.state, [Kept(read.prompt, read.prompt, solution, 1.0)]))

    def _begun(self, policy: Policy | None) -> State:
        """The state in the folder, or a new one.

        Raises:
          InputError: as ``__init__``.
        """
        found = None if self._folder is None else state.read(self._folder, self._fresh, self._model)
        if found is not None and policy not in (None, found.policy):
            raise InputError(
                f"the session in '{self._folder}' was begun with another policy ({found.policy}, not {policy}): give "
                "that one, or another folder."
            )
        own = self._guarded()
        if found is not None:
            self._check_kept(found, own)
        found = found or State(policy or Policy(), guard=own)
        if found.policy.decay == 1 and own == "uncalibrated":
            raise InputError(
                "decay = 1 without a calibration of the guard: nothing would bound how far the adapter goes. Give a "
                "smaller decay, calibrate (python -m experiments.calibrate_guard), or load without a guard."
            )
        if self._adapter.audit is not None and not found.policy.resets:
            raise InputError(
                f"an audit is of updates that begin at the base, and this session has others ({found.policy}): leave "
                "the audit out."
            )
        return found

    def _guarded(self) -> str:
        """The guard of the adapter, of `state.GUARDS`."""
        guard = self._adapter.guard
        if guard is None:
            return "none"
        return "uncalibrated" if isinstance(guard, Guard) and guard.calibration is None else "calibrated"

    def _check_kept(self, found: State, own: str) -> None:
        """Looks whether what is kept can be practised again, and whether the guard still stands over the session.

        Raises:
          InputError: it cannot be, or the guard does not.
        """
        if state.GUARDS.index(own) < state.GUARDS.index(found.guard):
            what = {"none": "there is no guard now", "uncalibrated": "the guard has no calibration now"}[own]
            raise InputError(
                f"the session in '{self._folder}' was begun with a guard, and {what}: nothing would bound how far it "
                "goes. Load with that guard (without --no-guard, guard = True; with guard.json of the run), or give "
                "another folder."
            )
        try:
            mixture.written(self.learner.actor, found.buffer.kept, len(found.buffer.kept))
        except (ValueError, LookupError) as error:
            assert self._folder is not None
            raise InputError(state.damaged(self._folder / state.FILE, error)) from None

    def _one(self, problem: Given, options: Options, watch: Watch, ticket: str) -> Adapted:
        before, policy = self.state, self.state.policy
        if policy.resets:
            found, start = self._adapter.adapt(problem, options, watch), None
        else:
            with entered(self.learner.mesh):
                start = self._start()
            found = self._going_on(start).adapt(problem, options, watch)
        refused = found.verdict is not None and found.verdict.outcome == "refused"
        after = dataclasses.replace(
            before,
            problems=before.problems + 1,
            updates=before.updates + found.updated,
            refused=before.refused + refused,
            ticket=ticket,
            answer=found.as_json(),
        )
        if found.updated or refused:
            left = found.adapter if found.updated else start
            after = dataclasses.replace(after, adapter=left if policy.decay else None)
        if found.updated and policy.buffer:
            used = [each for each in found.practice if each.weight > 0 and not each.left_out]
            texts = [Kept(found.problem, each.practice.prompt, each.practice.solution, each.weight) for each in used]
            after = self._with_kept(after, texts)
        self._keep(after)
        return found

    def _start(self) -> PyTree:
        """Where the next update begins."""
        if self.state.adapter is None:
            return self._fresh
        return carried(self._fresh, self.state.adapter, self.state.policy.decay)

    def _going_on(self, start: PyTree) -> MassAdapter:
        """Whose next update begins there."""
        policy, guard = self.state.policy, self._adapter.guard
        room = self.learner.actor.method.generator.examples if policy.buffer else 0
        adapt = partial(mixture.adapt, start, buffer.drawn(self.state.buffer, room), room)
        if isinstance(guard, Guard):
            guard = Drift(guard, start, policy.drift)
        return dataclasses.replace(self._adapter, guard=guard, update=phases.UPDATE | {"adapt": adapt})

    def _with_kept(self, found: State, new: Sequence[Kept]) -> State:
        return dataclasses.replace(found, buffer=buffer.with_new(found.buffer, new, found.policy.buffer))

    def _keep(self, after: State) -> None:
        """The state from now on, once it is on the disk."""
        if self._folder is not None:
            state.write(self._folder, after, self._model)
        self.state = after

    def answered(self, ticket: str) -> dict[str, Any] | None:
        """The answer to the last problem, if it had this ticket."""
        return dict(self.state.answer) if self.state.answer and ticket and ticket == self.state.ticket else None


def _locked(folder: Path) -> TextIO:
    """Keeps other programs out as long as the file is open."""
    try:
        file = (folder / LOCK).open("a", encoding="utf-8")
    except OSError as error:
        raise InputError(
            f"the session's folder '{folder}' cannot be written ({error.strerror}): give another."
        ) from None
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        file.close()
        raise InputError(
            f"the session in '{folder}' is open in another program: wait for it, end it, or give another folder."
        ) from None
    except OSError:  # some network file systems know no locks
        pass
    return file
