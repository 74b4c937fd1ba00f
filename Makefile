# Two commands do everything: `make train` and `make test`. Both set up .venv first.
PYTHON ?= python3
VENV   ?= .venv
BIN    := $(VENV)/bin
STAMP  := $(VENV)/.installed
NATIVE := setup.py CMakeLists.txt pyproject.toml $(wildcard csrc/*)

.PHONY: train test test-slow test-dali lint bench bench-record wheel install clean

train: $(STAMP)
	$(BIN)/python -m bodvcl.train --fast

test: $(STAMP)
	$(BIN)/python -m pytest

test-slow: $(STAMP)
	$(BIN)/python -m pytest -m slow

# DALI is optional and large; these tests skip without it.
test-dali: $(STAMP)
	$(BIN)/pip install -q "nvidia-dali-cuda130>=2.4"
	$(BIN)/python -m pytest tests/data/test_dali.py tests/data/test_source.py

lint: $(STAMP)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

bench: $(STAMP)
	$(BIN)/python -m pytest bench/

bench-record: $(STAMP)
	mkdir -p build/bench
	$(BIN)/python -m bodvcl.info --json > build/bench/info.json
	$(BIN)/python -m pytest bench/ --benchmark-json=build/bench/bench.json
	$(BIN)/python bench/collect.py build/bench bench/results

wheel: $(STAMP)
	$(BIN)/pip wheel --no-deps --no-build-isolation -w dist .

install: $(STAMP)

$(BIN)/python:
	$(PYTHON) -m venv $(VENV)

# The operators are compiled against the PyTorch that is installed first; without a compiler the package
# installs all the same and `bodvcl info` says which operators take the PyTorch path.
$(STAMP): $(NATIVE) | $(BIN)/python
	$(BIN)/pip install -q "setuptools>=77" "cmake>=3.22" ninja "torch>=2.11"
	$(BIN)/pip install -q --no-build-isolation -e ".[test]"
	$(BIN)/python -m bodvcl.info --brief
	touch $@

clean:
	rm -rf build dist *.egg-info bodvcl/*.so bodvcl/build.json $(STAMP)
