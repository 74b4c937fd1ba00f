# Two commands do everything: `make train` and `make test`. Both set up .venv first, with the releases that
# LOCK pins. `make LOCK=.ci/lock/oldest.txt PYTHON=python3.10 VENV=.venv-oldest test` takes the oldest ones.
PYTHON ?= python3
VENV   ?= .venv
LOCK   ?= .ci/lock/locked.txt
BIN    := $(VENV)/bin
STAMP  := $(VENV)/.installed
TOOLS  := $(VENV)/.cluster-tools
UV     := "uv>=0.9"
NATIVE := setup.py CMakeLists.txt pyproject.toml $(wildcard csrc/*)

.PHONY: train search test test-slow test-dali test-versions lock lint docs bench bench-record wheel bundle release-check install cluster-tools clean

train: $(STAMP)
	$(BIN)/python -m bodvcl.train --fast

# From rendered videos to a page that shows which look alike and which move alike, in minutes on a CPU.
search: $(STAMP)
	$(BIN)/python examples/find_alike.py --out build/search $(ARGS)

# Coverage is cheap from Python 3.12 on and reported there. Before, the tests take about three times as long with
# it: make test COVERAGE=yes measures it all the same, make test COVERAGE= never.
COVERAGE ?= $(shell $(BIN)/python -c "import sys; print('yes' if sys.version_info >= (3, 12) else '')")

test: $(STAMP)
	$(BIN)/python -m pytest $(if $(COVERAGE),--cov=bodvcl --cov-report=term:skip-covered)

test-slow: $(STAMP)
	$(BIN)/python -m pytest -m slow

# DALI is optional and large; these tests skip without it.
test-dali: $(STAMP)
	$(BIN)/pip install -q "nvidia-dali-cuda130>=2.4"
	$(BIN)/python -m pytest tests/data/test_dali.py tests/data/test_source.py

# The tests on the oldest and newest releases that pyproject.toml promises: an environment each in build/nox.
# One of them, or some tests only: make test-versions ARGS="-s newest -- tests/ops"
test-versions: | $(BIN)/python
	$(BIN)/pip install -q "nox>=2025.2" $(UV)
	PATH="$(abspath $(BIN)):$$PATH" $(BIN)/nox -f .ci/noxfile.py --envdir $(CURDIR)/build/nox $(ARGS)

# Pin again what the ranges of pyproject.toml give today.
lock: | $(BIN)/python
	$(BIN)/pip install -q $(UV)
	PATH="$(abspath $(BIN)):$$PATH" .ci/lock/compile

lint: $(STAMP)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

# The documentation as a site in build/site; a broken link or anchor fails.
docs: $(STAMP)
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict

bench: $(STAMP)
	$(BIN)/python -m pytest bench/

bench-record: $(STAMP)
	mkdir -p build/bench
	$(BIN)/python -m bodvcl.info --json > build/bench/info.json
	$(BIN)/python -m pytest bench/ --benchmark-json=build/bench/bench.json
	$(BIN)/python bench/collect.py build/bench bench/results

# What an index serves, in dist, of the commit: the sdist, and wheels for manylinux_2_28 (docs/wheels.md).
WHEELS ?= cuda cpu sdist

wheel: $(TOOLS)
	$(BIN)/python .ci/wheel $(WHEELS)

# What `make wheel` left in dist, as an index and its users meet it, in empty environments (docs/release.md).
# One environment: make release-check ARGS="--only torch2.11"
release-check: $(TOOLS)
	PATH="$(abspath $(BIN)):$$PATH" $(BIN)/python .ci/release $(ARGS)

# The wheel in dist/ (or WHEEL) and all that it needs in one folder, for machines without a network: docs/offline.md.
PYTHON_VERSION ?= 3.12
PLATFORM       ?= manylinux_2_28_x86_64
OUT            ?= build/bundle
PINS           ?= .ci/lock/locked.txt

bundle: $(TOOLS)
	PYTHONPATH=.ci $(BIN)/python -m bundle --python-version "$(PYTHON_VERSION)" --platform "$(PLATFORM)" \
	  --extras "$(EXTRAS)" --wheel "$(WHEEL)" --torch-index "$(TORCH_INDEX)" --lock "$(PINS)" --out "$(OUT)"

install: $(STAMP)

# What builds, checks and describes wheels, bundles and containers.
cluster-tools: $(TOOLS)

$(TOOLS): .ci/lock/cluster.txt | $(STAMP)
	$(BIN)/pip install -q --require-hashes -r .ci/lock/cluster.txt
	touch $@

$(BIN)/python:
	$(PYTHON) -m venv $(VENV)

# The operators are compiled against the PyTorch that is installed first; without a compiler the package
# installs all the same and `bodvcl info` says which operators take the PyTorch path.
$(STAMP): $(NATIVE) $(LOCK) | $(BIN)/python
	$(BIN)/pip install -q --require-hashes -r $(LOCK)
	$(BIN)/pip install -q --no-deps --no-build-isolation -e .
	$(BIN)/python -m bodvcl.info --brief
	touch $@

clean:
	rm -rf build dist *.egg-info bodvcl/*.so bodvcl/build.json $(STAMP)
