"""The whole method at a size that compiles in a second, with a model whose outputs are far from uniform.

A random model writes nothing that can be parsed and solves nothing, so whatever needs practice or verdicts to come out
of sampled text uses `LENIENT`: its parser turns most garbage into some practice example, its grader passes every other
text, and both are functions of the text.
"""

import dataclasses
import functools
import zlib
from collections.abc import Sequence
from typing import Any

import grain
import jax
import jax.numpy as jnp
import numpy as np

from mass_jax import metagrad
from mass_jax.mass import attribution, scorer
from mass_jax.mass.actor import Actor
from mass_jax.mass.attribution import Weighed
from mass_jax.mass.method import GeneratorConfig, InnerConfig, LengthConfig, Method, ScorerConfig
from mass_jax.mass.packing import pack
from mass_jax.mass.practice import PracticeSets, pack_practice
from mass_jax.mass.state import OuterConfig
from mass_jax.models import lora
from mass_jax.models.config import ModelConfig
from mass_jax.models.lora import LoraConfig
from mass_jax.models.tokenizer import WordTokenizer
from mass_jax.study.schema import Train
from mass_jax.tasks import pipeline
from mass_jax.tasks.arithmetic import documents
from mass_jax.tasks.arithmetic.rules import make_rules
from mass_jax.tasks.arithmetic.task import ArithmeticTask
from mass_jax.tasks.base import MALFORMED, Domain, Practice, Problem, Verdict
from mass_jax.tasks.worked import KINDS, writer
from mass_jax.types import Params, PyTree, Sequences
from tests.models import tiny as models

RULES = make_rules(12, 0)
EXAMPLES = 4


class LenientTask(ArithmeticTask):
    """The real task with a parser and a grader that a random model can please."""

    def parse(self, problem: Problem, text: str) -> Practice:
        parsed, seed = super().parse(problem, text), zlib.crc32(text.encode())
        if parsed.well_formed or seed % 5 == 0:
            return parsed
        rng = np.random.default_rng(seed)
        return documents.draw_gold_practice(self.rules[seed % len(self.rules)], rng, frozenset())

    def grade(self, problems: Sequence[Problem], texts: Sequence[str]) -> list[Verdict]:
        return [Verdict(zlib.crc32(text.encode()) % 2 == 0, "by chance") for text in texts]


def _domain(task: ArithmeticTask) -> Domain:
    return Domain(task, WordTokenizer(task.vocabulary))


DOMAIN, LENIENT = _domain(ArithmeticTask(RULES)), _domain(LenientTask(RULES))
MODEL = ModelConfig(
    DOMAIN.tokenizer.vocab_size, width=16, layers=1, heads=2, kv_heads=1, head_dim=8, mlp_width=24, context=32
)
LORA = LoraConfig(rank=2, targets="(q|v|down)_proj")
LENGTHS = LengthConfig(prompt=10, solution=5, synthesis=14, practice=15, check=14)
CHECKS = len(DOMAIN.task.check_names)


def make_method(
    estimator: str = "adjoint",
    *,
    scorer: str = "verification",
    normalization: str = "softmax",
    gate: bool = True,
    optimizer: str = "sgd",
    rate: float = 0.5,
    steps: int = 1,
    schedule: str = "fresh",
) -> Method:
    return Method(
        MODEL,
        LORA,
        LENGTHS,
        GeneratorConfig(EXAMPLES, 0.9),
        ScorerConfig(scorer, normalization, gate, hidden=5),
        InnerConfig(steps, schedule, optimizer, rate),
        metagrad.make(estimator),
    )


OUTER = OuterConfig(
    steps=4,
    mode="gold",
    practice=True,
    sets=1,
    solutions=4,
    optimizer="normalized",
    generator_rate=1e-2,
    momentum=0.8,
    epsilon=1e-8,
    scorer_rate=1e-2,
    reward="attribution",
    attribution_at="scorer",
    attribution_weight=1.0,
    set_weight=0.0,
    malformed_reward=-0.6,
    solve_weight=0.1,
    replay_weight=0.1,
    kl_weight=0.1,
    clip=0.2,
    epochs=1,
    parts=1,
    microbatches=1,
    max_norm=1.0,
)


def train_config(**changes: Any) -> Train:
    """`OUTER` as the loop reads it, and the loop's own fields."""
    loop = {"problems": 3, "replay_batch": 2, "save_every": 2}
    loop |= {"spike_factor": 20.0, "spike_window": 20, "spike_patience": 2}
    return Train(**dataclasses.asdict(OUTER) | loop | changes)


@functools.cache
def make_params(seed: int = 0) -> Params:
    with jax.enable_x64(False):  # made once for all tests, whoever asks first
        return models.make_params(MODEL, seed)


