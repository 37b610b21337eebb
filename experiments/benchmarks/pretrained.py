"""A pretrained model against transformers on the same GGUF file, and what it takes to load.

    make parity
    python -m experiments.benchmarks.pretrained --model=package:qwen2.5-coder-0.5b --workdir=runs/pretrained

transformers reads and dequantises the file by itself, in float32. Logits are compared at every position of plain and
chat prompts and of what follows them; greedy tokens one by one, with the largest logit of transformers behind what ours
wrote before: where all agree, its own greedy text is the same. Token ids are compared on texts that are drawn from a
seed: pieces of the vocabulary, letters of many scripts, marks that compose with a letter before them, spaces, digits.
"""

import json
import random
import subprocess
import sys
import tempfile
import unicodedata
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import jax
import numpy as np
from absl import flags

from experiments.benchmarks.kept import keep, writable
from mass_jax.errors import InputError
from mass_jax.mass.packing import pack_prompts
from mass_jax.models import decoder
from mass_jax.models.pretrained import source
from mass_jax.models.pretrained.bpe import BpeTokenizer
from mass_jax.models.pretrained.gguf_file import GGUF
from mass_jax.models.sampling import Prompts, SamplingSpec, sample
from mass_jax.reporting.table import Table, to_markdown
from mass_jax.runtime import program
from mass_jax.tasks.mathematics import prompts as sections
from mass_jax.types import Params

LETTERS = (
    *(" ", "  ", "\n", "\t", "\r\n", "\u00a0", "0", "12", "3.5", "½", "²", "'s", "'LL", "<", "|", "{", "\\frac", "=="),
    *(
        "a",
        "Z",
        "é",
        "e\u0301",
        "u\u0308",
        "ﬁ",
        "Å",
        "Ω",
        "й",
        "и\u0306",
        "中",
        "か\u3099",
        "한",
        "\u1112\u1161",
        "م",
        "हि",
    ),
    *("🙂", "👩\u200d👧", "\u200b", "\ufffd", "\x00", "\u0958", "\u2126", "\u0344"),
)
"""What texts are made of beside the vocabulary's own pieces; some of it is not composed (NFC)."""
TOKENIZERS = {"qwen2": "Qwen2Tokenizer"}
"""By architecture, the class of transformers that the published tokenizer is of."""
LOADS = {
    "first load, float32": ("float32", False),
    "later load, float32": ("float32", False),
    "later load, and 8 texts of 16 tokens written": ("float32", True),
    "later load, bfloat16": ("bfloat16", False),
}
"""The type of the parameters, and whether text is written; the first finds an empty cache."""
LOAD = """
import json, sys, time
import jax, numpy as np
from mass_jax.models.pretrained import source
from mass_jax.models.sampling import Prompts, SamplingSpec, sample
from mass_jax.runtime.memory import peak_host_bytes
name, cache, dtype, write = sys.argv[1:]
began = time.process_time()
model = source.load(name, cache_dir=cache, dtype=dtype, scan_layers=True, context=64)
jax.block_until_ready(model.params)
seconds = time.process_time() - began
if write == "True":
    read = Prompts(np.ones((8, 16), np.int32), np.full(8, 16))
    spec = SamplingSpec(samples=1, max_new_tokens=16, temperature=0.0)
    key = jax.random.key(0)
    jax.block_until_ready(sample(model.config, model.params, None, read, key, spec, adapter_per_problem=False))
peak = peak_host_bytes() / 2**30
size = sum(leaf.nbytes for leaf in jax.tree.leaves(model.params)) / 2**30
print(json.dumps({"seconds": seconds, "peak": peak, "size": size}))
"""
"""Loads a model in a process of its own; sizes are in GiB."""


def define_flags() -> None:
    """The command line."""
    flags.DEFINE_string("model", "package:qwen2.5-coder-0.5b", "A GGUF file, or a package that carries one.")
    flags.DEFINE_string("workdir", "runs/pretrained", "Folder for table.json and table.md.")
    flags.DEFINE_integer("texts", 1000, "For the tokenizer.", lower_bound=1)
    flags.DEFINE_integer("new", 48, "Greedy tokens behind each prompt.", lower_bound=1)


def main() -> None:
    """Compare, load, print and keep both tables."""
    options = flags.FLAGS
    workdir = Path(options.workdir)
    path = source.resolve(options.model)
    if path.suffix != ".gguf":
        raise InputError(f"--model={options.model} is no GGUF file, which transformers reads by itself: give one.")
    writable(workdir)
    tables = {"loading": loading(options.model, workdir)}
    print(to_markdown(tables["loading"]), flush=True)
    rows = [*tokenizers(path, texts(source.load_tokenizer(options.model), options.texts))]
    rows += [*numbers(path, options.model, options.new)]
    tables["parity"] = Table(("Compared", "Of", "Result"), "lrr", rows)
    keep(workdir / "table.json", **tables)
    print(to_markdown(tables["parity"]))


def loading(model: str, workdir: Path) -> Table:
    """Processor seconds and the most memory of every kind of load, each in a process of its own."""
    cells = []
    with tempfile.TemporaryDirectory(dir=workdir) as cache:
        for name, (dtype, write) in LOADS.items():
            done = subprocess.run(
                [sys.executable, "-c", LOAD, model, cache, dtype, str(write)], capture_output=True, text=True
            )
            if done.returncode:
                raise RuntimeError(done.stderr)
            found = json.loads(done.stdout.splitlines()[-1])
            cells.append((name, *(f"{found[key]:.2f}" for key in ("seconds", "peak", "size"))))
    return Table(("Load", "Processor seconds", "Most memory, GiB", "Parameters, GiB"), "lrrr", cells)


