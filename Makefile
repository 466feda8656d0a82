# The two commands, and `serving`: real servers on loopback. Each sets up what it needs by itself.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
SERVING := .venv-serving

.PHONY: demo test lint setup serving serving-setup clean

demo: setup
	$(BIN)/deploy build --model unet --precision int8
	$(BIN)/deploy bench

test: setup lint
	$(BIN)/pytest -n 2 --dist loadfile

lint: setup
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

setup: $(VENV)/.installed

$(VENV)/.installed: pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[dev]'
	touch $@

serving: serving-setup
	PYTHONPATH=src $(SERVING)/bin/python -m pytest -m serving tests/serving

serving-setup: $(SERVING)/.installed $(SERVING)/bin/docker-registry

# Apart from .venv: Triton's wheel wants NumPy 1.
$(SERVING)/.installed: constraints-serving.txt
	$(PYTHON) -m venv $(SERVING)
	$(SERVING)/bin/python -m pip install --quiet --constraint constraints-serving.txt \
		nvidia-pytriton 'tritonclient[grpc,http]' mlserver onnxruntime openvino oras \
		click filelock numpy onnx pillow pydantic rich safetensors zstandard pytest pytest-timeout
	touch $@

# Unpacked and not installed: Debian's package would start a service on all addresses.
$(SERVING)/bin/docker-registry: | $(SERVING)/.installed
	if command -v docker-registry >/dev/null; then ln -sf "$$(command -v docker-registry)" $@; else \
		if [ "$$(id -u)" = 0 ]; then apt-get -qq update; fi; \
		cd $(SERVING) && apt-get -qq download docker-registry && dpkg-deb --extract docker-registry_*.deb registry && \
		cp registry/usr/bin/docker-registry bin/; fi

clean:
	rm -rf $(VENV) $(SERVING) builds build dist .mypy_cache .ruff_cache .pytest_cache .hypothesis
