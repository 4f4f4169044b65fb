# Everything a developer runs. Needs Python 3.11, git and make; the rest is installed into .venv from requirements.lock.
SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help
PYTHON ?= python3.11
PROFILE ?=
STAGE ?=
DEVICE ?= cpu
export PATH := $(CURDIR)/.venv/bin:$(PATH)
export PYTHONNOUSERSITE := 1
UPGRADE ?=
STAMP := .venv/.installed
TOOLS := .tools/.installed
TORCH_PIN = $(shell grep -o '^torch==[0-9.]*' requirements.lock)
# Nothing but what the lock names, no file with another hash, and no package built here but the one that is published as source alone;
# what builds it is the setuptools of the lock. docs/supply-chain.md
# Compiled at once: some hundred processes import torch in a run, and where they may not write bytecode each would compile it again.
LOCKED := .venv/bin/uv pip install --compile-bytecode --no-deps --require-hashes --only-binary :all:
FROM_SOURCE := --no-binary antlr4-python3-runtime --build-constraints requirements.lock
RESOLVE := .venv/bin/uv pip compile --quiet --python-version 3.11 --generate-hashes --no-annotate --no-emit-find-links --no-emit-index-url \
	--custom-compile-command "make lock" $(if $(UPGRADE),--upgrade-package "$(UPGRADE)")

.PHONY: help setup repro test test-fast lint stack stack-stop doctor deploy year faults base lock audit sbom hooks deps clean

help: ## This list
	@grep -E '^[a-z-]+:.*##' Makefile | sed -E 's/:.*## /\t/' | expand -t 12

setup: $(STAMP) ## .venv from requirements.lock, files checked by hash; again only when the lock has changed

# torch may be a machine's own build: one in the folder PIP_FIND_LINKS, or one that is installed already. It keeps its place if its version is
# the lock's, and PyPI's CUDA libraries are left out then.
$(STAMP): requirements.lock requirements.cuda.lock requirements.uv.lock
	test -x .venv/bin/python || $(PYTHON) -m venv .venv || { echo "make setup: needs Python 3.11; install it or name it: make setup PYTHON=/path/to/python3.11" >&2; exit 1; }
	.venv/bin/python -m pip install --quiet --no-deps --require-hashes --only-binary :all: -r requirements.uv.lock
	if compgen -G "$(PIP_FIND_LINKS)/$(subst ==,-,$(TORCH_PIN))[+-]*.whl" >/dev/null; then \
		.venv/bin/uv pip install --python .venv/bin/python --no-deps --no-index --find-links "$(PIP_FIND_LINKS)" "$(TORCH_PIN)"; fi
	compgen -G ".venv/lib/python3.11/site-packages/torch-*+*.dist-info" >/dev/null || cuda="-r requirements.cuda.lock"; \
	$(LOCKED) --python .venv/bin/python $(FROM_SOURCE) -r requirements.lock $${cuda:-}
	touch $@

# What a developer's machine runs beside the project: its own environment, so that none of it gets into what the project imports.
$(TOOLS): requirements.tools.lock $(STAMP)
	.venv/bin/uv venv --quiet --clear --python .venv/bin/python .tools
	$(LOCKED) --quiet --python .tools/bin/python -r requirements.tools.lock
	touch $@

repro: $(STAMP) ## The pipeline, from raw posts to the report: make repro [PROFILE=smoke] [STAGE=train_boigllm]
	.venv/bin/python -m flows.repro $(if $(PROFILE),--profile "$(PROFILE)") $(if $(STAGE),--stage "$(STAGE)")

test: $(STAMP) $(TOOLS) ## All tests
	.venv/bin/python -m pytest -n 2 --dist loadfile --no-loadscope-reorder --max-worker-restart 0

test-fast: $(STAMP) ## Tests without real services and whole stages
	.venv/bin/python -m pytest -m "not slow"

lint: $(STAMP) ## Style and types
	.venv/bin/ruff check .
	.venv/bin/ruff format --check .
	.venv/bin/mypy

stack: $(STAMP) ## A local stack without docker: S3, MLflow, Prefect, Ray; `. .stack/env` for its clients
	.venv/bin/python -m infra.stack up

deploy: $(STAMP) ## Retraining by clock and by news of posts, on the Prefect server of PREFECT_API_URL
	.venv/bin/python -m infra.deploy

year: $(STAMP) ## Retraining through a simulated year, with a change of taste and a poisoned month
	.venv/bin/python -m flows.year

stack-stop: $(STAMP) ## Stop it; its data stay in .stack
	.venv/bin/python -m infra.stack down

doctor: $(STAMP) ## What is installed, what runs, who may get in, and what to do where something is wrong
	.venv/bin/python -m infra.doctor

faults: $(STAMP) ## Some forty things that go wrong in a retraining, one after the other, to metrics/faults.json; an hour or more
	.venv/bin/python -m tests.faults

base: $(STAMP) ## Train the small models of base/ again: make base [DEVICE=cuda]; an hour and a half on 2 cores
	.venv/bin/python -m base.recipes.detector detector --device $(DEVICE)
	.venv/bin/python -m base.recipes.detector reference --device $(DEVICE)
	.venv/bin/python -m base.recipes.codec --device $(DEVICE)
	rm -f scratch/denoiser.pt
	.venv/bin/python -m base.recipes.denoiser --device $(DEVICE) --pictures 208000
	.venv/bin/python -m base.recipes.denoiser --device $(DEVICE) --pictures 340000
	.venv/bin/python -m base.recipes.score --device $(DEVICE)

deps: $(STAMP) ## Write each stage's code into the deps of dvc.yaml
	.venv/bin/python -m infra.dvc_deps

# What only PyPI's torch needs, the CUDA libraries, goes to a file of its own.
lock: $(STAMP) ## The lock files from the .in files; versions stay but where they must not, or: make lock UPGRADE=package
	both=$$(mktemp); trap 'rm -f "$$both"' EXIT; cat requirements.lock requirements.cuda.lock > "$$both"; \
	$(RESOLVE) requirements.in --override requirements.overrides --output-file "$$both"; \
	awk '/^#/ {print > "requirements.cuda.lock"} /^[a-z]/ {cuda = /^nvidia-/} {print > (cuda ? "requirements.cuda.lock" : "requirements.lock")}' "$$both"
	$(RESOLVE) requirements.tools.in --output-file requirements.tools.lock
	$(RESOLVE) requirements.uv.in --output-file requirements.uv.lock

audit: $(TOOLS) ## Known vulnerabilities in what the lock files name; asks a service on the internet
	.venv/bin/python -m infra.supply.audit

sbom: $(TOOLS) ## reports/sbom.json: all packages and model weights with hashes and licenses, as CycloneDX
	.venv/bin/python -m infra.supply.sbom

hooks: $(TOOLS) ## Git's hooks: style, types, large files, secrets; .pre-commit-config.yaml
	.tools/bin/pre-commit install --hook-type pre-commit --hook-type pre-push

clean: ## Workspaces of profiles, scratch (make year's too), caches of tools; data, models, DVC's cache and MLflow's runs stay
	rm -rf .profiles scratch .pytest_cache .ruff_cache .mypy_cache .hypothesis
