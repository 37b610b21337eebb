"""A server under load and faults: nothing is lost or mixed up, and it ends in order.

    python -m experiments.benchmarks.serve_load --model=runs/demo --requests=500 --clients=16 --workdir=runs/serve_load

`mass-serve` is started as a process of its own. Clients ask for answers with and without an update, streams and
likelihoods; some leave in the midst, send 10 MB, no JSON or a wrong key. Each answer has to be what the same request
gets alone, in this process, each fault its status. At last SIGTERM comes while requests run and wait: each gets its
answer or 503, and the server ends with status 0.
"""

import dataclasses
import http.client
import json
import os
import random
import re
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple

from absl import flags

from experiments.benchmarks.kept import keep, writable
from mass_jax.errors import InputError
from mass_jax.inference.adapter import MassAdapter
from mass_jax.inference.options import Options
from mass_jax.reporting.table import Table, to_markdown
from mass_jax.runtime import program
from mass_jax.runtime.compilation import enable_compilation_cache
from mass_jax.serving import continuation, replies
from mass_jax.study.load import load_problems

NAME, KEY, PATIENCE = "load", "of the load test", 1800.0
SHARES = {
    **{"chat": 30, "stream": 15, "base": 15, "likelihood": 10},
    **{"leaves in the midst of its body": 5, "leaves at once": 8, "leaves a stream": 7},
    **{"10 MB": 2, "no JSON": 4, "a wrong key": 4},
}
"""Kinds of requests, and how often each is drawn."""
FAULTS = {"10 MB": 413, "no JSON": 400, "a wrong key": 401}
"""Those that are refused, and how."""
ASKED = ("chat", "stream", "base", "likelihood")
"""Those that are answered."""


COUNTED = "as the server counts"
"""What came of all until SIGTERM: no client hears the status of a request that it has left."""


class Wanted(NamedTuple):
    """A request.

    Attributes:
      kind: of `SHARES`.
      body: what is sent.
      expected: what a sound one has to get.
    """

    kind: str
    body: dict[str, Any]
    expected: Any

    @property
    def path(self) -> str:
        """Where it goes."""
        return "/v1/completions" if "prompt" in self.body else "/v1/chat/completions"


def requests(adapter: MassAdapter, texts: Sequence[str], count: int, seed: int) -> list[Wanted]:
    """``count`` requests of all kinds, with what each gets alone.

    Args:
      adapter: the model, by the server's name for it.
      texts: problems.
      count: how many; each kind once at least, where there are as many.
      seed: of what is drawn.
    """
    drawn, known = random.Random(seed), dict[Any, Any]()
    kinds = list(SHARES) + drawn.choices(list(SHARES), list(SHARES.values()), k=max(count - len(SHARES), 0))
    found = []
    for kind in drawn.sample(kinds[:count], min(count, len(kinds))):
        form, text, seed = kind if kind in ("base", "likelihood") else "chat", drawn.choice(texts), drawn.randrange(2)
        if (form, text, seed) not in known:
            known[form, text, seed] = _alone(adapter, form, text, seed)
        body, expected = known[form, text, seed]
        found.append(Wanted(kind, body | ({"stream": True} if "stream" in kind else {}), expected))
    return found


def _alone(adapter: MassAdapter, form: str, text: str, seed: int) -> tuple[dict[str, Any], Any]:
    """A body, and what it gets when nothing else is asked."""
    if form == "likelihood":
        actor = adapter.learner.actor
        row = continuation.asked(actor, text, 1, True)
        (found,) = continuation.continued(actor, [row], adapter.learner.batch)
        choice = replies.of_text(actor.tokenizer, row, found, (), (True, 1))
        body = {"model": f"{NAME}:base", "prompt": text, "max_tokens": 1, "echo": True, "logprobs": 1}
        return body, {"text": choice.text, "logprobs": choice.logprobs}
    update = form == "chat"
    found_alone = adapter.adapt(text, Options(update=update, seed=seed)).as_json(timing=False)
    body = {"model": NAME if update else f"{NAME}:base", "messages": [{"role": "user", "content": text}]}
    return body | {"mass": {"seed": seed, "return_practice": True}}, json.loads(replies.dumps(found_alone))


def outcome(port: int, wanted: Wanted) -> str:
    """Sends one request; what came of it, in a word: ``right``, ``left``, a status, or what is wrong."""
    content = json.dumps(wanted.body).encode()
    headers = {"Content-Type": "application/json", "Authorization": f"Bearer {KEY}"}
    if wanted.kind == "10 MB":
        content = b'"' + b"x" * 10_000_000 + b'"'
    elif wanted.kind == "no JSON":
        content = content[:-1]
    elif wanted.kind == "a wrong key":
        headers["Authorization"] = f"Bearer {KEY[:-1]}"
    while True:
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=PATIENCE)
        try:
            if wanted.kind == "leaves in the midst of its body":
                connection.request("POST", wanted.path, content[:20], headers | {"Content-Length": str(len(content))})
                return "left"
            connection.request("POST", wanted.path, content, headers)
            if wanted.kind == "leaves at once":
                return "left"
            response = connection.getresponse()
            if wanted.kind == "leaves a stream" and response.status == 200:
                response.readline()
                return "left"
            told = response.read()
        finally:
            connection.close()
        if response.status != 429:
            return _judged(wanted, response.status, told)
        time.sleep(0.05)  # the queue is full: as the reply asks, later


def _judged(wanted: Wanted, status: int, told: bytes) -> str:
    if status != 200:
        return str(status)
    if wanted.kind == "likelihood":
        choice = json.loads(told)["choices"][0]
        found = {name: choice[name] for name in ("text", "logprobs")}
    else:
        found = _last(told) if wanted.kind == "stream" else json.loads(told)
        found = _without_time(found["mass"])
    return "right" if found == wanted.expected else "another answer"


