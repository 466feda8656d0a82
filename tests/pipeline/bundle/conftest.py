"""Builds that the tests of bundles share; they leave them as they are."""

from __future__ import annotations

from pathlib import Path

import pytest
from kit.bundling import bundled


@pytest.fixture(scope="session")
def floats(house) -> Path:
    """The toy in fp32, for OpenVINO and ONNX Runtime."""
    return house.build().folder


@pytest.fixture(scope="session")
def bytes_(house) -> Path:
    """The toy in int8 that takes raw images."""
    return house.build("precision=int8", "export.io=uint8").folder


@pytest.fixture(scope="session")
def of_openvino(floats, tmp_path_factory) -> Path:
    """A bundle of the toy's engine of OpenVINO."""
    return bundled(floats, tmp_path_factory.mktemp("bundles") / "toy", backend="openvino").path


@pytest.fixture(scope="session")
def of_onnxruntime(floats, tmp_path_factory) -> Path:
    """A bundle of the toy's engine of ONNX Runtime."""
    return bundled(floats, tmp_path_factory.mktemp("bundles") / "toy", backend="onnxruntime").path
