"""Golden runs: recorded from a session, written the same each time, read without trust."""

from __future__ import annotations

from types import TracebackType

import numpy as np
import pytest
from kit.pixels import PixelTask
from safetensors.numpy import save_file

from visiondeploy.errors import InputError
from visiondeploy.pipeline.bundle import golden
from visiondeploy.types import Sample


class Photos:
    """A split of as many images as are asked for, each of one grey."""

    name = "val"

    def __init__(self, count: int) -> None:
        self.count = count

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, index: int) -> Sample:
        return Sample(f"photo {index}", np.full((4, 4, 3), index, np.uint8), None)


class Machine:
    """A session that doubles; with `drift` each call adds more."""

    def __init__(self, drift: float = 0.0) -> None:
        self.inputs = self.outputs = ()
        self.drift, self.calls = drift, 0

    def infer(self, feeds):
        self.calls += 1
        return {name: value * 2 + self.drift * self.calls for name, value in feeds.items()}

    def __enter__(self):
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None):
        return None


def recorded(count: int = 9, **options) -> golden.Golden:
    return golden.record(lambda: Machine(**options), PixelTask(), Photos(count), batches=True)


class TestRecording:
    def test_images_come_evenly_from_the_split(self) -> None:
        runs = recorded(10)
        greys = [float(next(iter(run.values())).max()) for run in runs.inputs]
        assert len(greys) == 4
        assert greys == sorted(greys)
        assert len(set(greys)) == 4

    @pytest.mark.parametrize("count", [1, 2, 3])
    def test_a_split_may_be_small(self, count) -> None:
        assert len(recorded(count).inputs) == count

    def test_large_outputs_make_do_with_two(self, monkeypatch) -> None:
        monkeypatch.setattr(golden, "ENOUGH", 1)
        assert len(recorded().outputs) == 2

    def test_a_runtime_that_gives_the_same_bits_is_exact(self) -> None:
        runs = recorded()
        assert runs.exact
        assert runs.exact_in_batches

    def test_one_that_does_not_is_not(self) -> None:
        # A drift in each session alone: the second gives what the first gave, image by image, but not all at once.
        assert recorded(drift=1e-3).exact
        assert recorded(drift=1e-3).exact_in_batches is False
        sessions = iter((Machine(), Machine(drift=1e-3)))
        assert not golden.record(lambda: next(sessions), PixelTask(), Photos(3)).exact

    def test_batches_are_not_tried_unasked(self) -> None:
        assert golden.record(Machine, PixelTask(), Photos(3)).exact_in_batches is None

    @pytest.mark.parametrize("bad", [np.nan, np.inf])
    def test_what_is_no_number_is_refused(self, bad) -> None:
        with pytest.raises(InputError, match="NaN or infinity"):
            recorded(drift=bad)


class TestFiles:
    def test_what_was_written_is_read(self, tmp_path) -> None:
        runs = recorded()
        (tmp_path / golden.FOLDER).mkdir()
        golden.write(runs, tmp_path)
        found = golden.read(tmp_path)
        assert len(found) == 4
        for (feeds, outputs), feed, output in zip(found, runs.inputs, runs.outputs, strict=True):
            assert all(np.array_equal(feeds[name], feed[name]) for name in feed)
            assert all(np.array_equal(outputs[name], output[name]) for name in output)

    def test_the_bytes_are_the_same_each_time(self, tmp_path) -> None:
        found = []
        for name in ("one", "two"):
            (tmp_path / name / golden.FOLDER).mkdir(parents=True)
            golden.write(recorded(), tmp_path / name)
            found.append([(tmp_path / name / file).read_bytes() for file in (golden.INPUTS, golden.OUTPUTS)])
        assert found[0] == found[1]

    @pytest.mark.parametrize("keys", [["image"], ["0."], [".image"], ["1.image"], ["0.a", "2.a"], ["-1.a"], ["01.a"]])
    def test_other_names_of_tensors_are_refused(self, tmp_path, keys) -> None:
        (tmp_path / golden.FOLDER).mkdir()
        for file in (golden.INPUTS, golden.OUTPUTS):
            save_file({key: np.zeros(1, np.float32) for key in keys}, tmp_path / file)
        with pytest.raises(InputError):
            golden.read(tmp_path)

    @pytest.mark.parametrize("data", [b"", b"\x80\x04.", b'\x08\0\0\0\0\0\0\0{"a":1}', b"\xff" * 64])
    def test_what_is_no_safetensors_file_is_refused(self, tmp_path, data) -> None:
        (tmp_path / golden.FOLDER).mkdir()
        for file in (golden.INPUTS, golden.OUTPUTS):
            (tmp_path / file).write_bytes(data)
        with pytest.raises(InputError, match="expected safetensors"):
            golden.read(tmp_path)

    def test_as_many_outputs_as_inputs(self, tmp_path) -> None:
        (tmp_path / golden.FOLDER).mkdir()
        save_file({"0.a": np.zeros(1, np.float32), "1.a": np.zeros(1, np.float32)}, tmp_path / golden.INPUTS)
        save_file({"0.b": np.zeros(1, np.float32)}, tmp_path / golden.OUTPUTS)
        with pytest.raises(InputError, match="2 inputs and 1 outputs"):
            golden.read(tmp_path)
