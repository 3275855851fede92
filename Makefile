# Three commands: `make demo` (see it work), `make test` (everything CI runs), `make clean`.
# They need Python >= 3.11 with venv, and nothing else; tools/prepare.sh says what is missing.
PYTHON ?= python3
VENV := .venv
ENGINIX := $(VENV)/bin/enginix

.PHONY: demo test test-lowest test-modelopt test-real-model lint format clean

demo: $(VENV)/installed
	@exec $(ENGINIX) up demo

test: $(VENV)/installed-dev
	@exec tools/test.sh

# The lowest release of each dependency that python/pyproject.toml allows.
test-lowest: $(VENV)/installed-dev
	@exec tools/test-lowest.sh

# Records anew what NVIDIA's ModelOpt writes, and compares: 2 GB of packages, then half a minute.
test-modelopt: $(VENV)/installed-dev
	@tools/modelopt/prepare.sh "$(PYTHON)" .venv-modelopt
	@tools/modelopt/test.sh

# Opt-in: 2 GB of packages, 400 MB of checkpoints, 7 to 14 minutes. See tools/real-model/README.md.
test-real-model: $(VENV)/installed-dev
	@tools/modelopt/prepare.sh "$(PYTHON)" .venv-modelopt
	@tools/real-model/make.sh .venv-modelopt/bin/python .real-model
	@$(ENGINIX) setup triton-cpu
	@ENGINIX_TEST_REAL_MODEL="$(CURDIR)/.real-model" \
		ENGINIX_TEST_REAL_MODEL_PYTHON="$(CURDIR)/.venv-modelopt/bin/python" \
		$(VENV)/bin/pytest -c tests/pytest.ini tests/end_to_end/test_real_model.py

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
	rm -rf $(VENV) .venv-litellm .venv-lowest .venv-modelopt .real-model .nix .mypy_cache .ruff_cache \
		.pytest_cache .hypothesis
