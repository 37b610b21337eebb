"""`MassAdapter`: a trained model that answers one problem or several, each after an update of its own."""

import dataclasses
import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple, overload

import jax
import numpy as np

from mass_jax.adapt.learner import Learner
from mass_jax.errors import InputError
from mass_jax.guard import audit as audit_file
from mass_jax.guard.calibration import Calibration, fingerprint
from mass_jax.guard.calibration import read as read_calibration
from mass_jax.guard.guard import Guard as ModelGuard
from mass_jax.inference import audited, budget, phases, pretrained
from mass_jax.inference.adapted import Adapted, Phase, Used
from mass_jax.inference.forecast import forecast as forecasts
from mass_jax.inference.forecast.forecast import Forecast
from mass_jax.inference.options import MOST_BATCH, Options
from mass_jax.inference.phases import Batch, Found, Guard
from mass_jax.mass import attribution
from mass_jax.parallel.mesh import entered
from mass_jax.study.load import load as load_run
from mass_jax.tasks.base import Problem, StatesAnswer


class Event(NamedTuple):
    """A phase of a batch began or ended, or is at work.

    Attributes:
      phase: its name, see `adapted.PHASES`.
      shown: of every problem what the phase found, as JSON can hold it; None before its end.
      seconds: that it took.
      tokens: of every problem, that were written or learned from.
      own: of every problem, whether the phase is one of its own: not where its update has ended before; empty for all.
      written: of every problem the texts of its practice so far, while they are written; else empty.
    """

    phase: str
    shown: list[dict[str, Any]] | None = None
    seconds: float = 0.0
    tokens: Sequence[int] = ()
    own: Sequence[bool] = ()
    written: Sequence[Sequence[str]] = ()


class Done(NamedTuple):
    """A phase of a batch that has ended.

    Attributes:
      phase: its name.
      seconds: that it took.
      tokens_P: of every problem.
      own: as of `Event`.
    """

    phase: str
    seconds: float
    tokens_P: np.ndarray
    own: list[bool]


Watch = Callable[[Event], None]
Given = str | Problem
DEFAULT = Options()


