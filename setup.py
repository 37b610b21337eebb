"""Packaging of mass_jax: what it needs, and for what."""

import re
from pathlib import Path

from setuptools import find_packages, setup

ROOT = Path(__file__).parent
INIT = (ROOT / "mass_jax/__init__.py").read_text(encoding="utf-8")

# Whatever the code imports is named here, also where another of these would bring it (`tests/test_packaging.py`). Lower
# bounds are versions that `make test-lower` installs and tests.
# Whoever differentiates through training, by `mass_jax.metagrad`, needs no more than this.
CORE = [
    "jax>=0.10.2",  # arrays, autodiff, compilation; before, it can crash where it keeps a compiled program
    "flax>=0.12.1",  # the transformer's modules
    "optax>=0.2.8",  # optimisers, inner and outer; the ones before ask for an option that jax 0.10 has not
    "numpy>=2.1.0",  # host-side arrays, statistics of the report
]

# The method, its data, and runs of it; what of these is missing is said by `mass_jax/extras.py`.
STUDY = [
    "orbax-checkpoint>=0.12.3",  # atomic, asynchronous checkpoints; the first that saves without the preemption service
    "etils>=1.13.0",  # paths as Orbax takes them
    "tensorflow-datasets>=4.9.10",  # dataset builders; used without TensorFlow; an older one fails with protobuf 7
    "array-record>=0.8.3",  # the file format of those datasets
    "pyarrow>=18.1.0",  # problems in Parquet files, as on the hub
    "grain>=0.2.15",  # checkpointable input pipelines
    "ml-collections>=1.1.0",  # locked configs with command-line overrides
    "chex>=0.1.91",  # shapes at the doors of functions
    "pydantic>=2.11.0",  # types and ranges: of every field of a config, and of other people's JSON
    "absl-py>=2.3.0",  # flags, logging and the mains of the experiments
    "ml_dtypes>=0.5.1",  # bfloat16 for numpy
    "rich>=13.9.4",  # progress bar with the time left
    "scipy>=1.14",  # Student's t, of intervals over seeds
    "matplotlib>=3.10.0",  # figures of the report
    "tensorboard>=2.19.0",  # writes event files without TensorFlow, and is the browser of `make tensorboard`
    "safetensors>=0.5.0",  # pretrained weights and adapters; never pickle
    "tokenizers>=0.21.0",  # byte-pair encodings of pretrained models
    "gguf>=0.17.0",  # reads and dequantises GGUF files
    "jinja2>=3.1.5",  # chat templates
    "huggingface_hub>=0.30.0",  # models and datasets by their hub id
    "math-verify>=0.8.0",  # equivalence of mathematical answers
    "latex2sympy2_extended>=1.10.2",  # how math-verify reads LaTeX, set by us
    "sympy>=1.13.3",  # the expressions that it compares; small ones are scaled before
]

EXAMPLES = ["scikit-learn>=1.6.1"]  # ships the digits of experiments/benchmarks/hyper_cleaning.py

EVAL = [
    "lm-eval>=0.4.13",  # lm-evaluation-harness, whose tasks experiments/harness.py runs
    "pyyaml>=6.0.2",  # the form of those tasks
]
# Of these releases; no older ones were tried.
SERVE = [
    "starlette>=1.10.0",  # the application: paths, bodies, streams
    "uvicorn>=0.54.0",  # the HTTP server that it runs in
    "prometheus-client>=0.26.0",  # counts, as monitoring reads them
]
EXTRAS = {
    "study": STUDY,
    "serve": SERVE,
    "test": [
        *STUDY,
        "pytest>=8.4.0",  # the test runner
        "pytest-xdist>=3.8",  # tests in parallel processes
        "ruff>=0.17.6",  # linter and formatter; an older one formats otherwise
        "mypy>=2.4.1",  # type checker; an older one finds less
        *EXAMPLES,
        *SERVE,
        "httpx2>=2.16.2",  # what starlette's client for tests is made of
        "openai>=3.57.0",  # the client that mass-serve is for
    ],
    # The site of `make site`: Markdown pages as GitHub shows them, and docstrings read without importing them. Of these
    # releases, no older ones were tried. The theme is kept up until May 2027; its successor, zensical, reads the same
    # mkdocs.yml, but checks fewer of the things that `--strict` is for.
    "docs": [
        "mkdocs>=1.6.1,<2",  # the site, its navigation and its search
        "mkdocs-material>=9.8.2,<10",  # how it looks
        "mkdocstrings[python]>=1.0.8",  # the reference, from docstrings
        "ruff>=0.17.6",  # signatures that are too long for a line
    ],
    "e2e": ["selenium>=4.51.0"],  # drives a browser, of the system, through the pages of mass-serve and of reports
    "examples": EXAMPLES,
    "eval": EVAL,
    # Others' implementations, which ours is held against: of these releases, no older ones were tried.
    "parity": [
        *("torch==2.13.0", "transformers>=5.24.0", "peft>=0.21.2", "accelerate>=1.15.0"),
        *EVAL,
        "lm-eval[api]>=0.4.13",  # its clients of servers
    ],
    "plan": ["libtpu>=0.0.52"],  # the TPU compiler, which needs no TPU to say how much memory a program takes
    # The peers of `make peers`, in a virtual environment of their own.
    "bench": [*STUDY, "torch==2.13.0", "higher>=0.2.1", "torchopt>=0.7.3"],
    "cuda": ["jax[cuda12]>=0.10.2"],  # NVIDIA GPUs; CUDA comes with the wheels
    "tpu": ["jax[tpu]>=0.10.2"],  # Cloud TPU; brings libtpu
}

setup(
    name="mass_jax",
    version=re.findall(r'^__version__ = "(.+)"$', INIT, re.MULTILINE)[0],
    description="MASS: test-time meta-adaptation with self-synthesis, in JAX",
    long_description=(ROOT / "README.md").read_text(encoding="utf-8"),
    long_description_content_type="text/markdown",
    license="Apache-2.0",
    python_requires=">=3.11",
    packages=find_packages(include=["mass_jax", "mass_jax.*"]),
    package_data={
        "mass_jax": ["py.typed"],  # its types are for others' checkers too
        "mass_jax.reporting": ["style.css"],
        "mass_jax.serving": ["page.html"],
        "mass_jax.tasks.mathematics": ["prompts/*.md"],
    },
    entry_points={
        "console_scripts": [
            "mass-adapt = mass_jax.inference.command_line:run",
            "mass-serve = mass_jax.serving.command_line:run",
        ]
    },
    install_requires=CORE,
    extras_require=EXTRAS,
    classifiers=[
        "Programming Language :: Python :: 3",
        "Topic :: Scientific/Engineering :: Artificial Intelligence",
        "Typing :: Typed",
    ],
)
