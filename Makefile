# Everything a developer or a CI machine runs. It needs Python 3.11+, make and a redis-server;
# the rest is installed into $(VENV).

PYTHON ?= python3
VENV ?= .venv
DJANGO ?=
ARGS ?=

bin := $(VENV)/bin

.DEFAULT_GOAL := help
.PHONY: help test test-faults bench demo docs lint format clean FORCE

help:
	@echo "make test        run the tests against real Redis and Valkey servers"
	@echo "make test-faults kill, freeze, cut off and fill real servers and workers"
	@echo "make bench       measure the speed, each figure beside the floor of redis-py and the server"
	@echo "make demo        run the example project's demo with an embedded server"
	@echo "make docs        build the documentation, warnings are errors"
	@echo "make lint        check style (ruff) and types (mypy)"
	@echo "make format      rewrite the code in the project's style"
	@echo "make clean       remove the virtual environment and everything built"
	@echo
	@echo "Variables: PYTHON=$(PYTHON)  VENV=$(VENV)  DJANGO='django~=5.2.0' (a requirement; newest when empty)"
	@echo "           ARGS='-k lease -x' (passed on to pytest, to the benchmark or to the demo)"

# Most of a test is waiting for servers and processes, so a few of them share a core; those of one file
# share their servers.
parallel := -n 3 --dist loadfile

test: $(VENV)/.installed-test
	$(bin)/python runtests.py $(parallel) -m "not docker and not faults" $(ARGS)

test-faults: $(VENV)/.installed-test
	$(bin)/python runtests.py $(parallel) -m faults $(ARGS)

bench: $(VENV)/.installed-embedded
	$(bin)/python -m benchmarks $(ARGS)

demo: $(VENV)/.installed-embedded
	$(bin)/python example_project/demo.py $(ARGS)

lint: $(VENV)/.installed-dev
	$(bin)/ruff check .
	$(bin)/ruff format --check .
	$(bin)/mypy

docs: $(VENV)/.installed-docs
	$(bin)/sphinx-build -q -W --keep-going -b html docs build/docs
	@echo "The pages are in build/docs/index.html"

format: $(VENV)/.installed-dev
	$(bin)/ruff check --fix-only .
	$(bin)/ruff format .

clean:
	rm -rf $(VENV) build dist *.egg-info .mypy_cache .pytest_cache .ruff_cache .hypothesis
	find . -name __pycache__ -type d -not -path './.venv*' -not -path './.git/*' -prune -exec rm -rf {} +

# One stamp an extra: nothing is installed again until pyproject.toml or $(DJANGO) changes.
# Django is named and --upgrade given, so that an empty DJANGO undoes an earlier pin.
$(VENV)/.installed-%: pyproject.toml $(VENV)/.django
	$(bin)/python -m pip install --quiet --upgrade -e '.[$*]' '$(or $(DJANGO),django)'
	@touch $@

# Rewritten only when $(DJANGO) is not what it was at the last install.
$(VENV)/.django: FORCE | $(bin)/python
	@echo '$(DJANGO)' | cmp -s - $@ || echo '$(DJANGO)' > $@

$(bin)/python:
	$(PYTHON) -m venv $(VENV)
