# QuietFrame's tasks. `make help` lists them.
#
#   .venv           one environment: `make demo` gives it the base package, `make install` adds the rest
#   .venv-wheel     made anew by `make test-wheel`: the built wheel with its base dependencies alone
#   .venv-versions  made anew by `make test-lowest` and `make test-newest`: the runtime with those dependencies
#   .venv-locked    made anew by `make dist`: the wheel with what requirements-runtime.lock states
#   .venv-docs      made by `make docs`: what builds the site, and nothing that trains
#
# A stamp in .venv says what it holds, so that nothing is installed twice. Delete .venv to start afresh.

PYTHON ?= $(shell for python in python3 python3.13 python3.12 python3.11; do \
	$$python -c 'import sys; sys.exit(not (3, 11) <= sys.version_info < (3, 14))' 2>/dev/null \
	&& echo $$python && break; done)
UV := $(shell command -v uv 2>/dev/null)
LOCK := requirements-dev.lock
RUNTIME_LOCK := requirements-runtime.lock
BIN := .venv/bin
# A file to a core, those of long tests first, but for what measures time and memory.
PARALLEL := --numprocesses logical --maxprocesses 4 --dist loadfile --no-loadscope-reorder
ROOMS := $(addprefix tests/,train export benchmarks runtime) $(wildcard tests/test_*.py)
MEASURING := $(addprefix tests/,benchmarks/test_trust.py benchmarks/kinds/test_startup.py runtime/test_limits.py runtime/pipeline/test_busy_machine.py \
	runtime/pipeline/test_loop.py runtime/serve/test_cameras.py \
	runtime/preview/test_first_image.py)
RUNTIME_EXTRAS := onnx openvino heif serve
RUNTIME_TESTS := tests/runtime $(MEASURING:%=--ignore %)
# What shows that the base dependencies are enough: every import, the command line, the built-in models.
SMOKE := $(addprefix tests/runtime/test_,light.py zoo.py cli_main.py doctor.py demo.py tasks_base.py)

MODELS := camera-nano camera-small camera-base video-nano video-small denoise-and-classify digit-classifier digit-cnn digit-unet latent-autoencoder
PHOTOS := photos
MNIST :=

# $(call make_venv,FOLDER) and $(call install,FOLDER) do the same with uv and without.
ifdef UV
make_venv = $(UV) venv --quiet --seed --clear --no-python-downloads --python $(PYTHON) $(1)
install = $(UV) pip install --quiet --python $(1)/bin/python
else
make_venv = $(PYTHON) -m venv --clear $(1) || { rm -rf $(1); \
	echo "Python's venv module is missing: on Debian and Ubuntu, apt install python3-venv" >&2; false; }
install = $(1)/bin/python -m pip install --quiet --disable-pip-version-check
endif

.PHONY: help demo install test test-long test-wheel test-lowest test-newest coverage check audit docs dist models zoo campaign cameras lock clean
.DEFAULT_GOAL := help

help:  ## List the targets
	@grep -hE '^[a-z -]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z -]+):.*## /\1\t/' | expand -t 25

demo: .venv/.base  ## Install the base package into .venv and run `quietframe demo`
	$(BIN)/quietframe demo --overwrite

install: .venv/.dev  ## Install everything for development into .venv, in the versions of requirements-dev.lock

test: install test-wheel  ## Run the tests but the long ones: a few of the base wheel in a clean environment, then in .venv
	$(BIN)/python -m pytest $(PARALLEL) $(MEASURING:%=--ignore %) -m "not long" $(ROOMS)
	$(BIN)/python -m pytest $(MEASURING)

test-long: install  ## Run the tests that take a minute and more
	$(BIN)/python -m pytest $(PARALLEL) $(MEASURING:%=--ignore %) -m long $(ROOMS)

test-wheel: .venv/.dev  ## Build the wheel and run a few tests on it, with its base dependencies alone
	rm -rf dist .venv-wheel
	$(BIN)/python -m build --wheel --outdir dist . > /dev/null
	$(call make_venv,.venv-wheel)
	$(call install,.venv-wheel) --constraint $(LOCK) dist/*.whl pytest hypothesis
	.venv-wheel/bin/python -P -m pytest $(SMOKE)

# The tests' own packages must not change what is tested, and so come second, constrained by the first.
test-lowest: RESOLUTION := lowest-direct
test-newest: RESOLUTION := highest
test-lowest test-newest:  ## Run the runtime's tests with the lowest, or the newest, version of each dependency (needs uv)
	uv venv --quiet --clear --no-python-downloads --python $(PYTHON) .venv-versions
	uv pip install --quiet --python .venv-versions --only-binary :all: --resolution $(RESOLUTION) \
		-r pyproject.toml $(RUNTIME_EXTRAS:%=--extra %)
	uv pip freeze --python .venv-versions | tee .venv-versions/direct.txt
	uv pip install --quiet --python .venv-versions --constraint .venv-versions/direct.txt pytest hypothesis onnx
	uv pip install --quiet --python .venv-versions --no-deps .
	.venv-versions/bin/python -P -m pytest -m "not long" $(RUNTIME_TESTS)

# Without what measures time: it would measure the tracer.
coverage: install  ## Run the tests that measure no time, and hold the coverage to the floor of pyproject.toml
	$(BIN)/python -m pytest $(PARALLEL) $(MEASURING:%=--ignore %) -m "not long" --cov --cov-report=term --cov-report=xml

check: .venv/.dev  ## Lint, check the format, the types and who imports whom
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

audit:  ## Look for known vulnerabilities in the versions of both lock files (needs uv and the network)
	uvx pip-audit@2.10.1 --strict --disable-pip --require-hashes -r $(RUNTIME_LOCK)
	uvx pip-audit@2.10.1 --strict --disable-pip --no-deps -r $(LOCK)

docs: .venv-docs/.made  ## Build the documentation into site/, strictly: a broken link is an error
	.venv-docs/bin/mkdocs build --strict

# The installation that is listed is one by the lock file. CycloneDX reads no version from the package, so it is stated.
dist:  ## Build the wheel, the source archive and a list of what an installation holds (SBOM) into dist/ (needs uv)
	rm -rf dist
	uv build --quiet --out-dir dist .
	uv venv --quiet --clear --no-python-downloads --python $(PYTHON) .venv-locked
	uv pip install --no-config --quiet --python .venv-locked --require-hashes -r $(RUNTIME_LOCK)
	uv pip install --quiet --python .venv-locked --no-deps dist/*.whl
	version=$$(.venv-locked/bin/python -P -c "import quietframe; print(quietframe.__version__)") && \
	sed "s/^dynamic = .*/version = \"$$version\"/" pyproject.toml > .venv-locked/pyproject.toml && \
	uvx --from cyclonedx-bom==7.5.0 cyclonedx-py environment .venv-locked --pyproject .venv-locked/pyproject.toml \
		--mc-type library --output-reproducible --output-file dist/quietframe-$$version.cdx.json

