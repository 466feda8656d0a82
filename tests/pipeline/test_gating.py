"""Real engines, sound and broken, judged by a suite: whether the first line names what is wrong."""

from __future__ import annotations

import contextlib
import json
import shutil
from pathlib import Path

import pytest
from kit.builds import House, Recorder

from visiondeploy.benchmarks.experiments.broken import normalised_twice, rewrite, scale_off
from visiondeploy.benchmarks.report.headline import headline
from visiondeploy.benchmarks.report.schema import Report
from visiondeploy.errors import InputError, IntegrityError, UsageError
from visiondeploy.pipeline.bench import bench
from visiondeploy.pipeline.gating import Gate, judge, open_report, read_reference, write_reference
from visiondeploy.pipeline.suites import load_suite
from visiondeploy.types import Outcome

SUITE = """
schema = "visiondeploy.suite/1"
name = "toy"
[measure]
threads = 1
[[limits]]
quantity = "agreement"
min = 0.9
[[limits]]
quantity = "miou"
max_drop = 5.0
"""
BASE = '[[limits]]\nquantity = "miou"\nagainst = "base"\nmax_drop = 1.0\n'
REFERENCE = '[[limits]]\nquantity = "miou"\nagainst = "reference"\nmax_drop = 1.0\n'


@pytest.fixture(scope="module")
def room(store_root, tmp_path_factory, checkpoint) -> House:
    """Sound engines of ONNX Runtime in two precisions, and copies of them that are broken."""
    room = House(store_root, tmp_path_factory.mktemp("gating"))
    (room.cwd / "toy.toml").write_text(SUITE)
    (room.cwd / "base.toml").write_text(SUITE + BASE)
    (room.cwd / "reference.toml").write_text(SUITE + REFERENCE)
    given = ("backend=onnxruntime", f"model.checkpoint={checkpoint}", "limits.agreement=0", "limits.max_drop=100")
    for precision in ("fp32", "int8"):
        room.build(*given, f"precision={precision}", out=Path(precision))
        shutil.copytree(room.cwd / precision, room.cwd / f"{precision}-broken")
    rewrite(room.cwd / "fp32-broken", "engines/onnxruntime", normalised_twice)
    rewrite(room.cwd / "int8-broken", "engines/onnxruntime", scale_off(1))
    return room


def run(room: House, *folders: str, suite: str = "toy.toml", **given) -> Report:
    known = {"images": None, "seconds": 1, "threads": None, "out": room.cwd / "out" / "-".join((*folders, suite))}
    with contextlib.chdir(room.cwd):
        gate = Gate(load_suite(suite))
        return bench([Path(name) for name in folders], events=Recorder(), gate_by=gate, **known | given).report


class TestBroken:
    @pytest.fixture(scope="class")
    @staticmethod
    def broken(room) -> Report:
        return run(room, "fp32-broken", "int8-broken")

    def test_a_second_normalisation_is_named_first(self, broken) -> None:
        line = headline(broken.verdict)
        assert line.startswith("FAIL: toy-fp32-onnxruntime: normalisation wrong: ")
        # What normalises by itself has to be fed plain pixels.
        assert "dB once images go in as 0 … 1" in line

    def test_the_layer_whose_scale_is_off_is_named(self, broken) -> None:
        (found,) = [check for check in broken.verdict.checks if check.name == "toy-int8-onnxruntime: layers"]
        assert found.status is Outcome.FAIL
        assert found.limit == "each within 20 dB of onnx-int8-cpu-onnxruntime"
        assert "engines/onnxruntime parts at layer " in found.found
        assert "normalisation" not in found.found

    def test_what_they_lead_to_comes_after(self, broken) -> None:
        names = [check.name for check in broken.verdict.by_severity() if check.status is Outcome.FAIL]
        assert names.index("toy-int8-onnxruntime: layers") < names.index("toy-int8-onnxruntime: agreement")

    def test_half_the_threads(self, room) -> None:
        report = open_report(room.cwd / "out" / "fp32-broken-int8-broken-toy.toml")
        suite = load_suite(str(room.cwd / "toy.toml"))
        wanted = suite.model_copy(update={"measure": suite.measure.model_copy(update={"threads": 2})})
        line = headline(judge(report, Gate(wanted), Recorder()).verdict)
        assert line.startswith("FAIL: threads ran on 1 thread (limit: the suite wants 2)")


class TestBase:
    @pytest.fixture(scope="class")
    @staticmethod
    def report(room) -> Report:
        bases = [room.cwd / "fp32", room.cwd / "int8"]
        return run(room, "fp32", "int8-broken", suite="base.toml", bases=bases)

    def test_engines_of_base_and_candidate_are_measured_in_one_run(self, report) -> None:
        assert [(row.name, row.base) for row in report.rows] == [
            ("toy-fp32-pytorch", False),
            ("toy-fp32-onnxruntime", False),
            ("toy-int8-onnxruntime", False),
            ("base:toy-fp32-onnxruntime", True),
            ("base:toy-int8-onnxruntime", True),
        ]
        assert len({len(row.latency_ms.blocks) for row in report.rows}) == 1

    def test_a_change_is_of_the_candidate_alone(self, report) -> None:
        found = {check.name: check for check in report.verdict.checks if "below the base" in check.limit}
        kept = [check for name, check in found.items() if name == "toy-fp32-onnxruntime: miou"]
        assert not [name for name in found if name.startswith("base:")]
        assert kept[0].status is Outcome.PASS

    def test_another_task_size_or_data_is_refused(self, room) -> None:
        folder = room.cwd / "other"
        shutil.copytree(room.cwd / "fp32", folder)
        text = (folder / "build.json").read_text()
        record = json.loads(text)
        record["build"]["validation"] = "0" * 64
        (folder / "build.json").write_text(json.dumps(record))
        with pytest.raises(UsageError, match=r"the base .*other cannot be compared with fp32: it has other validation"):
            run(room, "fp32", bases=[folder])

    def test_two_builds_of_one_engine_are_refused(self, room) -> None:
        with pytest.raises(UsageError, match="two builds of the base bring an engine of onnxruntime in fp32"):
            run(room, "fp32", bases=[room.cwd / "fp32", room.cwd / "fp32-broken"])


