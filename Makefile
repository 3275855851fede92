# Four commands: `make demo` (see it work), `make test` (everything CI runs), `make test-fresh`
# (the README's commands on fresh Debians) and `make clean`.
# They need Python 3.11, 3.12 or 3.13 with venv, and two libraries; tools/prepare.sh says what is
# missing. PYTHON names another Python: make test PYTHON=python3.13. ARGS are for `enginix up demo`.
PYTHON ?= python3
ARGS ?=
VENV := .venv
# Each Python is tested in an environment of its own.
TESTED := $(VENV)$(if $(filter-out python3,$(PYTHON)),-$(notdir $(PYTHON)))
ENGINIX := $(VENV)/bin/enginix
# The demo's; with ARGS it is `enginix up` that looks.
PORTS := $(if $(ARGS),,8000 8001 8002 9000)

.PHONY: demo test test-fresh lint format clean

demo: $(VENV)/installed
	@exec $(ENGINIX) up demo $(ARGS)

test: $(TESTED)/installed-dev
	@VENV=$(TESTED) exec tools/test.sh

test-fresh:
	@exec tools/test-fresh.sh

lint: $(VENV)/installed-dev
	$(VENV)/bin/ruff format --check .
	$(VENV)/bin/ruff check .
	$(VENV)/bin/mypy

format: $(VENV)/installed-dev
	$(VENV)/bin/ruff format .
	$(VENV)/bin/ruff check --fix .

$(VENV)/installed: python/pyproject.toml tools/prepare.sh
	@tools/prepare.sh "$(PYTHON)" $(VENV) ./python $(PORTS)
	@touch $@

%/installed-dev: python/pyproject.toml tools/prepare.sh
	@tools/prepare.sh "$(PYTHON)" $* './python[dev]'
	@touch $@ $*/installed

clean:
	rm -rf $(VENV) $(VENV)-* .nix .mypy_cache .ruff_cache .pytest_cache .hypothesis
