"""What the grader of programs says of reference solutions, which all pass, and of mutated ones, which fail; and pass@k.

    python -m experiments.benchmarks.code_grading --mbpp=mbpp.jsonl --human_eval=human_eval --workdir=runs/code_grading
    python -m experiments.benchmarks.code_grading --human_eval=human_eval --samples=samples.jsonl --workdir=runs/mine

Samples are in the form of the package human-eval: a line each with the number of a problem (``HumanEval/7`` or 7) as
``task_id`` and a ``completion``; what they pass is printed, with pass@1, 10 and 100 as far as there are so many.
"""

import ast
import collections
import json
from collections.abc import Callable, Sequence
from pathlib import Path

from absl import flags

from experiments.benchmarks.kept import keep
from mass_jax.errors import InputError
from mass_jax.reporting.table import Table
from mass_jax.runtime import program
from mass_jax.tasks.code import data, extract
from mass_jax.tasks.code.passing import mean_pass_at_k
from mass_jax.tasks.code.runner import Result, Runner
from mass_jax.tasks.sandbox.jail import Limits


class Nothing(ast.NodeTransformer):
    """Every function returns nothing."""

    def visit_Return(self, node: ast.Return) -> ast.Return:
        """``return``."""
        return ast.copy_location(ast.Return(None), node)


class Pair(ast.NodeTransformer):
    """Every function returns a pair of its value and 1."""

    def visit_Return(self, node: ast.Return) -> ast.Return:
        """``return (value, 1)``."""
        value = ast.Tuple([node.value or ast.Constant(None), ast.Constant(1)], ast.Load())
        return ast.fix_missing_locations(ast.copy_location(ast.Return(value), node))


def mutated(kind: type[ast.NodeTransformer]) -> Callable[[str], str]:
    """A mutation of programs."""
    return lambda code: ast.unparse(kind().visit(ast.parse(code)))


WAYS: dict[str, Callable[[str], str]] = {
    "references": lambda code: code,
    "returns nothing": mutated(Nothing),
    "returns a pair": mutated(Pair),
}


def define_flags() -> None:
    """The command line."""
    flags.DEFINE_string("mbpp", "", "MBPP's file; empty to leave it out.")
    flags.DEFINE_string("human_eval", "", "HumanEval's file, or human_eval for that of the package; empty for none.")
    flags.DEFINE_string("samples", "", "A file of samples of HumanEval, to be graded in place of the references.")
    flags.DEFINE_integer("workers", 2, "Processes that judge.", lower_bound=1)
    flags.DEFINE_string("workdir", "runs/code_grading", "Where table.json is written.")


def problems() -> dict[str, list[data.Programming]]:
    """Those of the files that are given.

    Raises:
      InputError: none is given, or one cannot be read.
    """
    options, found = flags.FLAGS, {}
    try:
        if options.mbpp:
            path = Path(options.mbpp)
            found["MBPP"] = [problem for split in data.IDS for problem in data.mbpp(path, split)]
        if options.human_eval:
            found["HumanEval"] = data.human_eval(data.human_eval_file(options.human_eval))
    except ValueError as error:
        raise InputError(str(error)) from None
    if not found:
        raise InputError("there is nothing to grade: give --mbpp, --human_eval or both.")
    return found


def graded(runner: Runner, some: Sequence[data.Programming], texts: Sequence[str]) -> list[Result]:
    """Programs against the tests of their problems; what is no program fails."""
    read = [extract.program(t, p.begun, p.suite.asked[0] if p.begun else "") for p, t in zip(some, texts, strict=True)]
    return runner.run([(each.program, problem.suite) for each, problem in zip(read, some, strict=True)])


def samples(runner: Runner, some: Sequence[data.Programming], path: Path) -> None:
    """Print pass@k of a file of samples.

    Raises:
      InputError: it cannot be read, or is of other problems.
    """
    by_number = {problem.family: problem for problem in some}
    try:
        rows = [json.loads(line) for line in path.read_text().splitlines() if line.strip()]
        pairs = [(by_number[int(str(row["task_id"]).rpartition("/")[2])], str(row["completion"])) for row in rows]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise InputError(
            f"--samples={path}: {error!r}. A line needs a task_id of HumanEval and a completion."
        ) from None
    verdicts = collections.defaultdict(list)
    for (problem, _), result in zip(pairs, graded(runner, *map(list, zip(*pairs, strict=True))), strict=True):
        verdicts[problem.family].append(result.right)
    least = min(map(len, verdicts.values()))
    shares = (f"pass@{k} {100 * mean_pass_at_k([*verdicts.values()], k):.1f} %" for k in (1, 10, 100) if k <= least)
    print(f"{len(verdicts)} problems, {len(pairs)} samples: {', '.join(shares)}")


def main() -> None:
    """Grade the references and their mutants, or samples."""
    options = flags.FLAGS
    found = problems()
    with Runner(options.workers, Limits(seconds=10)) as runner:
        if options.samples:
            return samples(runner, found.get("HumanEval", []), Path(options.samples))
        rows = []
        for name, some in found.items():
            for way, mutate in WAYS.items():
                wholes = [
                    extract.program(p.solution, p.begun, p.suite.asked[0] if p.begun else "").program for p in some
                ]
                results = runner.run([(mutate(code), p.suite) for code, p in zip(wholes, some, strict=True)])
                right = [problem.family for problem, each in zip(some, results, strict=True) if each.right]
                unjudged = sum(not each.judged for each in results)
                rows.append((f"{name}, {way}", str(len(some)), str(len(right)), str(unjudged)))
                print(
                    *rows[-1],
                    [p.family for p in some if p.family not in right][:9] if way == "references" else right[:9],
                )
    columns = ("Programs", "Tried", "Pass", "Not judged")
    keep(Path(options.workdir) / "table.json", grading=Table(columns, "lrrr", rows))


if __name__ == "__main__":
    define_flags()
    program.run(main)
