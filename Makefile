# Copyright: rhpds.litellm_virtual_keys contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Installs the tools and runs nox. The sessions are defined in noxfile.py, the versions of the tools in pyproject.toml.
# To pass arguments to a tool: make unit ARGS='tests/unit/plugins/filter -k human'

SHELL := bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
.DELETE_ON_ERROR:

# Let uv trust the certificate authorities of the system, as pip and git do.
export UV_SYSTEM_CERTS ?= 1

VENV := .cache/venv
NOX := $(VENV)/bin/nox
READY := $(VENV)/.ready

.PHONY: help
help: ## Show this help
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-20s %s\n", $$1, $$2 }' $(firstword $(MAKEFILE_LIST))

.PHONY: demo
demo: $(READY) ## Show the collection at work on a real LiteLLM proxy
	@$(VENV)/bin/python tests/demo/demo.py

.PHONY: test
test: $(READY) ## Run every check: lint, unit, sanity, integration
	@$(NOX) --parallel auto

.PHONY: lint
lint: $(READY) ## Run all linters: ruff, mypy, ansible-lint, antsibull, REUSE
	@$(NOX) --session lint docs-check license-check extra-checks

.PHONY: unit sanity integration
unit: ## Run tests/unit (no server)
sanity: ## Run ansible-test sanity (no ignore file)
integration: ## Run tests/integration and tests/end_to_end on a real proxy
unit sanity integration: $(READY)
	@$(NOX) --tags $@ -- $(ARGS)

.PHONY: proxies
proxies: $(READY) ## Run tests/proxies: other releases and settings of LiteLLM, a thousand keys (an hour)
	@$(NOX) --session proxies -- $(ARGS)

.PHONY: rulebook
rulebook: $(READY) ## Run the event source with ansible-rulebook on a real proxy (needs Java; 2 minutes)
	@$(NOX) --session rulebook -- $(ARGS)

.PHONY: bench
bench: $(READY) ## Compare performance with ansible.builtin.uri tasks; writes docs (40 minutes; 3 with ARGS=--quick; ARGS=--profile: where the time goes; ARGS=--large: large environments, 8 minutes)
	@$(NOX) --session bench -- $(ARGS)

.PHONY: docs
docs: $(READY) ## Build the documentation site in .cache/docs/html
	@$(NOX) --session docs

.PHONY: test-litellm-matrix
test-litellm-matrix: $(READY) ## Test the lifecycle of keys on LiteLLM releases from 1.67 on; writes docs (40 minutes)
	@$(NOX) --session proxies -- tests/proxies/test_releases.py --write-docs $(ARGS)

.PHONY: contract
contract: $(READY) ## Compare what is sent and read with releases of LiteLLM (5 minutes; ARGS='1.106.2 1.110.2' for two)
	@$(NOX) --session contract -- $(ARGS)

.PHONY: faults
faults: $(READY) ## Run tests/faults: inject faults of proxy, network and controller at each step (30 minutes)
	@$(NOX) --session faults -- $(ARGS)

.PHONY: simulate
simulate: $(READY) ## Explore the histories of concurrent controllers with faults, on a model of the proxy (1 to 2 hours)
	@$(NOX) --session simulate -- $(ARGS)

.PHONY: mutants
mutants: $(READY) ## Change the pure core in one place at a time; unit tests must fail (15 minutes; ARGS=_keys/plan for one)
	@$(NOX) --session mutants -- $(ARGS)

.PHONY: test-matrix
test-matrix: $(READY) ## Run every check with ansible-core 2.16 to 2.22 and their Pythons; writes docs (an hour; ARGS=2.21 for one)
	@$(VENV)/bin/python tests/matrix.py $(ARGS)

.PHONY: sandbox
sandbox: $(READY) ## Start a LiteLLM proxy to experiment with
	@$(VENV)/bin/python tests/sandbox/sandbox.py start $(ARGS)

.PHONY: sandbox-stop
sandbox-stop: $(READY) ## Stop that proxy, and remove its database and keys
	@$(VENV)/bin/python tests/sandbox/sandbox.py stop $(ARGS)

.PHONY: clean
clean: ## Stop all sandboxes and remove everything that was installed or built
	@if [ -x $(VENV)/bin/python ]; then $(VENV)/bin/python tests/sandbox/sandbox.py stop --all; fi
	@rm -rf .cache

$(READY): pyproject.toml
	@for python in python3.11 python3 python3.12 python3.13; do \
	  if "$$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then break; fi; python=; \
	done; \
	if [ -z "$$python" ]; then echo 'Python 3.11 or later is required, but was not found.' >&2; exit 1; fi; \
	echo 'Installing ansible-core and nox in .cache/venv (once, about 10 seconds).'; \
	"$$python" -m venv $(VENV); \
	$(VENV)/bin/python -m pip install -qq --disable-pip-version-check uv; \
	$(VENV)/bin/uv pip install --quiet --python $(VENV)/bin/python --group tools; \
	touch $@
