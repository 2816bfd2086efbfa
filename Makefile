# Verbs only. Everything runs in .venv, which `make setup` keeps in step with requirements.lock.
.PHONY: setup demo test check bench dashboard clean
SHELL := /bin/bash
export PATH := $(CURDIR)/.venv/bin:$(PATH)
# one thread per job: Snakemake runs as many jobs as there are cores
export OMP_NUM_THREADS ?= 1

setup:
	@tools/setup.sh

demo: setup
	snakemake
	@echo "open results/report.html"

test: setup
	pytest --numprocesses=logical --maxprocesses=4 --dist=worksteal

check: setup
	ruff format --check src tests tools benchmarks
	ruff check src tests tools benchmarks
	mypy
	snakefmt --check Snakefile workflow
	snakemake --lint
	lint-imports

bench: setup
	python benchmarks/overhead.py

dashboard: setup
	mlflow server --backend-store-uri $${MLFLOW_TRACKING_URI:-sqlite:///$(CURDIR)/results/mlflow.db} --host 127.0.0.1 --port 5000

clean:  # all but results/cache, which holds paid answers of language models
	find results -mindepth 1 -maxdepth 1 ! -name cache -exec rm -rf {} +
	rm -rf .snakemake results/cache/frames
