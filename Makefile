# Two commands: `make app` and `make test`. Both make .venv first when it is not there, or when a requirement changed.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
POOL ?= pools/demo
PORT ?= 8501

.PHONY: app setup test lint clean

app: $(VENV)/.installed
	@test -f $(POOL)/pool.json || $(BIN)/chips demo $(POOL)
	$(BIN)/chips app $(POOL) --port $(PORT)

setup: $(VENV)/.installed

test: $(VENV)/.installed-dev
	$(BIN)/python -m pytest -n 2 --dist worksteal

lint: $(VENV)/.installed-dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

$(VENV)/.installed: requirements.txt pyproject.toml
	@$(PYTHON) -c 'import sys; ok = (3, 11) <= sys.version_info[:2] <= (3, 13); sys.exit(0 if ok else "Python 3.11, 3.12 or 3.13 is needed, this is %d.%d. Fix: make PYTHON=python3.11 app" % sys.version_info[:2])'
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --disable-pip-version-check -r requirements.txt
	$(BIN)/pip install --quiet --disable-pip-version-check --no-deps --editable .
	@touch $@

$(VENV)/.installed-dev: $(VENV)/.installed requirements-dev.txt
	$(BIN)/pip install --quiet --disable-pip-version-check -r requirements-dev.txt
	@touch $@

clean:
	rm -rf $(VENV) build dist *.egg-info
