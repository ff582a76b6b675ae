# Two commands do everything, set-up included: `make quickstart` and `make test`.
PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin
READY  := $(VENV)/.ready

.PHONY: quickstart smoke test test-all lint venv docs clean

quickstart: $(READY)  ## teach Gemma 3 270M to see the embedded pictures, and write a report (about ten minutes)
	$(BIN)/lorgnette quickstart

smoke: $(READY)       ## the same in about a minute, with a fraction of the data
	$(BIN)/lorgnette quickstart --smoke

test: lint            ## the default suite
	$(BIN)/python -m pytest

test-all: lint        ## the slow tests too
	$(BIN)/python -m pytest --run-slow

lint: $(READY)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/lint-imports --no-cache
	$(BIN)/mypy

docs: $(READY)        ## the pages and the reference, into site/
	$(BIN)/mkdocs build --quiet

venv: $(READY)

$(READY): pyproject.toml constraints.txt
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check uv || true
	if [ -x $(BIN)/uv ]; then $(BIN)/uv pip install --quiet --compile-bytecode --python $(BIN)/python --constraint constraints.txt -e '.[dev]'; \
	else $(BIN)/python -m pip install --quiet --constraint constraints.txt -e '.[dev]'; fi
	touch $@

clean:
	rm -rf $(VENV) build dist *.egg-info .mypy_cache .ruff_cache .pytest_cache
