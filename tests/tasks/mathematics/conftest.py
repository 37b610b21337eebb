import pytest

from mass_jax.tasks.mathematics.grading import Grader


@pytest.fixture(scope="session")
def grader():
    with Grader(workers=2, time_limit=30) as shared:
        yield shared
