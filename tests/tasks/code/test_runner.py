"""Solutions against tests, by the pool: what passes passes, and what cannot says why."""

from collections.abc import Iterator

import pytest

from mass_jax.errors import InputError
from mass_jax.tasks.code import runner
from mass_jax.tasks.code.runner import Result, Runner, Suite
from mass_jax.tasks.sandbox import jail

TWO = Suite(("assert f(2) == 4", "assert f(3) == 9"), ("f",))


@pytest.fixture(scope="module")
def own() -> Iterator[Runner]:
    with Runner(workers=1, limits=jail.Limits(seconds=1), anyhow=True) as shared:
        yield shared


def test_results_are_in_their_order(own: Runner):
    right, half = "def f(x): return x * x", "def f(x): return x + x"
    found = own.run([(right, TWO), (half, TWO), (right, TWO)])
    assert [each.passed for each in found] == [2, 1, 2] and [each.right for each in found] == [True, False, True]
    assert found[0] == Result(2, 2, "") and found[1].reason == "assert f(3) == 9: AssertionError"


BAD = {
    "no code": ("I do not know.", "assert f(2) == 4: SyntaxError"),
    "nothing": ("", "NameError: the solution defines no f"),
    "another language": ("int f(int x) { return x * x; }", "SyntaxError"),
    "another name": ("def g(x): return x * x", "NameError: the solution defines no f"),
    "another kind": ("f = 3", "TypeError: 'int' object is not callable"),
    "a null byte": ("def f(x): return x\0", "null bytes"),
    "half of a pair": ("def f(x): return '\udc80'", "assert f(2) == 4: AssertionError"),
    "deep": (f"def f(x): return {'(' * 3000}x{')' * 3000}", "MemoryError|SyntaxError|RecursionError"),
    "a deep value": ("def f(x):\n for _ in range(99999): x = [x]\n return x", "RecursionError"),
    "a long value": ("def f(x): return 'x' * (9 << 20)", "ended|ProtocolError"),
}


@pytest.mark.parametrize("name", BAD)
def test_what_is_no_solution_fails_with_a_reason(own: Runner, name: str):
    text, reason = BAD[name]
    (found,) = own.run([(text, TWO)])
    assert found.judged and found.passed == 0
    assert any(each in found.reason for each in reason.split("|")), found.reason


def test_values_come_back_as_what_they_are(own: Runner):
    values = "None, True, 2**80, -3, 0.1, 'ä\\n', b'\\xff', 1j, [1, (2,)], {1: {2}, (3,): frozenset()}, range(3)"
    tests = (
        f"assert f() == ({values})",
        "assert [type(x) for x in f()] == [type(x) for x in (" + values + ")]",
        "assert f(float('inf')) > 0 and f(float('nan')) != f(float('nan'))",
        "assert list(made(3)) == [0, 1, 2]",
        "node = Node(1); node.next = Node(2); assert total(node) == 3 and node.next.value == 2",
        "try: raises()\nexcept ValueError as error: assert str(error) == 'mine'",
    )
    text = (
        f"def f(x=({values})): return x\ndef made(n): yield from range(n)\n"
        "class Node:\n def __init__(self, value): self.value, self.next = value, None\n"
        "def total(node): return node.value + (total(node.next) if node.next else 0)\n"
        "def raises(): raise ValueError('mine')"
    )
    (found,) = own.run([(text, Suite(tests, ("f", "made", "Node", "total", "raises")))])
    assert found == Result(6, 6, "")


def test_what_the_setup_only_begins_is_the_solutions(own: Runner):
    suite = Suite(("assert f(2) == helper(2)",), ("f",), "def helper(x): return x * x\ndef f(x): '''squares'''")
    found = own.run([("def f(x): return x * x", suite), ("def f(x): return 0\ndef helper(x): return 0", suite)])
    assert [each.right for each in found] == [True, False]


def test_no_tests_are_not_passed(own: Runner):
    (found,) = own.run([("def f(x): return x", Suite((), ("f",)))])
    assert found == Result(0, 0, "") and not found.right


def test_a_system_that_cannot_keep_code_in_is_a_sentence(monkeypatch):
    def refuses(program: str, anyhow: bool) -> jail.Jail:
        raise PermissionError("this system cannot keep foreign code in: seccomp: none.")

    monkeypatch.setattr(runner.jail, "Jail", refuses)
    with pytest.raises(InputError, match="seccomp: none. Run it in a container .* or allow 'anyhow'"):
        Runner()
