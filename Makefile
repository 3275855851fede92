# Three commands: `make demo` (see it work), `make test` (everything CI runs), `make clean`.
# They need Python >= 3.11 with venv, and nothing else; tools/prepare.sh says what is missing.
PYTHON ?= python3
VENV := .venv
ENGINIX := $(VENV)/bin/enginix

.PHONY: demo test lint format clean

demo: $(VENV)/installed
	@exec $(ENGINIX) up demo

test: $(VENV)/installed-dev
	@exec tools/test.sh

lint: $(VENV)/installed-dev
	$(VENV)/bin/ruff format --check .
	$(VENV)/bin/ruff check .
	$(VENV)/bin/mypy

format: $(VENV)/installed-dev
	$(VENV)/bin/ruff format .
	$(VENV)/bin/ruff check --fix .

$(VENV)/installed: python/pyproject.toml tools/prepare.sh
	@tools/prepare.sh "$(PYTHON)" $(VENV) ./python
	@touch $@

$(VENV)/installed-dev: python/pyproject.toml tools/prepare.sh
	@tools/prepare.sh "$(PYTHON)" $(VENV) './python[dev]'
	@touch $@ $(VENV)/installed

clean:
	rm -rf $(VENV) .venv-litellm .venv-modelopt .nix .mypy_cache .ruff_cache .pytest_cache .hypothesis
