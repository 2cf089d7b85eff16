# Each target works alone on a fresh clone with nothing but Python 3.11 or newer: it makes .venv first.

PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
AGENTS ?= .venv-agents
JOBS ?= auto
# A file's tests run in one process, in their order.
PYTEST := $(BIN)/python -m pytest --numprocesses $(JOBS) --dist loadfile
# Startables are named to no tool (114, 128); Quart makes a thread of every handler that is not async (124); httpx's
# own face is all that we use of it (127).
NOT_OURS := ASYNC114,ASYNC124,ASYNC127,ASYNC128
SOURCES := ainf tests benchmarks

.PHONY: demo test tests check law mutations bench soak fuzz agents clean

$(BIN)/ainf: pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "ainf needs Python 3.11 or newer: make PYTHON=python3.11"; exit 1; }
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable .
	@touch $@

$(VENV)/.dev: pyproject.toml $(BIN)/ainf
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[dev]'
	@touch $@

demo: $(BIN)/ainf            ## start simulator and gateway, show three endings; ONCE=1 exits afterwards
	$(BIN)/ainf demo $(if $(ONCE),--once)

check: $(VENV)/.dev          ## lint, types, import contracts
	$(BIN)/ruff format --check $(SOURCES)
	$(BIN)/ruff check --output-format=concise $(SOURCES)
	$(BIN)/flake8-async --enable=ASYNC1,ASYNC2,ASYNC3 --disable=$(NOT_OURS) $(shell find ainf -name '*.py')
	$(BIN)/mypy
	$(BIN)/lint-imports --no-logo

test: check tests            ## the checks, then every test; the long suites run a part, by a printed seed

tests: $(VENV)/.dev          ## every test, in JOBS processes (as many as there are cores); LESS="tests/store" runs only these
	$(PYTEST) $(LESS)

law: $(VENV)/.dev            ## the long suites, whole
	AINF_LAW=full $(PYTEST) -m law

mutations: $(VENV)/.dev      ## break the gateway on purpose, one way at a time: each must fail a test; writes docs/mutations.md
	$(BIN)/python -m tests.mutations $(NAMES)

# An environment of its own, for frameworks bind many versions; with a new pip, for an old one finds no set of them.
$(AGENTS)/.agents: pyproject.toml
	$(PYTHON) -m venv $(AGENTS)
	$(AGENTS)/bin/python -m pip install --quiet --disable-pip-version-check --upgrade pip
	$(AGENTS)/bin/python -m pip install --quiet --disable-pip-version-check --editable '.[dev,agents]'
	npm install --silent --prefix $(AGENTS) @openai/codex @anthropic-ai/claude-code \
		|| echo "Codex and Claude Code are not installed; their tests are skipped."
	@touch $@

agents: $(AGENTS)/.agents    ## agent frameworks through a real gateway, five to ten minutes; see docs/agents.md
	$(AGENTS)/bin/python -m pytest tests/agents

bench: $(VENV)/.dev          ## cost per request, stream and frame; store latency
	$(BIN)/python -m benchmarks
	$(BIN)/python -m benchmarks.store_latency

soak: $(VENV)/.dev           ## half an hour of mixed load and faults: memory, descriptors, tasks, unexplained units; MINUTES=5
	$(BIN)/python -m benchmarks.soak --minutes $(or $(MINUTES),30)

$(VENV)/.fuzz: pyproject.toml $(VENV)/.dev
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[dev,fuzz]'
	@touch $@

fuzz: $(VENV)/.fuzz          ## what strangers send, changed at random and led by coverage; FUZZ_S=900 seconds, TARGET="edge sse"
	$(BIN)/python -m tests.fuzz $(TARGET)

clean:
	rm -rf $(VENV) $(AGENTS)
