# make demo   trains a small GPT on real text with three schedules and compares them
# make test   runs the tests on every backend that is installed; BACKENDS=jax: on that one alone
# make test-fast  a selection that covers every module, on one backend, in under three minutes
# make docs   builds the documentation in build/site and checks it
# make lowest runs the core tests on the lowest versions that pyproject.toml allows, on Python 3.11
# make attack feeds damaged inputs to every reader, for many minutes
# KERAS_BACKEND=jax make demo, ... PYTHON=python3.12 make test

PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
# Only for `demo` and `bench`; the tests go through the backends one by one.
KERAS_BACKEND ?= tensorflow
export KERAS_BACKEND
export TF_CPP_MIN_LOG_LEVEL ?= 2

# Those that `test` goes through, as far as they are installed.
BACKENDS ?= tensorflow jax torch

.PHONY: setup torch demo test test-fast coverage docs attack upstream lowest lint bench clean

setup: $(VENV)/.installed

$(VENV)/.installed: pyproject.toml
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade pip
	$(BIN)/python -m pip install --quiet -e ".[tensorflow,jax,recipes,data,cv,test]"
	touch $@

# The third backend is optional, for it is large. Before `test`, which then covers it.
torch: setup
	$(BIN)/python -m pip install --quiet torch==2.13.0 -r tests/requirements-torch.txt

demo: setup
	$(BIN)/python -m recipes.compare

# Two workers a backend: most tests wait for a compiler that uses one core.
test: setup
	@for backend in $(BACKENDS); do \
	  if $(BIN)/python -c "import importlib.util as u, sys; sys.exit(u.find_spec('$$backend') is None)"; then \
	    echo "== tests on $$backend"; \
	    KERAS_BACKEND=$$backend $(BIN)/python -m pytest -q -n 2 --dist loadfile tests || exit 1; \
	  else echo "== $$backend is not installed: skipped"; fi; \
	done

# The tests in tests/fast.txt, which cover every module, on one backend.
FAST_BACKEND ?= jax
test-fast: setup
	KERAS_BACKEND=$(FAST_BACKEND) $(BIN)/python -m pytest -q -n 2 --dist loadfile @tests/fast.txt

# The same with the share of lines that it runs, module by module, and a check that it runs some of
# every module's functions.
coverage: setup
	KERAS_BACKEND=$(FAST_BACKEND) $(BIN)/python -m pytest -q -n 2 --dist loadfile @tests/fast.txt \
	  --cov=keras_h0h1 --cov=recipes --cov-report=term --cov-report=json:build/coverage.json
	$(BIN)/python -m tests.covered build/coverage.json

# Strict: a broken link, a page outside the navigation or an undocumented public name is an error.
# The examples are executed.
docs: $(VENV)/.docs
	KERAS_BACKEND=jax NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict --quiet
	KERAS_BACKEND=jax $(BIN)/python docs/check_reference.py build/site/objects.inv

$(VENV)/.docs: $(VENV)/.installed
	$(BIN)/python -m pip install --quiet -e ".[docs]"
	touch $@

# Keras' own optimizer tests on wrapped optimizers, a minute and a half a backend.
upstream: setup
	@for backend in tensorflow jax; do \
	  KERAS_BACKEND=$$backend KERAS_H0H1_UPSTREAM=1 $(BIN)/python -m pytest -q -rP tests/upstream || exit 1; \
	done

# In an environment of its own with exactly the lower bounds, which Python 3.11 can install.
LOWEST := build/lowest
lowest: $(LOWEST)/.installed
	@for backend in tensorflow jax; do \
	  echo "== lowest versions on $$backend"; \
	  KERAS_BACKEND=$$backend $(LOWEST)/bin/python -m pytest -q -n 2 --dist loadfile \
	    tests/core tests/curvature || exit 1; \
	done

$(LOWEST)/.installed: pyproject.toml tests/lowest.py
	$(PYTHON) -m venv --clear $(LOWEST)
	$(LOWEST)/bin/python -m tests.lowest > $(LOWEST)/constraints.txt
	$(LOWEST)/bin/python -m pip install --quiet -c $(LOWEST)/constraints.txt \
	  -e ".[tensorflow,jax,recipes,data,test]"
	touch $@

# The long form of tests/attack, many minutes: thousands of damaged inputs for every reader, and
# constants, losses and rates from the edges of float32. Status 1 if one is not handled.
attack: setup
	$(BIN)/python -m tests.attack --out benchmarks/results/attack.json
	@for backend in tensorflow jax; do KERAS_BACKEND=$$backend $(BIN)/python -m tests.attack.rates \
	  --count 10000 --out benchmarks/results/attack.json || exit 1; done

lint: setup
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

bench: setup
	$(BIN)/python -m benchmarks.overhead
	$(BIN)/python -m benchmarks.probe_overhead

clean:
	rm -rf $(VENV) build dist runs *.egg-info
