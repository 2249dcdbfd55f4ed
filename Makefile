PYTHON ?= python3
PYTHON_IS_GIVEN := $(filter-out file,$(origin PYTHON))
BIN := .venv/bin
# Two tests at a time, each on one core: most start processes of their own, and wait for them.
PYTEST := OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 2 --dist worksteal

.PHONY: demo lint test test-slow test-gpu test-slurm test-slurm-long test-oldest bench docs clean

# The environment is made again when the list of dependencies changes.
.venv/ready: pyproject.toml
	@echo "Installing PyTorch and what else is needed into .venv, once: some minutes; pip says below what it is at."
	$(PYTHON) -m venv .venv
	$(BIN)/pip install --editable '.[dev]'
	touch .venv/ready

demo: .venv/ready  ## train on the digits of scikit-learn and show the results
	$(BIN)/python cli.py fit --config digits_dense.yaml

lint: .venv/ready  ## style and types
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/python docs/package_links.py
	$(BIN)/mypy

test: lint  ## style, types, then all quick tests
	$(PYTEST) -m "not slow and not slurm and not gpu"

test-slow: .venv/ready  ## the tests that take minutes
	$(PYTEST) -m "slow and not gpu"

# A machine with GPUs may reach no package index: with PYTHON given, its environment is taken as it is.
test-gpu: $(if $(PYTHON_IS_GIVEN),,.venv/ready)  ## the tests that need a GPU, on all there are; PYTHON=python3 make test-gpu
	$(if $(PYTHON_IS_GIVEN),$(PYTHON),$(BIN)/python) -m pytest -m gpu tests

test-slurm: .venv/ready  ## the quick tests that submit jobs to the SLURM cluster of this machine
	$(BIN)/python -m pytest -m "slurm and not slurm_long"

test-slurm-long: .venv/ready  ## those that wait for time limits and preemptions
	$(BIN)/python -m pytest -m slurm_long

test-oldest:  ## the quick tests with the oldest dependencies that pyproject.toml allows
	$(PYTHON) -m venv .venv-oldest
	.venv-oldest/bin/pip install --quiet uv
	VIRTUAL_ENV=.venv-oldest .venv-oldest/bin/uv pip install --quiet --resolution lowest-direct --editable '.[dev]'
	.venv-oldest/bin/python -m pytest -m "not slow and not slurm and not gpu"

bench: .venv/ready  ## ratios against named baselines
	$(BIN)/python benchmarks/startup.py
	$(BIN)/python benchmarks/busy.py
	$(BIN)/python benchmarks/reading.py
	$(BIN)/python benchmarks/data.py
	$(BIN)/python benchmarks/jacobian.py --large
	$(BIN)/python benchmarks/measures.py --memory
	$(BIN)/python benchmarks/cells.py
	$(BIN)/python benchmarks/mlp.py
	$(BIN)/python benchmarks/overhead.py
	$(BIN)/python benchmarks/ensemble.py
	$(BIN)/python benchmarks/processes.py
	$(BIN)/python benchmarks/design.py

docs: .venv/ready  ## the documentation as a site, in site/
	$(BIN)/pip install --quiet --editable '.[docs]'
	$(BIN)/mkdocs build --strict

clean:
	rm -rf .venv .venv-oldest build dist site *.egg-info
