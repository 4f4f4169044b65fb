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
# A folder of wheels to prefer, for example torch's CPU build; unset on most machines.
FIND_LINKS = $(if $(PIP_FIND_LINKS),--find-links "$(PIP_FIND_LINKS)")
STAMP := .venv/.installed

.PHONY: help setup repro test test-fast lint stack stack-stop doctor deploy year base lock deps clean

help: ## This list
	@grep -E '^[a-z-]+:.*##' Makefile | sed -E 's/:.*## /\t/' | expand -t 12

setup: $(STAMP) ## .venv from requirements.lock; again only when the lock has changed

$(STAMP): requirements.lock requirements.overrides
	test -x .venv/bin/python || $(PYTHON) -m venv .venv || { echo "make setup: needs Python 3.11; install it or name it: make setup PYTHON=/path/to/python3.11" >&2; exit 1; }
	.venv/bin/python -m pip install --quiet "uv>=0.9,<1"
	.venv/bin/uv pip install --python .venv/bin/python --override requirements.overrides $(FIND_LINKS) -r requirements.lock
	touch $@

repro: $(STAMP) ## The pipeline, from raw posts to the report: make repro [PROFILE=smoke] [STAGE=train_boigllm]
	.venv/bin/python -m flows.repro $(if $(PROFILE),--profile "$(PROFILE)") $(if $(STAGE),--stage "$(STAGE)")

test: $(STAMP) ## All tests
	.venv/bin/python -m pytest -n 2 --dist loadfile --no-loadscope-reorder

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

base: $(STAMP) ## Train the small models of base/ again: make base [DEVICE=cuda]; an hour and a half on 2 cores
	.venv/bin/python -m base.recipes.detector detector --device $(DEVICE)
	.venv/bin/python -m base.recipes.detector reference --device $(DEVICE)
	.venv/bin/python -m base.recipes.codec --device $(DEVICE)
	.venv/bin/python -m base.recipes.denoiser --device $(DEVICE) --pictures 208000
	.venv/bin/python -m base.recipes.denoiser --device $(DEVICE) --pictures 340000
	.venv/bin/python -m base.recipes.score --device $(DEVICE)

deps: $(STAMP) ## Write each stage's code into the deps of dvc.yaml
	.venv/bin/python -m infra.dvc_deps

lock: $(STAMP) ## requirements.lock from requirements.in
	.venv/bin/uv pip compile requirements.in --quiet --override requirements.overrides $(FIND_LINKS) --python-version 3.11 --no-annotate \
		--no-emit-find-links --custom-compile-command "make lock" --output-file requirements.lock
	sed -i -E -e 's/^(torch==[0-9.]+)\+.*/\1/' -e '/^nvidia-/d' requirements.lock

clean: ## What runs leave behind, but for the DVC cache and MLflow's data
	rm -rf .profiles scratch .pytest_cache .ruff_cache .mypy_cache .hypothesis
