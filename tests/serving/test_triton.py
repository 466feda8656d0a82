"""Bundles in the real Triton, asked by its real client."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from threading import Event, Thread
from types import ModuleType

import numpy as np
import pytest
from kit.served import FILES, NAME, images, put_version, wanted

from visiondeploy.errors import EnvironmentMismatch
from visiondeploy.pipeline.bundle.manifest import MANIFEST, Manifest
from visiondeploy.pipeline.serving.triton import Served, triton, unavailable

pytestmark = [pytest.mark.serving, pytest.mark.skipif(unavailable() is not None, reason=str(unavailable()))]

PROTOCOLS = ("http", "grpc")


def client_of(protocol: str) -> ModuleType:
    return pytest.importorskip(f"tritonclient.{protocol}")


@contextmanager
def client(served: Served, protocol: str) -> Iterator[object]:
    made = client_of(protocol).InferenceServerClient(getattr(served, protocol))
    try:
        yield made
    finally:
        made.close()


def ask(connection, protocol: str, batch: np.ndarray) -> tuple[np.ndarray, str]:
    """The logits of a batch, and the version that answered."""
    given = client_of(protocol).InferInput("image", list(batch.shape), "FP32")
    given.set_data_from_numpy(batch)
    answer = connection.infer(NAME, [given])
    said = answer.get_response()
    return answer.as_numpy("logits"), said["model_version"] if protocol == "http" else said.model_version


def statistics(served: Served) -> dict[str, int]:
    """How many images were answered, and in how many runs, over all versions."""
    with client(served, "http") as connection:
        found = connection.get_inference_statistics(NAME)["model_stats"]
    return {key: sum(one[key] for one in found) for key in ("inference_count", "execution_count")}


class TestGolden:
    @pytest.mark.parametrize("protocol", PROTOCOLS)
    def test_answers_are_the_bundles_bit_for_bit(self, shared, bundle, protocol) -> None:
        with client(shared, protocol) as connection:
            found = [ask(connection, protocol, image[None])[0] for image in images()]
        np.testing.assert_array_equal(np.concatenate(found).view(np.uint32), wanted(bundle).view(np.uint32))

    def test_it_describes_itself_as_the_contract_does(self, shared, bundle) -> None:
        contract = Manifest.from_json((bundle / MANIFEST).read_bytes()).contract
        with client(shared, "http") as connection:
            said = connection.get_model_metadata(NAME)
        for kind, promised in (("inputs", contract.inputs), ("outputs", contract.outputs)):
            assert [(one["name"], tuple(one["shape"])) for one in said[kind]] == [(t.name, t.shape) for t in promised]


class TestBatching:
    def test_requests_that_wait_are_run_together_and_answered_apart(self, shared, bundle, backend) -> None:
        before, expected, rounds = statistics(shared), wanted(bundle), 12
        with ThreadPoolExecutor(8) as threads, client(shared, "grpc") as connection:
            asked = [number % len(expected) for number in range(8 * rounds)]
            found = list(threads.map(lambda number: ask(connection, "grpc", images()[number][None])[0], asked))
        for number, answer in zip(asked, found, strict=True):
            np.testing.assert_array_equal(answer[0], expected[number])
        after = statistics(shared)
        assert after["inference_count"] - before["inference_count"] == len(asked)
        runs = after["execution_count"] - before["execution_count"]
        # Triton's OpenVINO backend takes no more than one at a time, and so does the bundle's configuration.
        assert runs == len(asked) if backend == "openvino" else runs < len(asked)


@dataclass
class Load:
    """What clients saw who asked for the same image all the time."""

    answers: list[tuple[np.ndarray, str]] = field(default_factory=list)
    failures: list[Exception] = field(default_factory=list)


@contextmanager
def under_load(served: Served, image: np.ndarray, clients: int = 2) -> Iterator[list[Load]]:
    """Clients that ask until the block ends."""
    over, loads = Event(), [Load() for _ in range(clients)]

    def run(load: Load) -> None:
        with client(served, "grpc") as connection:
            while not over.is_set():
                try:
                    load.answers.append(ask(connection, "grpc", image))
                except Exception as error:  # what a client sees, whatever it is
                    load.failures.append(error)

    threads = [Thread(target=run, args=(load,)) for load in loads]
    for thread in threads:
        thread.start()
    try:
        yield loads
    finally:
        over.set()
        for thread in threads:
            thread.join()


def wait_for(loads: list[Load], version: str, more: int = 3) -> None:
    """Until every client had some answers of a version."""
    pause = Event()
    for load in loads:
        for _ in range(1000):
            if sum(one == version for _, one in load.answers) >= more:
                break
            pause.wait(0.05)
        else:
            pytest.fail(f"no answers of version {version}")


class TestHotSwap:
    def test_version_2_takes_over_with_no_failed_and_no_mixed_answer(self, served, models, bundle, newer) -> None:
        # The warm-up: the first request is not the first run.
        assert statistics(served) == {"inference_count": 1, "execution_count": 1}
        image = images()[:1]
        expected = {"1": wanted(bundle)[:1], "2": wanted(newer)[:1]}
        assert not np.array_equal(expected["1"], expected["2"])
        with under_load(served, image) as loads:
            wait_for(loads, "1")
            put_version(models, newer, 2)
            with client(served, "http") as connection:
                connection.load_model(NAME)
            wait_for(loads, "2")
        for load in loads:
            assert not load.failures
            for answer, version in load.answers:
                np.testing.assert_array_equal(answer, expected[version])
            versions = [version for _, version in load.answers]
            assert versions == sorted(versions)
        with client(served, "http") as connection:
            assert not connection.is_model_ready(NAME, "1")
            np.testing.assert_array_equal(ask(connection, "http", image)[0], expected["2"])

    def test_a_truncated_version_is_refused_and_the_old_one_stays(self, served, models, backend, bundle, newer) -> None:
        file = put_version(models, newer, 3) / {"openvino": "model.bin"}.get(backend, FILES["onnxruntime"])
        file.write_bytes(file.read_bytes()[: file.stat().st_size // 2])
        image = images()[:1]
        with under_load(served, image, clients=1) as (load,):
            wait_for([load], "1")
            with client(served, "http") as connection, pytest.raises(Exception, match="load failed"):
                connection.load_model(NAME)
            wait_for([load], "1", more=len(load.answers) + 3)
        assert not load.failures
        assert {version for _, version in load.answers} == {"1"}
        for answer, _ in load.answers:
            np.testing.assert_array_equal(answer, wanted(bundle)[:1])


class TestConfiguration:
    @pytest.mark.parametrize(("good", "bad"), [("image", "picture"), ("logits", "classes")])
    def test_a_name_that_the_engine_lacks_is_no_ready_model(self, models, tmp_path, good, bad) -> None:
        config = models / NAME / "config.pbtxt"
        config.write_text(config.read_text("utf-8").replace(f'"{good}"', f'"{bad}"'), "utf-8")
        (tmp_path / "triton").mkdir()
        with pytest.raises(EnvironmentMismatch, match="ended with"), triton(models, tmp_path / "triton"):
            pass


class TestEnd:
    def test_nothing_of_it_is_left(self, models, tmp_path) -> None:
        (tmp_path / "triton").mkdir()
        with pytest.raises(RuntimeError, match="mine"), triton(models, tmp_path / "triton"):
            raise RuntimeError("mine")
        left = subprocess.run(["pgrep", "-f", str(tmp_path)], capture_output=True, text=True, check=False)
        assert left.stdout == ""

    def test_it_listens_on_loopback_alone(self, shared) -> None:
        listening = [line.split() for line in Path("/proc/net/tcp").read_text().splitlines()[1:]]
        ours = {f"{int(address.split(':')[1]):04X}" for address in (shared.http, shared.grpc)}
        found = {one[1].split(":")[0] for one in listening if one[3] == "0A" and one[1].split(":")[1] in ours}
        assert found == {"0100007F"}