def float64(tree: PyTree) -> PyTree:
    """Floating leaves in double precision; call it where x64 is enabled. The host converts: devices would compile."""
    return jax.tree.map(lambda leaf: jnp.asarray(np.asarray(leaf), jnp.float64), tree)


def make_adapter(params: Params, seed: int = 0) -> PyTree:
    return lora.init(LORA, params, jax.random.key(seed))


def make_eta(method: Method, seed: int = 0, scale: float = 1.0) -> Params:
    """A scorer in the middle of training: no leaf is zero, so weights and gates differ."""
    shapes = jax.eval_shape(lambda: scorer.init(method.scorer, scorer.feature_count(method, CHECKS), jax.random.key(0)))
    rng = np.random.default_rng(seed)
    return jax.tree.map(lambda leaf: jnp.asarray(scale * rng.normal(size=leaf.shape), jnp.float32), shapes)


def make_problems(count: int = 3, seed: int = 0) -> list[Problem]:
    """Problems of ``count`` different families."""
    rng = np.random.default_rng(seed)
    return [documents.draw_problem(RULES, f, rng) for f in range(count)]


def make_rows(problems: list[Problem], malformed: bool = True, seed: int = 0) -> list[list[Practice]]:
    """Gold practice, each problem's second example wrong (another family's), the first problem's last malformed."""
    rng = np.random.default_rng(seed)
    rows = [list(DOMAIN.task.gold_practice(p, EXAMPLES, rng, strict=False)) for p in problems]
    for problem, row in zip(problems, rows, strict=True):
        other = dataclasses.replace(problem, family=(problem.family + 5) % len(RULES))
        row[1] = DOMAIN.task.gold_practice(other, 1, rng, strict=False)[0]
    if malformed:
        rows[0][-1] = MALFORMED
    return rows


def make_actor(method: Method | None = None, domain: Domain = DOMAIN, params: Params | None = None) -> Actor:
    return Actor(make_params() if params is None else params, method or make_method(), domain)


def make_practice(problems: list[Problem], malformed: bool = True, seed: int = 0) -> PracticeSets:
    """`make_rows` as arrays, among them the sequences that a generator would have written."""
    rows = make_rows(problems, malformed, seed)
    texts = [
        (DOMAIN.task.synthesis_prompt(problem), f"{DOMAIN.task.solve_prompt(e.prompt)} {e.solution}")
        for problem, row in zip(problems, rows, strict=True)
        for e in row
    ]
    packed = pack(DOMAIN.tokenizer, texts, LENGTHS.prompt + LENGTHS.synthesis, "the test's length")
    written = Sequences(*(leaf.reshape(len(problems), EXAMPLES, -1) for leaf in packed))
    return pack_practice(make_actor(), problems, rows, written)


def make_solutions(problems: list[Problem]) -> Weighed:
    """Verifier mode with its sampling fixed: right and wrong solutions, and c_j = A_j / S of their verdicts."""
    texts = [[p.solution, f"{RULES[3].name} = 0>0", problems[i - 1].solution] for i, p in enumerate(problems)]
    pairs = [(p, text) for p, row in zip(problems, texts, strict=True) for text in row]
    prompted = [(DOMAIN.task.solve_prompt(p.prompt), text) for p, text in pairs]
    packed = pack(DOMAIN.tokenizer, prompted, LENGTHS.prompt + LENGTHS.solution, "the test's length")
    graded = DOMAIN.task.grade(*zip(*pairs, strict=True))
    verdicts = np.array([verdict.correct for verdict in graded]).reshape(len(problems), 3)
    coefficients = (verdicts - verdicts.mean(-1, keepdims=True)) / verdicts.std(-1, keepdims=True) / 3
    return Weighed(Sequences(*(leaf.reshape(len(problems), 3, -1) for leaf in packed)), coefficients)


def make_references(problems: list[Problem]) -> Weighed:
    return attribution.references(make_actor(), problems).weighed


def document_stream() -> grain.DatasetIterator:
    """Endless batches of 8 pretraining documents."""
    write = writer(documents, RULES, KINDS, ())
    return pipeline.document_batches(
        make_problems(8), write, DOMAIN.tokenizer, length=24, batch_size=8, seed=1, ahead=0
    )


def replay_documents(count: int = 2, length: int = 24, seed: int = 0) -> Sequences:
    """Pretraining documents, sequences [count, length]."""
    rng = np.random.default_rng(seed)
    write = writer(documents, RULES, KINDS, ())
    texts = [("", write(problem, rng)) for problem in make_problems(count)]
    return pack(DOMAIN.tokenizer, texts, length, "the test's length")
