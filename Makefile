PYTHON ?= python3
BIN := .venv/bin

.PHONY: demo test test-slow test-slurm test-slurm-long bench clean

# The environment is made again when the list of dependencies changes.
.venv/ready: pyproject.toml
	$(PYTHON) -m venv .venv
	$(BIN)/pip install --quiet --editable '.[dev]'
	touch .venv/ready

demo: .venv/ready  ## train on the digits of scikit-learn and show the results
	$(BIN)/python cli.py fit --config digits_dense.yaml

test: .venv/ready  ## style, types, then all quick tests
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/python -m pytest -m "not slow and not slurm"

test-slow: .venv/ready  ## the tests that take minutes
	$(BIN)/python -m pytest -m slow

test-slurm: .venv/ready  ## the quick tests that submit jobs to the SLURM cluster of this machine
	$(BIN)/python -m pytest -m "slurm and not slurm_long"

test-slurm-long: .venv/ready  ## those that wait for time limits and preemptions
	$(BIN)/python -m pytest -m slurm_long

bench: .venv/ready  ## ratios against named baselines
	$(BIN)/python benchmarks/startup.py
	$(BIN)/python benchmarks/data.py
	$(BIN)/python benchmarks/jacobian.py --large
	$(BIN)/python benchmarks/cells.py
	$(BIN)/python benchmarks/overhead.py
	$(BIN)/python benchmarks/ensemble.py
	$(BIN)/python benchmarks/processes.py

clean:
	rm -rf .venv build dist *.egg-info
