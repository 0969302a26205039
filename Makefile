# Two commands do everything on a fresh machine with Python >= 3.10:
#   make pretrain   set up, then pretrain on generated scenes (about three minutes on two cores)
#   make test       set up, then run all tests (the first time it compiles mmcv: ten minutes)
# and one each makes the downstream benchmarks of OpenMMLab, and CLIP, ready:
#   make openmmlab         set up with the extra openmmlab
#   make vision-language   set up with the extra vision-language
#   make multimodal        set up with the extra multimodal, and train a small model on scenes
#   make docs              set up with the extra docs, and write the documentation to site/

PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check
ARGS ?=
# Tests run in one process a core, each with one thread: more threads than cores cost more than they
# give. A file's tests share fixtures and stay together; tests/conftest.py puts long files first.
# make test WORKERS= runs them in one process.
WORKERS ?= --numprocesses logical --maxprocesses 4 --dist loadfile --no-loadscope-reorder

.NOTPARALLEL:
.PHONY: pretrain test lint docs openmmlab vision-language multimodal clean

pretrain: $(VENV)/.core
	$(BIN)/python tools/pretrain.py $(ARGS)

test: $(VENV)/.dev $(VENV)/.openmmlab
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest $(WORKERS) $(ARGS)

openmmlab: $(VENV)/.openmmlab

vision-language: $(VENV)/.vision-language

multimodal: $(VENV)/.multimodal
	$(BIN)/python tools/train_multimodal.py $(ARGS)

lint: $(VENV)/.dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports --no-logo
	$(BIN)/deptry cmid benchmarks tools configs
	$(BIN)/deptry tests docs --ignore DEP002,DEP004

docs: $(VENV)/.docs
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict --quiet
	@echo 'documentation: site/index.html'

$(BIN)/python:
	$(PYTHON) -c 'import sys; sys.exit(None if sys.version_info >= (3, 10) else "cmid needs Python 3.10 or newer: make PYTHON=python3.11")'
	$(PYTHON) -m venv $(VENV)

# The stamps make a second call start at once; they are renewed when requirements change.
$(VENV)/.core: pyproject.toml constraints.txt | $(BIN)/python
	$(PIP) install --quiet --constraint constraints.txt --editable .
	touch $@

$(VENV)/.dev: $(VENV)/.core
	$(PIP) install --quiet --constraint constraints.txt --editable '.[dev]'
	touch $@

$(VENV)/.docs: $(VENV)/.core
	$(PIP) install --quiet --constraint constraints.txt --editable '.[docs]'
	touch $@

$(VENV)/.vision-language: $(VENV)/.core
	$(PIP) install --quiet --constraint constraints.txt --editable '.[vision-language]'
	touch $@

$(VENV)/.multimodal: $(VENV)/.core
	$(PIP) install --quiet --constraint constraints.txt --editable '.[multimodal]'
	touch $@

# mmcv is compiled against the installed torch (hence no isolation), for CPUs; FORCE_CUDA=1 adds
# operators for GPUs, which takes nvcc and much longer. A wheel of pip's cache may come from another
# machine or torch: when its operators do not load, it is compiled anew.
FORCE_CUDA ?= 0
JOBS ?= $(shell getconf _NPROCESSORS_ONLN)
MMCV := onedl-mmcv==2.3.6
MMCV_ENV := PATH="$(abspath $(BIN)):$$PATH" MAX_JOBS=$(JOBS) CFLAGS='-g0 -O2 -w' \
	MMCV_WITH_OPS=1 FORCE_CUDA=$(FORCE_CUDA) $(if $(filter 0,$(FORCE_CUDA)),CUDA_VISIBLE_DEVICES=)
MMCV_INSTALL := $(MMCV_ENV) $(PIP) install --quiet --constraint constraints.txt \
	--no-build-isolation $(MMCV)

$(VENV)/.openmmlab: $(VENV)/.core
	$(PIP) install --quiet --constraint constraints.txt 'setuptools>=80,<82' wheel ninja psutil packaging
	@echo 'compiling mmcv unless a wheel is at hand: about ten minutes on two cores'
	$(MMCV_INSTALL)
	$(BIN)/python -c 'import mmcv._ext' 2>/dev/null || \
		$(MMCV_INSTALL) --force-reinstall --no-deps --no-cache-dir
	$(BIN)/python -c 'import mmcv._ext'
	$(PIP) install --quiet --constraint constraints.txt --editable '.[openmmlab]'
	$(BIN)/python -c 'import mmdet, mmpretrain, mmrotate, mmseg'
	touch $@

clean:
	rm -rf $(VENV) .venv-core build dist site *.egg-info .pytest_cache .mypy_cache .ruff_cache .import_linter_cache
