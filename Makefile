# Everything here needs python3 (3.11 or newer), make and a package registry, nothing else.
#
#   TORCH_INDEX_URL   where to get torch from. On Linux the registry's own torch is the CUDA build
#                     (several GB); the address of a CPU index, as PyTorch's installation page
#                     names it, or a pip configuration that knows a CPU wheel, avoids that. A CUDA
#                     index here is what a GPU machine wants.
#   PYTHON            the interpreter that makes the environment (default: python3)
#   BIN               the bin folder of an environment that has everything already; then nothing
#                     is installed
#   ARGS              more arguments for pytest: make test ARGS="-k kv_cache"; for make validate
#                     and make gpu, their own: make validate ARGS=kv_cache, make gpu ARGS="--skip kernels"
#   OUT               where make gpu writes (default: out/gpu)

PYTHON ?= python3
ARGS ?=
JOBS ?= 2
DECIDING := intake correctness performance/decide judge record

ifdef BIN
INSTALLED :=
else
BIN := .venv/bin
INSTALLED := .venv/.installed
endif

.DEFAULT_GOAL := help
.PHONY: help setup demo test validate check docs coverage gpu

help: ## Show this list
	@awk -F ':.*## ' '/^[a-z]+:.*## / { printf "make %-8s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

setup: $(INSTALLED) ## Make .venv with everything in it; done by the others when needed

demo: $(INSTALLED) ## Grade a sample class and show where the report lies
	$(BIN)/python -m examples.sample_class

test: $(INSTALLED) ## Run all tests that this machine can run, in JOBS processes (default 2)
	$(BIN)/python -m pytest --numprocesses $(JOBS) --dist loadfile $(ARGS)

validate: $(INSTALLED) ## Grade every known-wrong and known-right submission of every assignment
	$(BIN)/grader validate $(ARGS)

check: $(INSTALLED) ## Before each commit: format, lint, types, imports, fast unit tests
	$(BIN)/python -m ruff format --check .
	$(BIN)/python -m ruff check .
	$(BIN)/python -m mypy
	$(BIN)/python -m deptry grader benchmarks examples kernels reference assignments
	$(BIN)/python -m deptry tests --exclude '^$$' --ignore DEP002,DEP004
	$(BIN)/python -m pytest tests/unit -q -x -m "not slow" --numprocesses $(JOBS) --dist loadfile $(ARGS)

coverage: $(INSTALLED) ## Print how much of what decides a grade its unit tests run
	$(BIN)/python -m pytest $(addprefix tests/unit/,$(DECIDING)) -q -m "not slow" \
	  $(foreach part,$(DECIDING),--cov=grader/$(part)) --cov-branch --cov-report=term:skip-covered

docs: $(INSTALLED) ## Build the documentation site in out/site; a broken link is an error
	$(BIN)/python docs/generate.py
	NO_MKDOCS_2_WARNING=1 $(BIN)/python -m mkdocs build --strict --quiet

gpu: $(INSTALLED) ## Run what needs a GPU, results in OUT (default out/gpu); refuses without one
	$(BIN)/python -m benchmarks.gpu --out "$(or $(OUT),out/gpu)" $(ARGS)

# torch first and by itself, so that its index serves nothing else. A change of dependencies
# installs again into the same environment.
.venv/.installed: pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.version_info >= (3, 11) or sys.exit( \
	"make setup: Python 3.11 or newer is needed, found " + sys.version.split()[0] + "; set PYTHON")'
	@echo "setting up .venv (a few minutes the first time)"
	$(PYTHON) -m venv .venv
	.venv/bin/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt \
	  $(if $(TORCH_INDEX_URL),--index-url "$(TORCH_INDEX_URL)") torch
	.venv/bin/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt \
	  --editable '.[dev]'
	@touch $@
