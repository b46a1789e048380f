# Everything starts here: `make demo`, `make test`, `make check`. Needed: Python 3.11, make, network to the package index.
PYTHON ?= $(shell command -v python3.11 || command -v python3)
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/ready-$(shell cat requirements.lock packages.txt | cksum | cut -d' ' -f1)
BLENDER_READY := envs/blender/.venv/ready-$(shell cat envs/blender/*.lock envs/blender/install.sh packages-blender.txt | cksum | cut -d' ' -f1)
UV_VERSION := $(shell sed -n 's/^uv==\([^ ]*\).*/\1/p' requirements.lock)
TESTS ?= tests

.PHONY: demo test check format config lock environment blender clean
.DEFAULT_GOAL := demo

demo: $(READY)  ## make the demo: parts, scenes, training, estimates, scores, report
	@$(BIN)/snakemake
	@echo "look at results/demo/report.html"

test: $(READY)
	@$(BIN)/python -m pytest $(TESTS)

check: $(READY)
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/snakefmt --check Snakefile rules
	$(BIN)/snakemake --lint
	$(BIN)/mypy
	$(BIN)/python workflow_scripts/generate_config.py --check
	$(BIN)/python -m pytest tests/test_rooms.py

format: $(READY)
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .
	$(BIN)/snakefmt Snakefile rules

config: $(READY)  ## config.yaml and its schema, from the settings in pose_models/workflow/
	$(BIN)/python workflow_scripts/generate_config.py

lock: $(READY)  ## requirements.lock, from pyproject.toml; Blender's, from envs/blender/*.in
	$(BIN)/uv pip compile --quiet pyproject.toml --extra dev --python-version 3.11 --generate-hashes -o requirements.lock
	for name in inside outside; do $(BIN)/uv pip compile --quiet envs/blender/$$name.in --python-version 3.11 \
	    --generate-hashes -o envs/blender/$$name.lock; done

environment: $(READY)

blender: $(READY) $(BLENDER_READY)  ## Blender, for path-traced images: about 350 MB to download

$(BLENDER_READY): | $(READY)
	@sh workflow_scripts/system_packages.sh packages-blender.txt
	@index=$$($(BIN)/python -m pip config get global.index-url 2>/dev/null); \
	    $${index:+env UV_DEFAULT_INDEX="$$index"} sh envs/blender/install.sh $(CURDIR)/$(BIN)/uv $(CURDIR)/$(BIN)/python
	@rm -f envs/blender/.venv/ready-* && touch $@

$(READY):
	@$(PYTHON) -c 'import sys; sys.version_info[:2] == (3, 11) or sys.exit("Python 3.11 is needed; name it: make PYTHON=/path/to/python3.11")'
	@sh workflow_scripts/system_packages.sh packages.txt
	@test "$$($(BIN)/uv --version 2>/dev/null | cut -d' ' -f2)" = "$(UV_VERSION)" || \
	    { $(PYTHON) -m venv $(VENV) && sed -n '/^uv==/,/[^\\]$$/p' requirements.lock > $(VENV)/uv.txt \
	    && $(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r $(VENV)/uv.txt; }
	@index=$$($(BIN)/python -m pip config get global.index-url 2>/dev/null); \
	    VIRTUAL_ENV=$(VENV) $${index:+env UV_DEFAULT_INDEX="$$index"} $(BIN)/uv pip sync --require-hashes requirements.lock
	@echo "$(CURDIR)" > $(VENV)/lib/python3.11/site-packages/bopflow.pth
	@$(BIN)/python -m pose_models.compiled >/dev/null  # compile once, before anything is timed or runs in parallel
	@rm -f $(VENV)/ready-* && touch $@

clean:  ## remove everything that was made, the environment included
	rm -rf $(VENV) envs/blender/.venv .snakemake data results logs