def _last(told: bytes) -> Any:
    """The chunk of a stream that has all of ``mass``."""
    *_, last, done, _ = told.decode().split("\n\n")
    return json.loads(last.removeprefix("data: ")) if done == "data: [DONE]" else {"mass": {"phases": []}}


def _without_time(mass: dict[str, Any]) -> dict[str, Any]:
    phases = [{k: v for k, v in each.items() if k != "seconds"} for each in mass["phases"]]
    return {k: v for k, v in mass.items() if k != "seconds"} | {"phases": phases}


class Running:
    """The server as a process, while its ``with`` statement lasts."""

    def __init__(self, model: str, batch: int):
        words = [f"--model={model}", f"--name={NAME}", f"--batch={batch}", "--port=0"]
        self.process = subprocess.Popen(
            [sys.executable, "-m", "experiments.serve", *words],
            env=os.environ | {"MASS_API_KEY": KEY},
            stdout=subprocess.PIPE,
            text=True,
        )
        assert self.process.stdout is not None
        said = self.process.stdout.readline()
        if not said:
            raise InputError("the server did not start: what it said stands above.")
        self.port = int(said.rpartition(":")[2])

    def __enter__(self) -> "Running":
        return self

    def __exit__(self, *_: object) -> None:
        self.process.kill()
        self.process.wait()

    def counted(self, pattern: str) -> Counter[str]:
        """Of its metrics that match, by the pattern's group."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=PATIENCE)
        connection.request("GET", "/metrics", headers={"Authorization": f"Bearer {KEY}"})
        lines = connection.getresponse().read().decode().splitlines()
        connection.close()
        found = [(re.match(pattern, line), line.rpartition(" ")[2]) for line in lines]
        return sum((Counter({match[1]: int(float(value))}) for match, value in found if match), Counter())


def run(server: Running, asked: Sequence[Wanted], clients: int) -> dict[str, Counter[str]]:
    """What came of all requests, by their kinds, and of as many as there are clients while the server is stopped."""
    found: dict[str, Counter[str]] = {kind: Counter() for kind in (*SHARES, "at SIGTERM")}
    with ThreadPoolExecutor(clients) as pool:
        outcomes = pool.map(lambda wanted: outcome(server.port, wanted), asked)
        for wanted, each in zip(asked, outcomes, strict=True):
            found[wanted.kind][each] += 1
    last = [wanted for wanted in asked if wanted.kind in ASKED] * clients
    threads = [threading.Thread(target=_at_the_end, args=(server.port, each, found)) for each in last[:clients]]
    for thread in threads:
        thread.start()
    while not server.counted("(mass_running) ") and any(thread.is_alive() for thread in threads):
        pass
    found[COUNTED] = server.counted(r'mass_requests_total.*status="(\d+)"')
    server.process.send_signal(signal.SIGTERM)
    for thread in threads:
        thread.join()
    found["at SIGTERM"][f"status {server.process.wait(PATIENCE)}"] += 1
    return found


def _at_the_end(port: int, wanted: Wanted, found: dict[str, Counter[str]]) -> None:
    try:
        each = outcome(port, wanted)
    except ConnectionRefusedError:  # it came after the end
        each = "refused"
    found["at SIGTERM"][each] += 1


def wrong(found: dict[str, Counter[str]]) -> list[str]:
    """A sentence for everything that is not as it has to be."""
    right = {kind: {"right"} for kind in ASKED} | {kind: {str(status)} for kind, status in FAULTS.items()}
    right[COUNTED] = {"200", "429", "499", *map(str, FAULTS.values())}
    right["at SIGTERM"] = {"right", "503", "refused", "status 0"}
    return [
        f"{count} of {kind}: {each}"
        for kind, counts in found.items()
        for each, count in counts.items()
        if each not in right.get(kind, {"left"})
    ]


def main() -> None:
    """Runs all of it, prints and keeps the table."""
    options = flags.FLAGS
    workdir = writable(Path(options.workdir))
    enable_compilation_cache()
    adapter = dataclasses.replace(MassAdapter.load(options.model, batch=options.batch), name=NAME)
    texts = [problem.prompt for problem in load_problems(Path(options.model), "test")[: options.problems]]
    asked = requests(adapter, texts, options.requests, options.seed)
    with Running(options.model, options.batch) as server:
        begun = time.monotonic()
        found = run(server, asked, options.clients)
        seconds = time.monotonic() - begun
    rows = [
        (kind, str(sum(counts.values())), ", ".join(f"{each}: {count}" for each, count in sorted(counts.items())))
        for kind, counts in found.items()
    ]
    table = Table(("Kind", "Requests", "What came of them"), "lrl", rows)
    keep(workdir / "table.json", load=table)
    print(f"{to_markdown(table)}\n\n{options.clients} clients, batches of {options.batch}, {seconds:.0f} seconds")
    if faults := wrong(found):
        raise SystemExit("\n".join(faults))


def define_flags() -> None:
    """The command line."""
    flags.DEFINE_string("workdir", "runs/serve_load", "Folder for table.json and table.md.")
    flags.DEFINE_string("model", "runs/demo", "The directory of a run.")
    flags.DEFINE_integer("requests", 500, "Requests of all kinds.", lower_bound=1)
    flags.DEFINE_integer("clients", 16, "That ask at the same time.", lower_bound=1)
    flags.DEFINE_integer("batch", 4, "Requests that are adapted at once.", lower_bound=1)
    flags.DEFINE_integer("problems", 8, "Of the test split, that are asked.", lower_bound=1)
    flags.DEFINE_integer("seed", 0, "Of what is drawn.", lower_bound=0)


if __name__ == "__main__":
    define_flags()
    program.run(main)
