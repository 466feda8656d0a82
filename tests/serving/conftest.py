"""Bundles and servers that the tests of serving share. In an environment without the servers they are skipped."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from kit.served import repository, write_bundle

from visiondeploy.pipeline.serving.triton import Served, triton, unavailable


@pytest.fixture(scope="session", params=["onnxruntime", "openvino"])
def bundle(request, tmp_path_factory) -> Path:
    """A bundle of each backend that runs on a CPU."""
    return write_bundle(tmp_path_factory.mktemp("bundle") / "small", request.param)


@pytest.fixture(scope="session")
def newer(bundle, tmp_path_factory) -> Path:
    """The bundle's next version: the same network with other weights."""
    kind = "openvino" if next(bundle.rglob("model.xml"), None) else "onnxruntime"
    return write_bundle(tmp_path_factory.mktemp("newer") / "small", kind, version=2)


@pytest.fixture
def models(bundle, tmp_path) -> Path:
    """A Triton repository of the test's own."""
    return repository(bundle, tmp_path / "repository")


@pytest.fixture
def served(models, tmp_path) -> Iterator[Served]:
    """A Triton that serves it."""
    if reason := unavailable():
        pytest.skip(reason)
    scratch = tmp_path / "triton"
    scratch.mkdir()
    with triton(models, scratch) as server:
        yield server
