# Everything runs in a virtual environment of its own, made on first use and brought up to date
# when pyproject.toml or the constraints change. Set on the command line what should differ:
#   make demo IMAGE="my cat.jpg"        make test PYTHON=python3.13 VENV=.venv-3.13

PYTHON ?= python3
VENV   ?= .venv
# the versions to install: constraints.txt has the newest that were tested, constraints-oldest.txt the oldest allowed
CONSTRAINTS ?= constraints.txt

# each worker goes through its own share of the files in order, so that what their tests share is made once
WORKERS = -n auto --maxprocesses 4 --dist worksteal

# the bald eagle among the photographs that Foolbox carries
IMAGE = $(shell $(VENV)/bin/python -c 'from importlib.util import find_spec; \
	print(find_spec("foolbox").submodule_search_locations[0] + "/data/imagenet_17_22.jpg")')

# pip installs from outside: a Python whose venv cannot bring pip along will do
pip_install = $(PYTHON) -m pip --python $(1)/bin/python install --quiet -c $(CONSTRAINTS) pip

.DEFAULT_GOAL := help
.PHONY: help demo test test-slow test-sources test-exchange test-oldest lint check format guide package peers optimality \
	gpu truth clean

help:  ## list what there is
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-12s %s\n", $$1, $$2 }' Makefile

demo: $(VENV)/installed  ## attack a photograph and draw what happened (IMAGE=yours.jpg)
	$(VENV)/bin/advbench attack --model efficientnet_lite0 "$(IMAGE)"

test: $(VENV)/installed  ## run the quick tests and the examples in the docstrings
	$(VENV)/bin/python -m pytest -m "not slow" $(WORKERS) $(PYTEST_OPTIONS)

test-slow: $(VENV)/installed  ## run the tests that take longer, and those with drawn examples on many more of them
	$(VENV)/bin/python -m pytest -m "slow or hypothesis" --hypothesis-profile thorough $(WORKERS)

test-sources: .venv-sources/installed  ## run the tests of models and data of other packages: transformers, ...
	.venv-sources/bin/python -m pytest tests/sources

test-exchange: .venv-exchange/installed  ## run the tests with what reads our reports: trackers, SARIF, model cards
	.venv-exchange/bin/python -m pytest tests/tracking tests/report

# an old version may use what a newer one of another package deprecates, and warns of it
test-oldest:  ## run the quick tests with the oldest versions that pyproject.toml allows
	$(MAKE) test VENV=.venv-oldest CONSTRAINTS=constraints-oldest.txt \
		PYTEST_OPTIONS="-W ignore::DeprecationWarning -W 'ignore:The given buffer is not writable:UserWarning'"

lint: $(VENV)/installed  ## check style, layout and types
	$(VENV)/bin/ruff check
	$(VENV)/bin/ruff format --check
	$(VENV)/bin/mypy --strict

check: lint test  ## what a change must pass

format: $(VENV)/installed  ## lay out the code and mend what can be mended safely
	$(VENV)/bin/ruff format
	$(VENV)/bin/ruff check --fix

guide: $(VENV)/installed .venv-guide/installed  ## build the site of the guide
	rm -rf build/guide
	$(VENV)/bin/advbench guide --out build/guide/pages
	.venv-guide/bin/sphinx-build --quiet --fail-on-warning --keep-going -c docs build/guide/pages build/guide/site
	@echo "Open build/guide/site/index.html"

package: .venv-build/installed  ## build the package, and try the wheel in an environment that has nothing else
	rm -rf build dist .venv-package
	.venv-build/bin/python -m build
	$(PYTHON) -m venv --without-pip .venv-package
	$(call pip_install,.venv-package) dist/*.whl
	$(PYTHON) -m tests.support.try_package .venv-package

peers: .venv-peers/installed  ## compare with other attack libraries: strength and speed
	.venv-peers/bin/python -m tests.peers

optimality: .venv-peers/installed  ## compare with other libraries how small a perturbation is found; takes hours
	.venv-peers/bin/python -m tests.peers.optimality

gpu: .venv-peers/installed  ## measure the attacks on a CUDA GPU; at most eight minutes
	.venv-peers/bin/python -m tests.peers.gpu

truth: $(VENV)/installed  ## count the images that are proved, fooled and open
	$(VENV)/bin/python -m tests.peers.proofs

clean:  ## remove the virtual environments, the caches and what was built
	rm -rf .venv .venv-build .venv-exchange .venv-guide .venv-oldest .venv-package .venv-peers .venv-sources build dist *.egg-info .mypy_cache .pytest_cache .ruff_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

$(VENV)/installed: pyproject.toml $(CONSTRAINTS)
	@echo "Installing into $(VENV); the first time this takes some minutes."
	$(PYTHON) -m venv --without-pip $(VENV)
	$(call pip_install,$(VENV)) -e ".[dev]"
	@touch $@

.venv-guide/installed: docs/requirements.txt
	@echo "Installing into .venv-guide."
	$(PYTHON) -m venv --without-pip .venv-guide
	$(PYTHON) -m pip --python .venv-guide/bin/python install --quiet -r docs/requirements.txt
	@touch $@

.venv-peers/installed: pyproject.toml constraints.txt tests/peers/requirements.txt tests/peers/requirements-no-deps.txt
	@echo "Installing into .venv-peers; the first time this takes some minutes."
	$(PYTHON) -m venv --without-pip .venv-peers
	$(call pip_install,.venv-peers) -e ".[embedded]" -r tests/peers/requirements.txt
	$(call pip_install,.venv-peers) --no-deps -r tests/peers/requirements-no-deps.txt
	@touch $@

# without constraints: the trackers want older versions of some packages than those that are pinned
.venv-exchange/installed: pyproject.toml tests/tracking/requirements.txt
	@echo "Installing into .venv-exchange; the first time this takes some minutes."
	$(PYTHON) -m venv --without-pip .venv-exchange
	$(PYTHON) -m pip --python .venv-exchange/bin/python install --quiet \
		-e ".[embedded,mlflow,trackio,wandb]" -r tests/tracking/requirements.txt
	@touch $@

.venv-build/installed:
	$(PYTHON) -m venv --without-pip .venv-build
	$(PYTHON) -m pip --python .venv-build/bin/python install --quiet pip build
	@touch $@

SOURCES = tests/sources/requirements.txt tests/sources/requirements-no-deps.txt tests/sources/constraints.txt

.venv-sources/installed: pyproject.toml constraints.txt $(SOURCES)
	@echo "Installing into .venv-sources; the first time this takes some minutes."
	$(PYTHON) -m venv --without-pip .venv-sources
	$(call pip_install,.venv-sources) -c tests/sources/constraints.txt \
		-e ".[clip,embedded,hf,int8,keras,onnx,timm]" -r tests/sources/requirements.txt
	$(call pip_install,.venv-sources) --no-deps -r tests/sources/requirements-no-deps.txt
	@touch $@
