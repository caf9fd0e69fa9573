# make help shows what there is.
PYTHON ?= python3
PRESET ?= quick
DEVICE ?= auto
JOBS   ?=

.DEFAULT_GOAL := help
.PHONY: help read book pdf edition test lint format clean

ready := .venv/.ready

help:  ## show this
	@awk -F ':.*## ' '/^[a-z]+:.*## / {printf "  make %-8s %s\n", $$1, $$2}' $(MAKEFILE_LIST)
	@echo "  settings:     PRESET=smoke|quick|edition|paper  JOBS=n  DEVICE=auto|cpu|cuda  PYTHON=python3.11  VERSION=YEAR.NUMBER"

book: $(ready)  ## set up, execute the notebooks, render _build/html/index.html
	.venv/bin/python -m lib book --preset $(PRESET) --device $(DEVICE) $(if $(JOBS),--jobs $(JOBS))

read: $(ready)  ## set up, render the book from the recorded results; nothing is executed
	.venv/bin/python -m lib read

pdf: $(ready)  ## print the pages that are there as _build/pdf/book.pdf, by the system's Chromium
	.venv/bin/python -m lib pdf

edition: $(ready)  ## keep the book that was made of this commit as an archive: make edition VERSION=2026.1
	.venv/bin/python -m lib edition '$(VERSION)'

test: $(ready)  ## set up, run every check
	.venv/bin/ruff check .
	.venv/bin/ruff format --check .
	.venv/bin/python -m pytest --numprocesses $(or $(JOBS),2) --dist loadfile --no-loadscope-reorder

lint: $(ready)  ## check style and format
	.venv/bin/ruff check .
	.venv/bin/ruff format --check .

format: $(ready)  ## put the sources in the house's format
	.venv/bin/ruff check --fix .
	.venv/bin/ruff format .

clean:  ## delete what was built, also the cache of fits; .venv stays
	rm -rf _build

# The stamp is written last: an installation that was interrupted is made again.
$(ready): requirements.txt pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo "Python 3.11 or newer is needed; $(PYTHON) is $$($(PYTHON) --version 2>&1). Name another: make $(MAKECMDGOALS) PYTHON=..."; exit 2; }
	$(PYTHON) -m venv .venv
	.venv/bin/python -m pip install --quiet --requirement requirements.txt
	.venv/bin/python -m pip install --quiet --no-deps --editable .
	@touch $@
