# Verbs only. Everything runs in .venv, which `make setup` keeps in step with requirements.lock.
.PHONY: help setup demo smoke test test-slow campaign check bench dashboard clean
SHELL := /bin/bash
export PATH := $(CURDIR)/.venv/bin:$(PATH)
# one thread per job: Snakemake runs as many jobs as there are cores
export OMP_NUM_THREADS ?= 1
# images of containers often set it; every job would then compile the modules of kinetext anew
unexport PYTHONDONTWRITEBYTECODE

CONFIG ?= config.yaml
CORES := $(shell env -u OMP_NUM_THREADS -u OMP_THREAD_LIMIT nproc 2>/dev/null || getconf _NPROCESSORS_ONLN)
PYTEST := pytest --dist=worksteal --maxprocesses=5 --numprocesses $$(($(CORES) + 1))  # many tests wait

help:  ## list these commands
	@sed -nE 's/^([a-z-]+):[^#]*## */\1\t/p' Makefile | expand -t 12

setup:  ## install the pinned packages into .venv
	@tools/setup.sh

demo: setup  ## run the whole pipeline offline on moving shapes; writes results/report.html
	snakemake
	@echo "open results/report.html"

smoke: setup  ## run the tiny experiment from clips to report (about a minute)
	rm -rf results_smoke
	snakemake --quiet rules --cores 2 --directory results_smoke --configfile tests/helpers/tiny.yaml
	test -s results_smoke/results/report.html

test: setup  ## run the quick tests: unit, contracts, methods, parity, one tiny workflow
	$(PYTEST) tests/integration/test_workflow.py::test_one_call_writes_everything \
		tests/contracts tests/methods tests/parity tests/unit  # the longest first

test-slow: setup  ## run the other tests: workflow, processes, browser, stores, kills, full disks
	$(PYTEST) --durations=20 tests/integration tests/stress

campaign: setup  ## kill the tiny experiment 2 x 25 times at random moments (about half an hour); not part of CI
	KILLS=25 SEED=1 pytest tests/stress/test_kill_campaign.py
	KILLS=25 SEED=2 pytest tests/stress/test_kill_campaign.py

check: setup  ## run all that must be clean: format, lint, types, layers, language
	ruff format --check src tests tools benchmarks
	ruff check src tests tools benchmarks
	mypy
	snakefmt --check Snakefile workflow
	snakemake --lint
	lint-imports
	python tools/lint_language.py

bench: setup  ## measure what Snakemake and the commands cost beside the work
	python benchmarks/overhead.py

dashboard: setup  ## serve the runs of a study in MLflow: make dashboard CONFIG=mine.yaml
	kinetext dashboard --config $(CONFIG)

clean:  ## delete results, but not results/cache, which holds paid replies of language models
	find results -mindepth 1 -maxdepth 1 ! -name cache -exec rm -rf {} +
	rm -rf .snakemake results_smoke results/cache/frames
