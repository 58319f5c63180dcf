# Two commands do all the set-up on a fresh machine: `make demo` and `make test`. A second run of either is quick.
PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin
PIP     = $(BIN)/python -m pip install -qq --disable-pip-version-check --constraint .constraints.txt

# What make test-fast leaves out: torch, the browser, commands of the README, the ends of the sweeps, and `slow` tests.
SLOW   := pytorch report/test_as_html.py cli/test_export.py cli/test_optimize.py sweeps bench test_models.py test_readme.py \
	test_examples.py test_packaging.py

.PHONY: demo test test-fast help clean

demo: $(VENV)/.run-installed ## fold and prove one of the reference networks
	$(BIN)/normfold optimize models/levit_like.onnx --output $(VENV)/levit_like.opt.onnx

test: $(VENV)/.test-installed ## ruff, mypy and all tests
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/python -m pytest --numprocesses auto

test-fast: $(VENV)/.test-installed ## ruff and the tests that need neither torch nor a browser: under two minutes
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/python -m pytest --numprocesses auto -m "not slow" $(SLOW:%=--ignore=tests/%)

sweep-%: $(VENV)/.test-installed ## python -m tests.sweeps.%: mutants, faults, folds, proofs, ...
	$(BIN)/python -m tests.sweeps.$*

help: ## these lines
	@sed -nE 's/^([a-z%-]+):.*## (.*)/\1\t\2/p' Makefile | expand -t 12

$(BIN)/python:
	$(PYTHON) -m venv $(VENV)

$(VENV)/.run-installed: pyproject.toml .constraints.txt | $(BIN)/python
	$(PIP) --editable .
	@touch $@

$(VENV)/.test-installed: pyproject.toml .constraints.txt | $(BIN)/python
	$(PIP) --editable '.[dev,torch]'
	@touch $@ $(VENV)/.run-installed

clean: ## remove the environment and what was built
	rm -rf $(VENV) build dist *.egg-info
