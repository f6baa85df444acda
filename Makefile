# What each target needs, it installs: Python packages into .venv, kernel tools with apt-get.
SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
API ?= emulator
KEEP ?=
ONLY ?=
# Processes that share the tests, a file at a time; most of a test's time is waiting for something.
WORKERS ?= 2
SHARED = -n $(WORKERS) --dist loadfile
OTHER_SALTS := 3006 3007
# What depends on the version of Salt, and the whole loop.
SALT_TESTS := $(patsubst %,tests/functional/test_%.py,apply check discovery formula loader metrics minion_events \
                node_lists on_demand pillar_merging pillar_surroundings reactor recorder resolver runner \
                runner_minions salt_run setup targets) \
              tests/firewall/test_firewall_states.py tests/firewall/test_firewall_delivery.py \
              tests/integration/test_loop.py

# $(call existing,files): the files, or an error that names those that were renamed or removed.
existing = $(foreach file,$(1),$(if $(wildcard $(file)),$(file),$(error The Makefile lists $(file)$(comma) \
    which does not exist: correct the list)))

say = @printf '\n\033[1m== %s\033[0m\n' $(1)

.PHONY: help
help: ## Show what there is
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "  make %-12s %s\n", $$1, $$2}'

.PHONY: demo
demo: $(VENV)/ready tools ## The main job for real, measured (API=real, KEEP=1)
	$(if $(filter real,$(API)),$(call say,"kube-apiserver and etcd"))
	$(if $(filter real,$(API)),$(BIN)/python -m lab.kubernetes.build)
	$(call say,"Demo: a node joins and its address opens; it leaves and it closes")
	$(BIN)/python -m lab.demo --api $(API) $(if $(KEEP),--keep)

.PHONY: test
test: coverage tools kubernetes userlands $(OTHER_SALTS:%=.venv-%/ready) ## Everything, on Salt 3008, 3007 and 3006, and "make versions"
	$(call say,"Tests on Salt 3008")
	$(BIN)/python -m pytest $(SHARED) $(COVERED:%=--ignore=%)
	@for salt in $(OTHER_SALTS); do \
	    printf '\n\033[1m== What depends on Salt, and the whole loop, on Salt %s\033[0m\n' $$salt; \
	    .venv-$$salt/bin/python -m pytest $(SHARED) $(call existing,$(SALT_TESTS)); \
	done
	@$(MAKE) --no-print-directory versions

# Branches that the tests of one folder alone must take; pyproject.toml names the files that do not count.
CORE_FLOOR := 95
MINION_FLOOR := 90
COVERED := tests/core tests/minion

# $(call covered,folder of tests,folder of code,floor)
define covered
$(call say,"Branches of $(2) that $(1) takes$(comma) at least $(3) %")
@mkdir -p build/coverage
@COVERAGE_FILE=build/coverage/$(notdir $(1)).data $(BIN)/python -m pytest $(SHARED) $(1) \
    --cov=$(2) --cov-report=json:build/coverage/$(notdir $(1)).json
@$(BIN)/python .ci/coverage_floor.py build/coverage/$(notdir $(1)).json --floor $(3) --name $(2)
endef

.PHONY: coverage
coverage: $(VENV)/ready ## Tests of the pure parts, and floors for the branches they take
	$(call covered,tests/core,salt_ext/core,$(CORE_FLOOR))
	$(call covered,tests/minion,salt_ext/formula/_modules/k8s_firewall_parts,$(MINION_FLOOR))

# tests/core and tests/minion import no dependency.
LOWEST_TESTS := tests/functional
# With the newest versions, another Python runs the tests of the official client, SQLite, msgspec, cachetools
# and Salt's loader.
VERSION_TESTS := tests/core tests/minion \
                 $(patsubst %,tests/functional/test_%.py,session store on_demand loader config_files)
# Python 3.10 runs the lowest versions.
PYTHONS := 3.13
UV = UV_PYTHON_DOWNLOADS=never $(BIN)/uv
# Salt 3006.0 imports `imp`, which Python 3.12 removed.
LOWEST_PYTHON = .ci/pythons.sh 3.10 3.11 2>/dev/null | sed -n 1p

.PHONY: versions
versions: test-lowest $(PYTHONS:%=test-python-%) ## The lowest declared versions on Python 3.10, and the newest on 3.13, where they are here

.PHONY: test-lowest
test-lowest: $(VENV)/ready ## The functional tests on the lowest declared dependencies
	$(call say,"Tests on the lowest declared versions")
	@[ -n "$$($(LOWEST_PYTHON))" ] || echo "Neither Python 3.10 nor 3.11 is here: the lowest versions do not run."
	@[ -z "$$($(LOWEST_PYTHON))" ] || $(MAKE) --no-print-directory .venv-lowest/ready
	@[ -z "$$($(LOWEST_PYTHON))" ] || \
	    $(UV) pip list --quiet --python .venv-lowest | grep -E '^(salt|kubernetes|pyzmq|cachetools|msgspec|urllib3) '
	@[ -z "$$($(LOWEST_PYTHON))" ] || .venv-lowest/bin/python -m pytest $(SHARED) $(call existing,$(LOWEST_TESTS))

test-python-%: $(VENV)/ready
	$(call say,"Tests on Python $*")
	@[ -z "$$(.ci/pythons.sh $*)" ] || $(MAKE) --no-print-directory .venv-python$*/ready
	@[ -z "$$(.ci/pythons.sh $* 2>/dev/null)" ] || \
	    .venv-python$*/bin/python -m pytest $(SHARED) $(call existing,$(VERSION_TESTS))