@dataclasses.dataclass(frozen=True)
class MassAdapter:
    """Answers problems. All of it is deterministic by the options, whatever else is in a batch.

    Attributes:
      learner: model, scorer and recipe.
      name: of the model, as it was asked for.
      guard: on updates; None for none.
      forecast: of what updates gain, which options may ask for; None for none.
      audit: the file that is told of every update, see `mass_jax.guard.audit`; None for none.
      known: seconds of the phases of an earlier batch, by what was compiled for it.
      update: the phases of an update, in their order.
    """

    learner: Learner
    name: str
    guard: Guard | None = None
    forecast: Forecast | None = None
    audit: Path | None = None
    known: dict[Any, dict[str, float]] = dataclasses.field(default_factory=dict, repr=False, compare=False)
    update: Mapping[str, phases.Phase] = dataclasses.field(
        default_factory=lambda: phases.UPDATE, repr=False, compare=False
    )

    @classmethod
    def load(
        cls,
        model: str | os.PathLike[str],
        arm: str | None = None,
        batch: int = 1,
        domain: str | None = None,
        prompts: str | os.PathLike[str] | None = None,
        guard: bool = True,
        audit: str | os.PathLike[str] | None = None,
    ) -> "MassAdapter":
        """Load an arm of a run, or a pretrained model that has none: that one weighs all of its practice the same.

        Args:
          model: the directory of a run; or a model, as `models.pretrained.source` resolves it: a folder, a ``.gguf``
            file, ``package:`` and a name, or a hub id.
          arm: of a run, the row of its table: one that answers as it is, or updates on practice that it writes itself;
            ``mass`` where not given.
          batch: problems that are adapted at once, at most `MOST_BATCH`. Fewer are filled up, so that all batches have
            one size: what a problem gets is then the same to the last bit, whatever it is asked with.
          domain: of a model, what its problems are, of `pretrained.SETTINGS`; ``mathematics`` where not given.
          prompts: of a model and mathematics, a file with the words to ask in, or the name of a data set whose words
            come with the package; ``gsm8k`` where not given.
          guard: practice is filtered, and updates that are not finite are refused; where a run has a calibration of the
            arm (`experiments.calibrate_guard`), updates are also held to its trust region and canaries.
          audit: a file that every update is written down in.

        Raises:
          InputError: there is no such run, arm or model, it cannot be used so, the calibration is of another one, the
            forecast is damaged, or the audit cannot be written.
        """
        if isinstance(batch, bool) or not isinstance(batch, int) or not 1 <= batch <= MOST_BATCH:
            raise InputError(f"batch = {batch!r}: give a whole number from 1 to {MOST_BATCH}.")

        path = None if audit is None else audit_file.ready(Path(audit))  # before much is read

        def of(
            learner: Learner, name: str, calibration: Calibration | None, forecast: Forecast | None = None
        ) -> MassAdapter:
            held = ModelGuard(calibration) if guard else None
            return cls(dataclasses.replace(learner, batch=batch), name, held, forecast, path)

        chosen = [name for name, value in (("domain", domain), ("prompts", prompts)) if value is not None]
        if pretrained.names_model(model):
            if arm is not None:
                raise InputError(
                    f"arm = {arm!r}: '{os.fspath(model)}' is no directory of a run, and only a run has arms: give "
                    "one, or a pretrained model without an arm."
                )
            name = os.fspath(model)
            learner = pretrained.load(name, domain or pretrained.DOMAIN, prompts or pretrained.PROMPTS)
            return of(learner, name, None)
        if chosen:
            raise InputError(f"{' and '.join(chosen)}: the run '{os.fspath(model)}' has its own; leave it out.")
        arm = "mass" if arm is None else arm
        learner = load_run(model, arm)
        recipe = learner.recipe
        if recipe.practice not in ("own", None) or recipe.use != "adapter" or recipe.votes or recipe.strict:
            raise InputError(
                f"arm = {arm!r} does not answer after an update on practice that it writes itself: choose 'mass', "
                "'base', or another arm of the run that does."
            )
        trained = fingerprint((learner.actor.params, learner.eta))

        def sound(held: Problem) -> None:
            attribution.references(learner.actor, [learner.read(held)])

        calibration = read_calibration(Path(model), arm, trained, sound) if guard else None
        return of(learner, f"{os.fspath(model)}:{arm}", calibration, forecasts.read(Path(model), arm, trained))

    @overload  # a text is a sequence of texts too, and this comes first
    def adapt(  # type: ignore[overload-overlap]
        self, problems: Given, options: Options = ..., watch: Watch = ...
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
    ) -> Adapted | list[Adapted]:
        """Answer one problem, or several, each by itself.

        Args:
          problems: one, as a text or whole, or a list.
          options: for all of them, or one for each; those of one call may differ in their seeds only.
          watch: is told what happens; of a list once for every batch.

        Returns:
          What came of the one; of a list, of each.

        Raises:
          InputError: what is given is no problem, or the domain cannot read it; or options do not fit.
        """
        alone = isinstance(problems, str | Problem)
        given = [problems] if isinstance(problems, str | Problem) else list(problems)
        each = [options] * len(given) if isinstance(options, Options) else list(options)
        self._check(len(given), each)
        read = [self.learner.read(problem) for problem in given]
        found, size = list[Adapted](), self.learner.batch
        with entered(self.learner.mesh):
            for start in range(0, len(read), size):
                found += self._batch(read[start : start + size], each[start : start + size], watch)
        return found[0] if alone else found

    def _check(self, count: int, options: Sequence[Options]) -> None:
        """Looks whether ``count`` problems can be answered by the options."""
        if len(options) != count:
            raise InputError(f"{count} problems have {len(options)} options: give one for all, or one for each.")
        if len({dataclasses.replace(one, seed=0) for one in options}) > 1:
            raise InputError("options of one call differ in more than their seeds: make a call for each.")
        for one in options[:1]:
            self.check(one)

    def check(self, options: Options) -> None:
        """Looks whether problems can be answered by the options, which is also asked before any is.

        Raises:
          InputError: they do not fit the model.
        """
        task = self.learner.actor.task
        if options.votes > 1 and not isinstance(task, StatesAnswer):
            raise InputError(
                f"votes = {options.votes}: solutions of {type(task).__name__} have no answers that can be counted. "
                "Leave it at 1."
            )
        self._check_forecast(options)
        self._allowed(options)

    def _check_forecast(self, options: Options) -> None:
        """Looks whether something is known of an update before it is made, where options ask for it."""
        learner = self.learner
        if self.forecast is not None or not options.update or learner.recipe.practice is None:
            return
        how = f"fit a forecast of a run's arm: {forecasts.COMMAND.format(run='RUN', arm='ARM')}"
        if options.least_gain is not None:
            raise InputError(f"least_gain = {options.least_gain:g}: nothing is expected of updates yet; {how}.")
        if options.sets > 1 and not phases.has_gate(learner):
            raise InputError(
                f"sets = {options.sets}: there is neither a gate of a scorer nor a forecast to choose by; {how}."
            )

    def _batch(self, problems: Sequence[Problem], options: Sequence[Options], watch: Watch) -> list[Adapted]:
        """Answers of one batch, which is filled up with its first problem."""
        count, learner = len(problems), self.learner
        rest = learner.batch - count
        seeds = np.array([one.seed for one in options] + [options[0].seed] * rest, np.int32)
        why, actor = self._allowed(options[0])

        def hear(texts: list[list[str]]) -> None:
            watch(Event("write", own=own[:count], written=texts[:count]))

        filled = [*problems, *[problems[0]] * rest]
        several = options[0].sets > 1 and not phases.has_gate(learner)
        forecast = self.forecast if several or options[0].least_gain is not None else None
        batch = Batch(learner, actor, self.guard, forecast, filled, seeds, options[0], hear)
        clock = budget.Clock(options[0].seconds, self.known.setdefault(_compiled(batch), {}))
        found, done = Found([why] * learner.batch, []), list[Done]()
        steps: dict[str, phases.Phase] = {"answer_before": phases.answer_before, **self.update}
        for i, (name, phase) in enumerate(steps.items()):
            if i and not all(found.why) and (short := clock.short_of(list(steps)[i:])):
                found = found._replace(why=[why or short for why in found.why])
            if i and all(found.why):
                break
            own = [not i or not why for why in found.why]  # the others of a batch do not change what is told of one
            watch(Event(name, own=own[:count]))
            told = phase(batch, found)
            found, seconds = told.found, clock.done(name)
            done.append(Done(name, seconds, told.tokens_P, own))
            watch(Event(name, told.shown[:count], seconds, told.tokens_P[:count].tolist(), own[:count]))
        adapted = [self._adapted(batch, found, done, i) for i in range(count)]
        if self.audit is not None:
            audit_file.append(self.audit, [audited.record(each) for each in adapted if each.practice])
        return adapted

    def _allowed(self, options: Options) -> tuple[str, Any]:
        """Why no update is made, empty where one is; and the model with the practice and steps of the options."""
        learner = self.learner
        actor, method = learner.actor, learner.actor.method
        if not options.update:
            return "no update was asked for", actor
        if learner.recipe.practice is None:
            return f"{self.name} makes none", actor
        if (allowed := budget.chosen(method, options)) is None:
            return budget.too_few(method, options), actor
        return "", actor.replace(method=allowed)

    def _adapted(self, batch: Batch, found: Found, done: Sequence[Done], i: int) -> Adapted:
        """What came of problem ``i``."""
        own = {each.phase: Phase(each.phase, each.seconds, int(each.tokens_P[i])) for each in done if each.own[i]}
        updated, before = not found.why[i], found.before[i]
        scores = found.scores if "weigh" in own else None
        given = found.after[i] if updated else before
        practice = found.sets.texts[i] if found.sets and "write" in own else []
        weights_M = np.asarray(scores.weights_PxM)[i] if scores else np.zeros(len(practice))
        left_out = found.left_out[i] if scores else [""] * len(practice)
        return Adapted(
            problem=batch.problems[i].prompt,
            answer=given.text,
            answer_before=before.text,
            updated=updated,
            why=found.why[i],
            practice=tuple(Used(*each) for each in zip(practice, weights_M.tolist(), left_out, strict=True)),
            gate=float(np.asarray(scores.gate_P)[i]) if scores else None,
            expected_gain=None if found.expected_P is None else float(found.expected_P[i]),
            losses=tuple(found.losses_PxK[i].tolist()) if "adapt" in own and found.losses_PxK is not None else (),
            verdict=found.verdicts[i] if "guard" in own and found.verdicts else None,
            votes=given.votes,
            phases=tuple(own.values()),
            seed=batch.seeds_P[i].item(),
            model=self.name,
            adapter=jax.tree.map(lambda leaf: leaf[i], found.adapters) if updated else None,
        )


def _compiled(batch: Batch) -> tuple[Any, ...]:
    """What programs are compiled for: batches with equal ones take about equally long."""
    return batch.actor.method, len(batch.problems), batch.options.votes, batch.options.sets
