"""Bundles in MLServer, a second server of the same protocol that shares no code with the first."""

from __future__ import annotations

import importlib.util
import time
from collections.abc import Iterator

import numpy as np
import pytest
from kit.files import flip
from kit.mlservers import Served, serving
from kit.served import NAME, images, wanted, write_bundle

# Not imported: it and the client describe one protocol in two ways, which protobuf does not take in one process.
pytestmark = [
    pytest.mark.serving,
    pytest.mark.skipif(
        importlib.util.find_spec("mlserver") is None,
        reason="mlserver is not installed: `make serving` sets up an environment with it",
    ),
]
grpc = pytest.importorskip("tritonclient.grpc", reason="tritonclient is not installed, as for Triton")


@pytest.fixture(scope="module")
def served(bundle, tmp_path_factory) -> Iterator[Served]:
    with serving(bundle, tmp_path_factory.mktemp("mlserver") / "mlserver.log") as server:
        yield server


def ask(served: Served, batch: np.ndarray, name: str = "image", kind: str = "FP32") -> np.ndarray:
    given = grpc.InferInput(name, list(batch.shape), kind)
    given.set_data_from_numpy(batch)
    connection = grpc.InferenceServerClient(served.grpc)
    try:
        found: np.ndarray = connection.infer(NAME, [given]).as_numpy("logits")
    finally:
        connection.close()
    return found


class TestGolden:
    def test_answers_are_the_bundles_bit_for_bit(self, served, bundle) -> None:
        found = np.concatenate([ask(served, image[None]) for image in images()])
        np.testing.assert_array_equal(found.view(np.uint32), wanted(bundle).view(np.uint32))

    def test_what_does_not_fit_the_contract_is_answered_with_a_sentence(self, served) -> None:
        with pytest.raises(Exception, match="input 'image' takes"):
            ask(served, images()[:1, :, :5])


class TestDamage:
    def test_a_damaged_bundle_is_never_served(self, tmp_path) -> None:
        made, log = write_bundle(tmp_path / "damaged"), tmp_path / "mlserver.log"
        flip(next(made.rglob("model.onnx")))
        with serving(made, log, ready="health/live") as server:
            for _ in range(600):
                if "IntegrityError" in log.read_text("utf-8"):
                    break
                time.sleep(0.1)
            with pytest.raises(Exception, match=rf"{NAME}|UNAVAILABLE"):
                ask(server, images()[:1])
        assert "model.onnx has the digest" in log.read_text("utf-8")
