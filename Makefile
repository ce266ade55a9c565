# Two commands on a fresh machine: `make demo` and `make test`. Both set up what they need in .venv.

PYTHON ?= python3
BIN := .venv/bin
STAMP := .venv/.perdure-setup

.PHONY: setup demo test soak check bench clean lock

setup: $(STAMP)

# uv comes into the environment too, so that Python, make and a C compiler are all that must be there.
$(STAMP): requirements/dev.lock pyproject.toml
	@sh scripts/require.sh python "$(PYTHON)"
	@echo "setup: Python packages from requirements/dev.lock into .venv"
	@test -x $(BIN)/python || $(PYTHON) -m venv .venv
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements/uv.lock
	@$(BIN)/uv pip sync --python $(BIN)/python --require-hashes requirements/dev.lock
	@$(BIN)/uv pip install --python $(BIN)/python --quiet --no-deps --editable .
	@touch $(STAMP)
	@echo "setup: done; $$($(BIN)/perdure --version) is at $(BIN)/perdure"

demo:
	@sh scripts/require.sh demo
	@$(MAKE) --no-print-directory --silent setup
	@$(BIN)/perdure demo --yes --report build/demo

test:
	@sh scripts/require.sh test
	@$(MAKE) --no-print-directory --silent setup
	@$(BIN)/python -m pytest -m "not soak"

soak:
	@sh scripts/require.sh test
	@$(MAKE) --no-print-directory --silent setup
	@$(BIN)/python -m pytest -m soak

check: setup
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/pyright

bench: setup
	@$(BIN)/python bench/startup.py
	@$(BIN)/python bench/journal.py

# Compile the locks anew; hashes for every platform, no address of any index.
lock: setup
	@$(BIN)/uv pip compile --universal --generate-hashes --no-emit-index-url --no-header --python-version 3.11 \
	  --quiet --upgrade pyproject.toml -o requirements/run.lock
	@$(BIN)/uv pip compile --universal --generate-hashes --no-emit-index-url --no-header --python-version 3.11 \
	  --quiet --upgrade pyproject.toml --group dev --extra hub -o requirements/dev.lock
	@echo uv | $(BIN)/uv pip compile --universal --generate-hashes --no-emit-index-url --no-header \
	  --python-version 3.11 --quiet --upgrade - -o requirements/uv.lock

clean:
	rm -rf .venv build dist
