# Targets around `cargo`: libtorch, the Python environment of the tests, the demo, the
# examples and the installation. Each target makes everything that it needs. Only
# `make install` writes outside this folder.
#
#   LIBTORCH=/path   use this libtorch 2.11 instead of fetching one
#   CMAKE=/path      use this cmake, which builds HDF5, instead of fetching one
#   PYTHON3=python3  the Python (3.10 or newer) from which .venv is made
#   PREFIX=/usr/local  `make install` installs bin/unet3d and lib/unet3d there
#   UNET3D_CPU=1     fetch and keep only what CPUs need of libtorch: 1 GB in place of 5 GB.
#                    For build, demo, examples and install; the tests import the whole torch

SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DELETE_ON_ERROR:
.DEFAULT_GOAL := build

PYTHON3 ?= python3
PREFIX ?= /usr/local
PYTHON := $(CURDIR)/.venv/bin/python
PIP := $(PYTHON) -m pip --disable-pip-version-check

# tch 0.24 requires exactly this version of libtorch. The Python wheel contains the
# library for CPU and CUDA, and the torch module that the tests compare with.
WHEELS :=
ifdef LIBTORCH
export LIBTORCH
else ifdef UNET3D_CPU
WHEELS += cpu-only-torch==2.11.0
else
WHEELS += torch==2.11.0
endif
ifdef CMAKE
export CMAKE
else
WHEELS += cmake==4.4.4
endif

.PHONY: help build test demo demo-cells examples install wheel dist fmt lint clean distclean libtorch \
  python tools

help:
	@echo "make demo                train on a real brain volume, predict, score, draw"
	@echo "make demo-cells          find and number nuclei in generated images, score, draw"
	@echo "make test                run all tests"
	@echo "make build               build target/release/unet3d"
	@echo "make examples            train and predict with every file of resources/"
	@echo "make install PREFIX=DIR  install the program and its libraries"
	@echo "make wheel | dist        pack a wheel | a tarball for machines without Python, into dist/"
	@echo "make fmt | lint          format | check format and lints"
	@echo "make clean | distclean   remove build results | and downloads too"

build: libtorch
	cargo build --release

test: libtorch python
	UNET3D_PYTHON=$(PYTHON) cargo test --release

demo: build python
	$(PIP) install --quiet --no-deps --require-hashes -r scripts/demo-data.txt
	$(PYTHON) scripts/demo.py

demo-cells: build python
	$(PYTHON) scripts/demo_cells.py

examples: build python
	$(PYTHON) scripts/examples.py

install: build
	scripts/install.sh "$(DESTDIR)$(PREFIX)"

wheel: build python
	UNET3D_PYTHON=$(PYTHON) scripts/wheel.sh

# VARIANT=cu13 packs the CUDA libraries too.
VARIANT ?= cpu
dist: build python
	UNET3D_PYTHON=$(PYTHON) scripts/dist.sh $(VARIANT)

fmt:
	cargo fmt

# Clippy needs libtorch because it runs the build scripts.
lint: libtorch
	cargo fmt --check
	cargo clippy --release --all-targets -- -D warnings
	@if command -v cargo-deny > /dev/null; then cargo deny --offline check licenses bans sources; \
	else echo "cargo-deny is not installed: licences and sources are not checked"; fi

clean:
	cargo clean
	rm -rf demo dist

distclean: clean
	rm -rf .libtorch .libtorch.partial .venv

# Checks what a fresh machine may lack before anything is downloaded.
tools:
	@command -v cargo > /dev/null || \
	  { echo "unet3d is written in Rust: install it from https://rustup.rs" >&2; exit 1; }
	@command -v c++ > /dev/null || \
	  { echo "a C++ compiler is needed: for example 'apt install g++'" >&2; exit 1; }
	@$(PYTHON3) -c 'import sys; sys.exit(sys.version_info < (3, 10))' || \
	  { echo "Python 3.10 or newer is needed: set PYTHON3=/path/to/python3" >&2; exit 1; }

# .complete lists the wheels that are installed. It is written last, so that an
# interrupted download starts again.
libtorch: tools .venv/.created
	@for wheel in $(WHEELS); do \
	  grep -qsxE "$$wheel|$${wheel#cpu-only-}" .libtorch/.complete && continue; \
	  echo "fetching $(WHEELS) into .libtorch (once)"; \
	  rm -rf .libtorch.partial; \
	  scripts/fetch_libtorch.sh "$(PYTHON)" .libtorch.partial $(WHEELS); \
	  printf '%s\n' $(WHEELS) > .libtorch.partial/.complete; \
	  rm -rf .libtorch; \
	  mv .libtorch.partial .libtorch; \
	  break; \
	done

.venv/.created: | tools
	rm -rf .venv
	$(PYTHON3) -m venv .venv || \
	  { echo "Python lacks venv: for example 'apt install python3-venv'" >&2; exit 1; }
	touch $@

.venv/.complete: requirements.txt .venv/.created
	$(PIP) install --quiet -r requirements.txt
	touch $@

# The tests import the torch of libtorch's wheel through a .pth file, which is written
# every time because the folder may have been moved. If LIBTORCH is not part of a
# Python package, the wheel is installed into .venv as well, but not for UNET3D_CPU, with
# which no test can run.
python: libtorch .venv/.complete
	@torch="$${LIBTORCH:-$(CURDIR)/.libtorch/torch}"; \
	site="$$($(PYTHON) -c 'import sysconfig; print(sysconfig.get_path("purelib"))')"; \
	if [ -e "$$torch/__init__.py" ]; then \
	  dirname "$$torch" > "$$site/libtorch.pth"; \
	else \
	  rm -f "$$site/libtorch.pth"; \
	  test -n "$(UNET3D_CPU)" || $(PIP) install --quiet torch==2.11.0; \
	fi
