"""Bundles and servers that the tests of serving share."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from kit.served import repository, write_bundle

from visiondeploy.pipeline.serving.triton import Served, triton, unavailable


@pytest.fixture(scope="session", params=["onnxruntime", "openvino"])
def backend(request) -> str:
    """Each backend that runs on a CPU."""
    return str(request.param)


@pytest.fixture(scope="session")
def bundle(backend, tmp_path_factory) -> Path:
    """A bundle of the backend."""
    return write_bundle(tmp_path_factory.mktemp("bundle") / "small", backend)


@pytest.fixture(scope="session")
def newer(backend, tmp_path_factory) -> Path:
    """Its next version: the same network with other weights."""
    return write_bundle(tmp_path_factory.mktemp("newer") / "small", backend, version=2)


@pytest.fixture
def models(bundle, tmp_path) -> Path:
    """A Triton repository of the test's own."""
    return repository(bundle, tmp_path / "repository")


@pytest.fixture
def served(models, tmp_path) -> Iterator[Served]:
    """A Triton that serves it, the test's own as well."""
    yield from _serving(models, tmp_path / "triton")


@pytest.fixture(scope="session")
def shared(bundle, tmp_path_factory) -> Iterator[Served]:
    """A Triton for tests that leave it as it is."""
    folder = tmp_path_factory.mktemp("shared")
    yield from _serving(repository(bundle, folder / "repository"), folder / "triton")


def _serving(models: Path, scratch: Path) -> Iterator[Served]:
    if reason := unavailable():
        pytest.skip(reason)
    scratch.mkdir()
    with triton(models, scratch) as server:
        yield server