class TestReference:
    @pytest.fixture(scope="class")
    @staticmethod
    def stored(room) -> Path:
        run(room, "int8", out=room.cwd / "sound")
        gate = Gate(load_suite(str(room.cwd / "reference.toml")), room.cwd / "stored" / "toy.json")
        return write_reference(open_report(room.cwd / "sound"), gate)

    def judged(self, room, stored, report: Path) -> Report:
        return judge(open_report(report), Gate(load_suite(str(room.cwd / "reference.toml")), stored), Recorder())

    def test_is_held_by_what_it_was_made_of(self, room, stored) -> None:
        found = self.judged(room, stored, room.cwd / "sound")
        assert found.verdict.status is Outcome.PASS
        reference, samples = read_reference(stored)
        assert [row.name for row in reference.rows] == ["toy-fp32-pytorch", "toy-int8-onnxruntime"]
        assert len(samples.names) == 4

    def test_whose_samples_are_others_is_refused(self, room, stored, tmp_path) -> None:
        shutil.copytree(stored.parent, tmp_path / "copy")
        with (tmp_path / "copy" / "toy.safetensors").open("ab") as file:
            file.write(b"x")
        with pytest.raises(IntegrityError, match="is not of the reference"):
            self.judged(room, tmp_path / "copy" / "toy.json", room.cwd / "sound")

    def test_that_is_not_there(self, room) -> None:
        with pytest.raises(InputError, match=r"there is no reference .*none\.json: write it with --update"):
            self.judged(room, room.cwd / "none.json", room.cwd / "sound")

    def test_of_another_machine_judges_accuracy_alone(self, room, stored, tmp_path) -> None:
        content = json.loads(stored.read_text(encoding="utf-8"))
        content["fingerprint"], content["environment"]["cpu"] = "0" * 64, "Older 1000"
        (tmp_path / "toy.json").write_text(json.dumps(content))
        shutil.copy(stored.with_suffix(".safetensors"), tmp_path)
        timed = SUITE + REFERENCE + '[[limits]]\nquantity = "speedup"\nagainst = "reference"\nmax_slowdown = 5.0\n'
        (tmp_path / "timed.toml").write_text(timed)
        gate = Gate(load_suite(str(tmp_path / "timed.toml")), tmp_path / "toy.json")
        found = judge(open_report(room.cwd / "sound"), gate, Recorder()).verdict
        assert {check.name: check.status for check in found.checks if "reference" in check.limit} == {
            "toy-int8-onnxruntime: miou": Outcome.PASS,
            "toy-int8-onnxruntime: speedup": Outcome.INCONCLUSIVE,
        }
        assert "the reference was measured elsewhere (cpu Older 1000, not" in headline(found)

    def test_nothing_else_is_overwritten(self, room, stored, tmp_path) -> None:
        (tmp_path / "mine.json").write_text("{}")
        gate = Gate(load_suite(str(room.cwd / "toy.toml")), tmp_path / "mine.json")
        with pytest.raises(UsageError, match="it is not overwritten"):
            write_reference(open_report(room.cwd / "sound"), gate)
        assert (tmp_path / "mine.json").read_text() == "{}"


class TestReports:
    def test_a_build_is_judged_by_what_it_measured(self, room) -> None:
        found = judge(open_report(room.cwd / "fp32"), Gate(load_suite(str(room.cwd / "toy.toml"))), Recorder())
        assert {check.name for check in found.verdict.checks if check.origin == "suite"} == {
            "threads",
            "toy-fp32-onnxruntime: agreement",
            "toy-fp32-onnxruntime: miou",
        }
        assert any(check.name.startswith("parity") for check in found.verdict.checks)

    def test_samples_of_another_report_are_refused(self, room, tmp_path) -> None:
        run(room, "int8", out=tmp_path / "one", images=2)
        run(room, "int8", out=tmp_path / "two", images=3)
        shutil.copy(tmp_path / "one" / "samples.safetensors", tmp_path / "two")
        with pytest.raises(IntegrityError, match=r"samples\.safetensors is not of the report beside it"):
            open_report(tmp_path / "two")

    def test_what_is_no_report(self, room, tmp_path) -> None:
        with pytest.raises(InputError, match=r"there is no .*report\.json, expected a report of `deploy bench`"):
            open_report(tmp_path)
        with contextlib.chdir(tmp_path), pytest.raises(InputError, match="there is no report in builds/bench"):
            open_report(None)
