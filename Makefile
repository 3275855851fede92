# Four commands: `make demo` (see it work), `make test` (everything CI runs), `make test-fresh`
# (the README's commands on fresh Debians) and `make clean`.
# They need Python 3.11, 3.12 or 3.13 with venv, and two libraries; tools/prepare.sh reports what is
# missing. PYTHON names another Python: make test PYTHON=python3.13. ARGS are for `enginix up demo`.
PYTHON ?= python3
ARGS ?=
VENV := .venv
# Each Python is tested in its own environment.
TESTED := $(VENV)$(if $(filter-out python3,$(PYTHON)),-$(notdir $(PYTHON)))
ENGINIX := $(VENV)/bin/enginix

.PHONY: demo test test-fresh test-lowest test-modelopt test-edge-llm test-real-model test-agents \
	test-openwebui lint format clean

demo: $(VENV)/installed
	@exec $(ENGINIX) up demo $(ARGS)

test: $(TESTED)/installed-dev
	@VENV=$(TESTED) exec tools/test.sh

test-fresh:
	@exec tools/test-fresh.sh

# The lowest release of each dependency that python/pyproject.toml allows.
test-lowest: $(VENV)/installed-dev
	@exec tools/test-lowest.sh

# Records NVIDIA ModelOpt's output again, and compares: 2 GB of packages, then half a minute.
test-modelopt: $(VENV)/installed-dev
	@tools/modelopt/prepare.sh "$(PYTHON)" .venv-modelopt
	@tools/modelopt/test.sh

# TensorRT Edge-LLM's own builder and server on a CPU: 200 MB of packages, then half a minute.
test-edge-llm: $(VENV)/installed-dev
	@tools/edge-llm/prepare.sh "$(PYTHON)" .venv-edge-llm
	@tools/edge-llm/test.sh .venv-edge-llm

# Codex, Claude Code, opencode and aider themselves, on loopback: 2 GB of packages, then three minutes.
test-agents: $(VENV)/installed-dev
	@tools/agents/prepare.sh "$(PYTHON)" .agents
	@tools/agents/test.sh .agents

# Open WebUI itself in Chromium, against the demo: 3 GB of packages or more, then a minute.
test-openwebui: $(VENV)/installed-dev
	@tools/open-webui/prepare.sh "$(PYTHON)" .open-webui
	@tools/open-webui/test.sh .open-webui

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
	@tools/prepare.sh "$(PYTHON)" $(VENV) ./python demo $(ARGS)
	@touch $@

%/installed-dev: python/pyproject.toml tools/prepare.sh
	@tools/prepare.sh "$(PYTHON)" $* './python[dev]'
	@touch $@ $*/installed

clean:
	rm -rf $(VENV) .agents .open-webui $(VENV)-* .real-model .nix .mypy_cache .ruff_cache .pytest_cache .hypothesis
