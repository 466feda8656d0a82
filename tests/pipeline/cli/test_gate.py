"""`deploy gate` and `deploy bench --gate` as a user and a CI job meet them."""

from __future__ import annotations

import json
from pathlib import Path
from xml.etree import ElementTree as Xml

import pytest
from kit.builds import House

from visiondeploy.benchmarks.report.schema import Report

HOLDS = """
schema = "visiondeploy.suite/1"
name = "holds"
[[limits]]
quantity = "size"
max = 1e9
"""
FAILS = HOLDS.replace("1e9", "10.0").replace("holds", "fails")
OPEN = HOLDS.replace('quantity = "size"\nmax = 1e9', 'quantity = "p50"\nmax = 1e9').replace("holds", "open")


@pytest.fixture(scope="module")
def room(store_root, tmp_path_factory) -> House:
    """A build, its bench, and suites whose verdicts are known."""
    room = House(store_root, tmp_path_factory.mktemp("gate"))
    for name, text in (("holds", HOLDS), ("fails", FAILS), ("open", OPEN)):
        (room.cwd / f"{name}.toml").write_text(text)
    room.build("backend=onnxruntime", out=Path("builds/toy-fp32"))
    done = room.deploy("bench", "builds/toy-fp32", "--gate", "holds.toml", "-o", "builds/bench-toy")
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[0].startswith("PASS: ")
    assert {path.name for path in (room.cwd / "builds" / "bench-toy").iterdir()} >= {
        "report.json",
        "samples.safetensors",
    }
    return room


class TestExitCodes:
    @pytest.mark.parametrize(
        ("suite", "options", "code", "first"),
        [
            ("holds", (), 0, "PASS: "),
            ("fails", (), 1, "FAIL: toy-fp32-onnxruntime: size "),
            ("fails", ("--allow-inconclusive",), 1, "FAIL: "),
            (
                "open",
                (),
                1,
                "INCONCLUSIVE: toy-fp32-onnxruntime: p50 not judged: milliseconds are those of one machine",
            ),
            ("open", ("--allow-inconclusive",), 0, "INCONCLUSIVE: "),
        ],
    )
    def test_the_first_line_is_the_verdict(self, room, suite, options, code, first) -> None:
        done = room.deploy("gate", "builds/bench-toy", "--suite", f"{suite}.toml", *options)
        assert done.returncode == code, done.stderr
        assert done.stdout.startswith(first)

    def test_the_suite_may_allow_what_is_not_decided(self, room) -> None:
        text = OPEN.replace("[[", "allow_inconclusive = true\n[[")
        (room.cwd / "allowed.toml").write_text(text)
        assert room.deploy("gate", "builds/bench-toy", "--suite", "allowed.toml").returncode == 0

    @pytest.mark.parametrize(
        ("arguments", "code", "words"),
        [
            (("gate", "--suite", "camvit"), 2, "did you mean 'camvid'?"),
            (("gate",), 2, "Missing option '--suite'"),
            (("gate", "nowhere", "--suite", "demo"), 3, "there is no nowhere"),
            (("gate", "holds.toml", "--suite", "demo"), 3, "holds.toml is not a report"),
            (("gate", "builds/toy-fp32", "--suite", "holds.toml", "--update"), 2, "has no samples beside it"),
            (("gate", "--suite", "holds.toml", "--reference", "r.txt", "--update"), 2, "a reference is a JSON file"),
            (("gate", "--suite", "holds.toml", "--junit", "no/such/folder.xml"), 6, "does not exist"),
            (("bench", "builds/toy-fp32", "--junit", "x.xml"), 2, "--junit is for a suite's verdict: add --gate"),
            (("bench", "builds/toy-fp32", "--update"), 2, "--update is for a suite's verdict: add --gate"),
            (("bench", "builds/toy-fp32", "--base", "nowhere"), 3, "nowhere is no build"),
        ],
    )
    def test_a_mistake_is_one_sentence(self, room, arguments, code, words) -> None:
        done = room.deploy(*arguments)
        assert done.returncode == code, done.stderr
        assert words in done.stderr.splitlines()[-1]
        assert "Traceback" not in done.stderr


class TestOutputs:
    def test_all_of_them(self, room, tmp_path) -> None:
        given = ("--suite", "fails.toml", "--junit", tmp_path / "gate.xml", "--summary", tmp_path / "gate.md", "--json")
        done = room.deploy("gate", *given)
        assert done.returncode == 1
        found = Report.from_json(done.stdout)
        assert found.verdict.status == "FAIL"
        root = Xml.fromstring((tmp_path / "gate.xml").read_bytes())
        assert root.find(".//failure").get("message").startswith("toy-fp32-onnxruntime: size ")
        assert (tmp_path / "gate.md").read_text(encoding="utf-8").startswith("## ❌ Suite fails: FAIL")
        # Of the report on disk nothing changed.
        assert (
            json.loads((room.cwd / "builds" / "bench-toy" / "report.json").read_text())["verdict"]["status"] == "PASS"
        )

    def test_a_summary_on_stdout_is_alone_there(self, room) -> None:
        done = room.deploy("gate", "--suite", "holds.toml", "--summary", "-")
        assert done.stdout.startswith("## ✅ Suite holds: PASS")
        assert "PASS: " in done.stderr

    def test_to_the_jobs_summary_it_is_added(self, room, tmp_path) -> None:
        summary = tmp_path / "summary.md"
        summary.write_text("before\n")
        for times in (1, 2):
            room.deploy("gate", "--suite", "holds.toml", "--summary", summary, GITHUB_STEP_SUMMARY=str(summary))
            text = summary.read_text(encoding="utf-8")
            assert text.startswith("before\n")
            assert text.count("## ✅") == times


class TestUpdate:
    def test_a_reference_is_written_and_held(self, room) -> None:
        suite = HOLDS + '[[limits]]\nquantity = "miou"\nagainst = "reference"\nmax_drop = 5.0\n'
        (room.cwd / "referred.toml").write_text(suite.replace("holds", "referred"))
        before = room.deploy("gate", "--suite", "referred.toml")
        assert before.returncode == 1
        assert "there is no reference: write one with `deploy gate --update`" in before.stdout
        written = room.deploy("gate", "--suite", "referred.toml", "--update")
        assert written.returncode == 0, written.stderr
        place = Path("benchmarks") / "references" / "referred.json"
        assert f"reference {place}" in written.stderr
        assert (room.cwd / place).with_suffix(".safetensors").is_file()
        after = room.deploy("gate", "--suite", "referred.toml")
        assert after.returncode == 0, after.stdout

    def test_none_is_written_where_a_limit_fails(self, room) -> None:
        done = room.deploy("gate", "--suite", "fails.toml", "--update")
        assert done.returncode == 1
        assert "the reference is not written, as a limit fails" in done.stderr
        assert not (room.cwd / "benchmarks" / "references" / "fails.json").exists()
