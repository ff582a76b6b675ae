# Two commands do everything, set-up included: `make quickstart` and `make test`.
PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin
READY  := $(VENV)/.ready
PEERS  := .venv-peers

.PHONY: quickstart smoke test test-all lint venv peers docs clean

quickstart: $(READY)  ## teach Gemma 3 270M to see the embedded pictures, and write a report (about ten minutes)
	$(BIN)/lorgnette quickstart

smoke: $(READY)       ## the same in a few minutes, with a fraction of the data
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

peers: $(PEERS)/.ready  ## open-flamingo, flamingo-pytorch and webdataset in an environment of their own, for benchmarks/; on Python 3.10 or 3.11

$(PEERS)/.ready: benchmarks/peers.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info >= (3, 12) and "tokenizers 0.13.3, which the peer needs, has no \
	wheel after Python 3.11: make peers PYTHON=python3.11")'
	test -x $(PEERS)/bin/python || $(PYTHON) -m venv $(PEERS)
	$(PEERS)/bin/python -m pip install --quiet --disable-pip-version-check uv || true
	if [ -x $(PEERS)/bin/uv ]; then install="$(PEERS)/bin/uv pip install --compile-bytecode --python $(PEERS)/bin/python"; \
	else install="$(PEERS)/bin/python -m pip install"; fi; \
	$$install --quiet --constraint benchmarks/peers.txt \
	    torch torchvision numpy transformers safetensors open-clip-torch einops einops-exts webdataset && \
	$$install --quiet --constraint benchmarks/peers.txt --no-deps open-flamingo flamingo-pytorch
	touch $@

clean:
	rm -rf $(VENV) $(PEERS) build dist *.egg-info .mypy_cache .ruff_cache .pytest_cache