.PHONY: test-fast
test-fast: $(VENV)/ready ## What needs no daemons, in under a minute
	$(BIN)/python -m pytest $(SHARED) tests/core tests/minion tests/functional

# .pre-commit-config.yaml has a hook for each of these; a test compares the two.
LINTS := style format types layers spelling lists

.PHONY: lint
lint: $(LINTS:%=lint-%) ## Style, types, layers, spelling, and the lists of tests in this file

.PHONY: $(LINTS:%=lint-%)
lint-style: $(VENV)/ready
	$(BIN)/ruff check .

lint-format: $(VENV)/ready
	$(BIN)/ruff format --check .

lint-types: $(VENV)/ready
	$(BIN)/mypy

lint-layers: $(VENV)/ready
	$(BIN)/lint-imports

lint-spelling: $(VENV)/ready
	$(BIN)/codespell

lint-lists:
	@: $(call existing,$(SALT_TESTS) $(LOWEST_TESTS) $(VERSION_TESTS))

.PHONY: bench
bench: $(VENV)/bench tools kubernetes ## Figures beside an alternative, in build/bench.json (ONLY=engine|pillar|convergence|firewall)
	$(BIN)/python -m benchmarks $(if $(ONLY),--only $(ONLY))

.PHONY: mutation
mutation: $(VENV)/mutation ## Change the guard and the rollout by one operator; list what no test notices (ONLY=guard|drift|wave|job_result|expand)
	$(BIN)/python .ci/mutation.py $(if $(ONLY),--only $(ONLY))

# 2,000 of these steps are part of "make test".
STEPS := 100000
.PHONY: guard-model
guard-model: $(VENV)/ready ## The guard's promises over 100,000 random steps of clusters, restarts and persons (STEPS=)
	GUARD_MODEL_STEPS=$(STEPS) $(BIN)/python -m pytest -n0 tests/core/test_guard_model.py

.PHONY: tools
tools:
	@lab/install-tools.sh

.PHONY: kubernetes
kubernetes: $(VENV)/ready
	$(call say,"kube-apiserver and etcd (built once$(comma) in .cache)")
	@$(BIN)/python -m lab.kubernetes.build || echo "The tests that need a real kube-apiserver are skipped."

.PHONY: userlands
userlands: $(VENV)/ready
	$(call say,"Firewall programs of Debian 11$(comma) 12 and 13 (unpacked once$(comma) in .cache)")
	@lab/install-tools.sh mmdebstrap || true
	@$(BIN)/python -m lab.userland || echo "The tests that need these programs are skipped."

.PHONY: setup
setup: $(VENV)/ready tools ## Only install what the other targets need

$(VENV)/ready: pyproject.toml
	$(call say,"Python packages into $(VENV)")
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 10))' || \
	    { echo "Python 3.10 or newer is needed: make PYTHON=/path/to/python3 ..."; exit 2; }
	@$(PYTHON) -m venv $(VENV) || \
	    { echo "$(PYTHON) cannot make a virtual environment: apt-get install python3-venv"; exit 2; }
	$(BIN)/pip install --quiet --upgrade pip
	$(BIN)/pip install --quiet --editable '.[dev]' 'salt>=3008,<3009'
	@touch $@

$(VENV)/bench: $(VENV)/ready
	$(BIN)/pip install --quiet --editable '.[dev,bench]' 'salt>=3008,<3009'
	@touch $@

$(VENV)/mutation: $(VENV)/ready
	$(BIN)/pip install --quiet --editable '.[dev,mutation]' 'salt>=3008,<3009'
	@touch $@

# Salt 3006.0 declares no dependencies to pip: those of the newest 3006 are installed first.
.venv-lowest/ready: pyproject.toml $(VENV)/ready
	$(call say,"The lowest declared versions into .venv-lowest")
	$(UV) venv --quiet --clear --seed --python "$$($(LOWEST_PYTHON))" .venv-lowest
	$(UV) pip compile --quiet --no-header --no-annotate --resolution lowest-direct \
	    --python .venv-lowest/bin/python pyproject.toml --output-file .venv-lowest/lowest.txt
	$(UV) pip install --quiet --python .venv-lowest --editable '.[dev]' 'salt==3006.*'
	$(UV) pip install --quiet --python .venv-lowest --no-deps --requirement .venv-lowest/lowest.txt
	@touch $@

.venv-python%/ready: pyproject.toml $(VENV)/ready
	$(call say,"Python packages for Python $* into .venv-python$*")
	$(UV) venv --quiet --clear --seed --python "$$(.ci/pythons.sh $*)" .venv-python$*
	$(UV) pip install --quiet --python .venv-python$* --editable '.[dev]' 'salt>=3008,<3009'
	@touch $@

.venv-%/ready: pyproject.toml
	$(call say,"Python packages with Salt $* into .venv-$*")
	$(PYTHON) -m venv .venv-$*
	.venv-$*/bin/pip install --quiet --upgrade pip
	.venv-$*/bin/pip install --quiet --editable '.[dev]' 'salt==$*.*'
	@touch $@

.PHONY: clean
clean: ## Remove what was built and installed here, and worlds that are still up
	-@test ! -x $(BIN)/python || $(BIN)/python -m lab down --all
	rm -rf build dist .venv .venv-* .cache .mypy_cache .ruff_cache .pytest_cache .import_linter_cache *.egg-info

comma := ,
