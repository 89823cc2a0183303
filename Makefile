# `make` lists what there is. Everything is set up by itself in .venv, made with $(PYTHON).

PYTHON ?= python3
VENV ?= .venv
BIN = $(VENV)/bin
PIP = $(BIN)/python -m pip --disable-pip-version-check --quiet

METADATA = setup.cfg setup.py pyproject.toml

# Test modules are shared out to the machine's cores; `make test WORKERS=` runs them in one process.
WORKERS = --numprocesses=auto --maxprocesses=4 --dist=loadfile --no-loadscope-reorder

# Tests start hundreds of processes, which would all compile what they import.
unexport PYTHONDONTWRITEBYTECODE

.PHONY: help demo test check coverage fuzz mutants docs units test-floors format clean

help:
	@echo 'make demo         start a relay, enrol two peers, exchange messages, clean up'
	@echo 'make test         run the tests'
	@echo 'make check        ruff and mypy'
	@echo 'make coverage     the branches of the core that its tests reach, 95 % at least'
	@echo 'make fuzz         an hour of random input for each parser, FUZZ_SECONDS=3600'
	@echo 'make mutants      see which changes of the core its tests notice, MUTANTS=securerelay.crypto.*'
	@echo 'make docs         build the documentation into docs/_build'
	@echo 'make units        let systemd judge the units, where it is installed'
	@echo 'make test-floors  run the tests with the oldest dependencies allowed'
	@echo 'make format       let ruff rewrite the code'
	@echo 'make clean        remove everything that these commands made'

demo: $(VENV)/.installed
	@$(BIN)/python tools/demo.py

test: $(VENV)/.installed-test
	$(BIN)/python -m pytest $(WORKERS) $(TESTS)

check: $(VENV)/.installed-dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

coverage: $(VENV)/.installed-test
	$(BIN)/python -m pytest --quiet $(WORKERS) --cov --cov-report= tests/crypto tests/protocol tests/identity
	$(BIN)/python -m coverage report --fail-under=95 \
	    --include='securerelay/crypto/*,securerelay/protocol/*,securerelay/identity/*'

FUZZ_SECONDS ?= 3600

fuzz: $(VENV)/.installed-test
	nice $(BIN)/python -m tests.fuzz --seconds $(FUZZ_SECONDS) $(FUZZ)

mutants: $(VENV)/.installed-mutants
	nice $(BIN)/mutmut run $(if $(MUTANTS),'$(MUTANTS)')
	$(BIN)/mutmut results

docs: $(VENV)/.installed-docs
	$(BIN)/python -m sphinx -W --keep-going --quiet -b html docs docs/_build/html
	$(BIN)/python -m sphinx -W --keep-going --quiet -b man docs docs/_build/man
	@echo 'docs/_build/html/index.html, man pages in docs/_build/man'

units: $(VENV)/.installed
	@tools/check-units $(BIN)/twistd

test-floors: .venv-floors/.installed
	.venv-floors/bin/python -m pytest $(WORKERS) $(TESTS)

format: $(VENV)/.installed-dev
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

clean:
	rm -rf .venv .venv-floors build dist docs/_build *.egg-info
	rm -rf .pytest_cache .mypy_cache .ruff_cache .hypothesis .coverage _trial_temp* mutants
	find . -name __pycache__ -prune -exec rm -rf {} +
	rm -f twisted/plugins/dropin.cache

# A stamp for each set of extras, made anew when the metadata change.
$(VENV)/.installed: $(METADATA) | $(BIN)/python
	@echo 'Installing SecureRelay into $(VENV) ...'
	@$(PIP) install --editable .
	@touch $@

$(VENV)/.installed-%: $(METADATA) | $(BIN)/python
	@echo 'Installing SecureRelay and what "$*" needs into $(VENV) ...'
	@$(PIP) install --editable '.[test,$*]'
	@touch $@

$(BIN)/python:
	@sh tools/make-venv '$(PYTHON)' '$(VENV)'

.venv-floors/.installed: $(METADATA) tools/floors.py
	@sh tools/make-venv '$(PYTHON)' .venv-floors
	@.venv-floors/bin/python tools/floors.py > .venv-floors/floors.txt
	@echo 'Installing the oldest dependencies into .venv-floors ...'
	@.venv-floors/bin/python -m pip --disable-pip-version-check --quiet install \
	    --constraint .venv-floors/floors.txt --editable '.[test]'
	@touch $@