# A training that was interrupted goes on; an exported model is newer than its training, or is exported again.
models: install $(MODELS:%=exported/%/export.json)  ## Train and export the built-in models: make models PHOTOS=folder

zoo: install  ## Export models that no one here wrote, and check the files: an hour, goes on where it was interrupted
	PYTHONPATH=tests $(BIN)/python -W ignore -m zoo --out runs/zoo --jobs 2 --table docs/foreign-models.md

# Goes on where it was interrupted, and from a smaller campaign to a larger one: make campaign CAMPAIGN_SCALE=100 is a night.
CAMPAIGN_SCALE := 1
CAMPAIGN :=
campaign: install  ## Try damaged inputs, broken streams, signals and hostile clients: half an hour, see docs/reliability.md
	PYTHONPATH=tests $(BIN)/python -W ignore -m campaign --out runs/campaign --scale $(CAMPAIGN_SCALE) $(CAMPAIGN)

cameras: install  ## Measure `quietframe serve`: six cameras of which two break, and what one costs: 25 minutes, see docs/serve.md
	PYTHONPATH=tests $(BIN)/python -W ignore -m cameras soak
	PYTHONPATH=tests $(BIN)/python -W ignore -m cameras cost

.SECONDARY: $(MODELS:%=runs/%/metrics.json) runs/dense-autoencoder/metrics.json
runs/denoise-and-classify/metrics.json: runs/dense-autoencoder/metrics.json runs/digit-classifier/metrics.json
runs/video-nano/metrics.json: runs/camera-nano/metrics.json
runs/video-small/metrics.json: runs/camera-small/metrics.json
runs/video-base/metrics.json: runs/camera-base/metrics.json
runs/camera-%/metrics.json runs/video-%/metrics.json: DATA = $(PHOTOS)
runs/%/metrics.json: DATA = $(MNIST)
runs/%/metrics.json:
	$(BIN)/quietframe train $* $(if $(DATA),--data $(DATA)) --out runs/$* $(if $(wildcard runs/$*/recipe.json),--resume)

exported/%/export.json: runs/%/metrics.json
	$(BIN)/quietframe export runs/$* --out exported/$* --overwrite

RESOLVE := uv pip compile pyproject.toml --universal --python-version 3.11 --fork-strategy fewest --upgrade --quiet \
	--no-emit-index-url --no-emit-find-links --annotation-style line --custom-compile-command "make lock"

lock:  ## Resolve requirements-dev.lock and requirements-runtime.lock anew, for Python 3.11 to 3.13 (needs uv)
	$(RESOLVE) --extra dev --extra docs --output-file $(LOCK)
	$(RESOLVE) --extra onnx --extra serve --constraint $(LOCK) --generate-hashes --no-annotate --output-file $(RUNTIME_LOCK)

clean:  ## Remove the environments and everything that was built or cached
	rm -rf .venv .venv-wheel .venv-versions .venv-locked .venv-docs site build dist .mypy_cache .ruff_cache .pytest_cache .import_linter_cache .hypothesis

# An environment that works is kept, whoever made it; half of one is replaced.
.venv/.made:
	@test -n "$(PYTHON)" || { echo "Python 3.11, 3.12 or 3.13 is needed, and none was found" >&2; false; }
	$(BIN)/python -m pip --version > /dev/null 2>&1 || { $(call make_venv,.venv); }
	@touch $@

.venv/.base: pyproject.toml $(LOCK) | .venv/.made
	$(call install,.venv) --constraint $(LOCK) --editable .
	@touch $@

.venv/.dev: pyproject.toml $(LOCK) | .venv/.made
	$(call install,.venv) --constraint $(LOCK) --editable '.[dev]'
	@touch .venv/.base $@

.venv-docs/.made: pyproject.toml $(LOCK)
	$(call make_venv,.venv-docs)
	$(call install,.venv-docs) --constraint $(LOCK) --editable '.[docs]'
	@touch $@
