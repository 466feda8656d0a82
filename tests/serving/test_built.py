"""Bundles of real builds, made by `deploy` in the environment that builds, in both servers and in the runtime."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
from kit.mlservers import SOURCES, serving

from visiondeploy.pipeline.bundle.golden import read
from visiondeploy.pipeline.bundle.manifest import MANIFEST, Manifest
from visiondeploy.pipeline.serving.triton import triton, unavailable
from visiondeploy.runtime import load

ROOT = Path(__file__).resolve().parents[2]
BUILDER = Path(os.environ.get("VISIONDEPLOY_BUILD_PYTHON", ROOT / ".venv" / "bin" / "python"))
DEPLOY = "from visiondeploy.pipeline.cli import main; main()"
TOY = ROOT / "tests" / "pipeline" / "data" / "toy.toml"

pytestmark = [
    pytest.mark.serving,
    pytest.mark.timeout(900),  # the fixture trains and builds
    pytest.mark.skipif(unavailable() is not None, reason=str(unavailable())),
    pytest.mark.skipif(find_spec("mlserver") is None, reason="mlserver is not installed: `make serving` installs it"),
    pytest.mark.skipif(not BUILDER.exists(), reason=f"there is no {BUILDER}, which builds: `make setup` sets it up"),
]


@pytest.fixture(
    scope="module", params=[("int8", "onnxruntime", "float32"), ("int8", "openvino", "uint8")], ids="-".join
)
def bundle(request, tmp_path_factory) -> Path:
    """A bundle of the toy: logits of ONNX Runtime, and class maps of OpenVINO."""
    precision, backend, io = request.param
    room = tmp_path_factory.mktemp("room")
    env = os.environ | {"PYTHONPATH": str(SOURCES), "VISIONDEPLOY_CACHE": str(room / "cache")}

    def deploy(*words: str | Path) -> None:
        done = subprocess.run(
            [BUILDER, "-c", DEPLOY, *words], cwd=room, env=env, capture_output=True, text=True, check=False
        )
        # A network that has learnt nothing may miss a limit: then it is bundled by force.
        assert done.returncode in {0, 1}, done.stderr

    deploy("build", "--recipe", TOY, "--precision", precision, "--backend", backend, "--io", io, "-o", "toy")
    deploy("bundle", "toy", "-o", "bundle", "--name", "small", "--force")
    return room / "bundle"


@pytest.fixture
def manifest(bundle) -> Manifest:
    return Manifest.from_json((bundle / MANIFEST).read_bytes())


@pytest.fixture(scope="module")
def by_triton(bundle, tmp_path_factory) -> Iterator[dict[str, str]]:
    with triton(bundle / "triton", tmp_path_factory.mktemp("triton")) as server:
        yield {"http": server.http, "grpc": server.grpc}


@pytest.fixture(scope="module")
def by_mlserver(bundle, tmp_path_factory) -> Iterator[dict[str, str]]:
    with serving(bundle, tmp_path_factory.mktemp("mlserver") / "mlserver.log") as server:
        yield {"grpc": server.grpc}


def answered(address: str, protocol: str, bundle: Path) -> None:
    """Hold that every golden run comes back bit for bit."""
    library = pytest.importorskip(f"tritonclient.{protocol}")
    types = pytest.importorskip("tritonclient.utils").np_to_triton_dtype
    connection = library.InferenceServerClient(address)
    for feeds, wanted in read(bundle):
        given = []
        for name, value in feeds.items():
            given.append(library.InferInput(name, list(value.shape), types(value.dtype)))
            given[-1].set_data_from_numpy(value)
        found = connection.infer("small", given)
        for name, value in wanted.items():
            answer = found.as_numpy(name)
            assert answer.dtype == value.dtype
            assert answer.shape == value.shape
            assert answer.tobytes() == value.tobytes()
    connection.close()


class TestGolden:
    @pytest.mark.parametrize("protocol", ["http", "grpc"])
    def test_triton_gives_it_back_from_the_unmodified_repository(self, by_triton, bundle, protocol) -> None:
        answered(by_triton[protocol], protocol, bundle)

    def test_so_does_mlserver(self, by_mlserver, bundle) -> None:
        answered(by_mlserver["grpc"], "grpc", bundle)

    def test_and_the_runtime_in_this_process(self, bundle) -> None:
        with load(bundle) as model:
            for feeds, wanted in read(bundle):
                for name, value in model.infer(feeds).items():
                    assert value.tobytes() == wanted[name].tobytes()
        assert "torch" not in sys.modules

    def test_images_of_any_size_become_class_maps(self, bundle, manifest) -> None:
        image = np.random.default_rng(0).integers(0, 256, (70, 90, 3), np.uint8)
        with load(bundle) as model:
            classes = model.predict(image)
        assert classes.shape == image.shape[:2]
        assert classes.max() < len(manifest.contract.classes)