def texts(tokenizer: BpeTokenizer, count: int) -> list[str]:
    """Texts of up to 24 pieces each, from one seed."""
    rng = random.Random(0)
    special = {*tokenizer.special_tokens}

    def piece() -> str:
        if rng.random() < 0.5:
            return rng.choice(LETTERS)
        text = tokenizer.decode([rng.randrange(tokenizer.vocab_size)])
        return "" if text in special else text

    return ["".join(piece() for _ in range(rng.randrange(1, 25))) for _ in range(count)]


def tokenizers(path: Path, written: Sequence[str]) -> Iterator[tuple[str, str, str]]:
    """Rows: how many texts have the same ids by each reading of the file in transformers, and how many chats."""
    import transformers

    metadata = GGUF(path).metadata
    ours = source.load_tokenizer(str(path))
    theirs = transformers.AutoTokenizer.from_pretrained(path.parent, gguf_file=path.name)
    kinds = {"transformers' reading of the file": theirs}
    if name := TOKENIZERS.get(metadata["general.architecture"]):
        vocabulary = {token: i for i, token in enumerate(metadata["tokenizer.ggml.tokens"])}
        merges = [tuple(merge.split(" ")) for merge in metadata["tokenizer.ggml.merges"]]
        kinds[f"transformers' {name}, with the file's tokens and merges"] = getattr(transformers, name)(
            vocab=vocabulary, merges=merges
        )
    composed = [unicodedata.normalize("NFC", text) for text in written]
    for kind, other in kinds.items():
        same = sum(ours.encode(text) == other.encode(text, add_special_tokens=False) for text in written)
        yield f"texts with the ids of {kind}", str(len(written)), str(same)
        pairs = zip(written, composed, strict=True)
        same = sum(ours.encode(text) == other.encode(whole, add_special_tokens=False) for text, whole in pairs)
        yield "the same, where it is given the text composed (NFC)", str(len(written)), str(same)
    chats = [*conversations()]
    same = sum(
        ours.chat(each) == theirs.apply_chat_template(each, tokenize=False, add_generation_prompt=True)
        for each in chats
    )
    yield "chats with the text of transformers' template", str(len(chats)), str(same)


def conversations() -> Iterator[list[dict[str, str]]]:
    """Chats of one to five turns, with a system message and without, of the worked examples of GSM8K's prompts."""
    found = sections.load("gsm8k")
    worked = sections.worked_practice(found)
    for count in range(len(worked) + 1):
        turns = [
            {"role": role, "content": text}
            for pair in worked[:count]
            for role, text in zip(("user", "assistant"), pair, strict=True)
        ]
        asked = {"role": "user", "content": found.solve.replace(sections.PROBLEM, worked[0][0])}
        yield [*turns, asked]
        yield [{"role": "system", "content": found.system}, *turns, asked]


def numbers(path: Path, name: str, new: int) -> Iterator[tuple[str, str, str]]:
    """Rows of `agreement` on every chat and on plain text."""
    import torch
    import transformers

    ours = source.load(name, scan_layers=True, context=2048)
    asked = [ours.tokenizer.chat(each) for each in conversations()]
    asked += [pair[0] for pair in sections.worked_practice(sections.load("gsm8k"))]
    theirs = transformers.AutoModelForCausalLM.from_pretrained(path.parent, gguf_file=path.name, dtype=torch.float32)

    def logits(ids_T: np.ndarray) -> np.ndarray:
        with torch.no_grad():
            return theirs(torch.tensor(ids_T[None], dtype=torch.int64)).logits.numpy()[0]

    return agreement(ours, logits, asked, new)


def agreement(
    ours: source.Pretrained, theirs: Callable[[np.ndarray], np.ndarray], asked: Sequence[str], new: int
) -> Iterator[tuple[str, str, str]]:
    """Rows: the largest difference of a logit, and how many greedy tokens agree.

    Args:
      ours: the model.
      theirs: from token ids [T] to the other's logits [T, V].
      asked: prompts.
      new: tokens behind each, fewer where the model ends its text.
    """
    tokens, lengths = pack_prompts(ours.tokenizer, asked, ours.config.context - new)
    drawn = sample(
        ours.config,
        ours.params,
        None,
        Prompts(tokens, lengths),
        jax.random.key(0),
        SamplingSpec(1, new, 0.0, stop_ids=ours.tokenizer.stop_ids, pad_id=ours.tokenizer.pad_id),
        adapter_per_problem=False,
    )

    @jax.jit
    def run(params: Params, ids: jax.Array) -> jax.Array:
        return decoder.logits(ours.config, params, decoder.forward(ours.config, params, None, ids)[0])

    differences, largest, agreed = [], [], list[bool]()
    every = zip(tokens, lengths, np.asarray(drawn.tokens_PxSxT), np.asarray(drawn.mask_PxSxT), strict=True)
    for prompt, length, text, mask in every:
        written = text[0][mask[0]]
        ids = np.concatenate([prompt[:length], written])
        expected = theirs(ids)
        differences += list(np.abs(np.asarray(run(ours.params, ids[None]))[0] - expected).max(axis=-1))
        largest.append(np.abs(expected).max())
        agreed += (expected[length - 1 : -1].argmax(axis=-1) == written).tolist()
    yield (
        f"largest difference of a logit, of up to {max(largest):.0f}",
        str(len(differences)),
        f"{max(differences):.1e}",
    )
    yield "greedy tokens that are the other's", str(len(agreed)), str(sum(agreed))


if __name__ == "__main__":
    define_flags()
    program.run(main)
