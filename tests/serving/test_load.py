"""The load test at a small size: the server as a process, with clients that leave and send what they should not."""

import dataclasses
from collections import Counter

from experiments.benchmarks import serve_load
from mass_jax.inference.adapter import MassAdapter
from tests.serving.conftest import RUN


def test_nothing_is_lost_or_mixed_up(adapter: MassAdapter, texts: list[str]):
    alone = dataclasses.replace(adapter, name=serve_load.NAME)
    asked = serve_load.requests(alone, texts[:3], count=60, seed=1)
    assert len(asked) == 60 and {wanted.kind for wanted in asked} == set(serve_load.SHARES)
    with serve_load.Running(str(RUN), adapter.learner.batch) as server:
        found = serve_load.run(server, asked, clients=8)
    assert serve_load.wrong(found) == []
    assert sum(counts.total() for kind, counts in found.items() if kind in serve_load.SHARES) == 60
    assert found["at SIGTERM"]["status 0"] == 1 and found["at SIGTERM"].total() == 9


def test_what_is_not_right_is_said():
    counts = {
        "chat": Counter({"right": 2, "another answer": 1}),
        "10 MB": Counter({"413": 1, "500": 2}),
        "leaves at once": Counter(left=1),
        "as the server counts": Counter({"200": 2, "499": 1, "500": 2}),
        "at SIGTERM": Counter({"status 0": 1, "status 1": 1, "503": 3}),
    }
    assert serve_load.wrong(counts) == [
        "1 of chat: another answer",
        "2 of 10 MB: 500",
        "2 of as the server counts: 500",
        "1 of at SIGTERM: status 1",
    ]
