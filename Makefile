# Two commands do all the set-up on a fresh machine: `make demo` and `make test`. A second run of either is quick.
PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin
PIP     = $(BIN)/python -m pip install -qq --disable-pip-version-check --constraint .constraints.txt

.PHONY: demo test clean

demo: $(VENV)/.run-installed
	$(BIN)/normfold optimize models/levit_like.onnx --output $(VENV)/levit_like.opt.onnx

test: $(VENV)/.test-installed
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/python -m pytest --numprocesses auto

$(BIN)/python:
	$(PYTHON) -m venv $(VENV)

$(VENV)/.run-installed: pyproject.toml .constraints.txt | $(BIN)/python
	$(PIP) --editable .
	@touch $@

$(VENV)/.test-installed: pyproject.toml .constraints.txt | $(BIN)/python
	$(PIP) --editable '.[dev,torch]'
	@touch $@ $(VENV)/.run-installed

clean:
	rm -rf $(VENV) build dist *.egg-info
