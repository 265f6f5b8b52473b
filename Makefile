# Everything builds its own virtual environment in .venv; nothing needs root, Node or a service.
#
#   make demo      the live dashboard, on http://127.0.0.1:8888 (PORT=… for another port)
#   make chat      chat rooms that outlive their server, with their lines in ./chat.db
#   make llm       an answer, token by token, that reloads and lost connections can't hurt
#   make progress  long jobs that outlive their server, with their states in ./jobs.db
#   make test      all tests, with coverage (ARGS="-k handler" for some)
#   make check     what must be clean before a commit: lint, types, tests
#   make docs      the documentation, in docs/_build (ONLINE=1 links to Python's and Tornado's)
#   make bench     the benchmarks (ARGS="--quick" for a first look)

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PLUGINS := $(wildcard plugins/*)
PORT ?= 8888

.PHONY: demo hello chat llm progress test lint types check docs bench clean

demo: $(VENV)/.demo
	@exec $(BIN)/python -m demos.dashboard --port $(PORT)

hello: $(VENV)/.demo
	@exec $(BIN)/python -m demos.hello

chat: $(VENV)/.demo
	@exec $(BIN)/python -m demos.chat --port $(PORT)

llm: $(VENV)/.demo
	@exec $(BIN)/python -m demos.llm --port $(PORT)

progress: $(VENV)/.demo
	@exec $(BIN)/python -m demos.progress --port $(PORT)

test: $(VENV)/.test
	$(BIN)/coverage erase
	$(BIN)/coverage run -m pytest --numprocesses=auto --dist=loadfile $(ARGS)
	$(BIN)/coverage combine --quiet
	$(BIN)/coverage report $(if $(ARGS),--fail-under=0)

lint: $(VENV)/.lint
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: $(VENV)/.test $(VENV)/.lint
	$(BIN)/mypy

check: lint types test

docs: $(VENV)/.docs
	TORNADO_SSE_DOCS_ONLINE=$(ONLINE) $(BIN)/python -m sphinx --fail-on-warning --keep-going --quiet docs docs/_build
	@echo docs/_build/index.html

bench: $(VENV)/.demo
	@exec $(BIN)/python -m benchmarks $(ARGS)

clean:
	rm -rf $(VENV) .coverage .mypy_cache .ruff_cache .pytest_cache .hypothesis artifacts build dist docs/_build *.egg-info

$(BIN)/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
		{ echo "Python 3.11 or newer is needed; name one with make PYTHON=/path/to/python3.12"; exit 1; }
	$(PYTHON) -m venv $(VENV)

$(VENV)/.demo: setup.cfg pyproject.toml | $(BIN)/python
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[demo]'
	@touch $@

$(VENV)/.test: setup.cfg pyproject.toml $(PLUGINS:%=%/setup.cfg) | $(BIN)/python
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[demo,docs,test]' $(PLUGINS:%=--editable ./%)
	@touch $@

$(VENV)/.docs: setup.cfg pyproject.toml | $(BIN)/python
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[docs]'
	@touch $@

$(VENV)/.lint: setup.cfg | $(BIN)/python
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[lint,types]'
	@touch $@
