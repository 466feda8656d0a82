"""The command as a user meets it: exit codes, sentences, and what goes to stdout."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from kit.builds import DEPLOY, LAYERS, TOY, House, deploy, flip

from visiondeploy import __version__
from visiondeploy.benchmarks.report.schema import Report
from visiondeploy.models.data.table import DATASETS
from visiondeploy.models.shipped import shipped_networks
from visiondeploy.models.table import NETWORKS
from visiondeploy.pipeline.backends.table import BACKENDS
from visiondeploy.pipeline.cli import COMMANDS
from visiondeploy.pipeline.folder import BUILD, read_build, verify
from visiondeploy.pipeline.recipe import available_recipes

HEAVY = ("torch", "onnx", "onnxruntime", "openvino", "numpy", "pydantic", "rich", "scipy", "PIL")
ESCAPE = "\x1b"


def sentence(done: subprocess.CompletedProcess[str]) -> str:
    """The one line on stderr that says what is wrong."""
    lines = done.stderr.splitlines()
    assert len(lines) == 1, done.stderr
    assert lines[0].startswith("deploy: ")
    assert "unexpected" not in lines[0]
    assert done.stdout == ""
    return lines[0]


class TestHelp:
    def test_imports_no_heavy_module(self) -> None:
        code = f"""
import sys
from visiondeploy.pipeline.cli import main
sys.argv = ["deploy", "--help"]
try:
    main()
finally:
    print(*sorted(set({HEAVY!r}) & set(sys.modules)), file=sys.stderr)
"""
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
        assert done.stderr.strip() == ""
        assert all(f"  {name} " in done.stdout for name in COMMANDS)

    @pytest.mark.parametrize("command", COMMANDS)
    def test_of_each_command(self, command, capsys, monkeypatch) -> None:
        from visiondeploy.pipeline.cli import main

        monkeypatch.setattr(sys, "argv", ["deploy", command, "-h"])
        with pytest.raises(SystemExit) as left:
            main()
        assert left.value.code == 0
        out, err = capsys.readouterr()
        assert out.startswith(f"Usage: deploy {command} ")
        assert err == ""

    def test_without_a_command_is_shown_on_stderr(self, tmp_path) -> None:
        done = deploy(cwd=tmp_path)
        assert (done.returncode, done.stdout) == (2, "")
        assert done.stderr.startswith("Usage: deploy ")

    def test_version(self, tmp_path) -> None:
        assert deploy("--version", cwd=tmp_path).stdout == f"deploy, version {__version__}\n"


BUILD_UNET = ["build", "--model", "unet"]
BAD = {
    "command": (["bild"], 2, "no command 'bild': did you mean 'build'"),
    "option": (["build", "--modle", "unet"], 2, "'--modle'. Did you mean '--model'? See `deploy build --help`."),
    "option without value": (["build", "--model"], 2, "'--model' requires an argument"),
    "argument too many": ([*BUILD_UNET, "int8"], 2, "unexpected extra argument (int8)"),
    "model": (["build", "--model", "unte"], 2, "no network 'unte': did you mean 'unet'"),
    "neither model nor recipe": (["build"], 2, "neither --model nor --recipe was given"),
    "both": ([*BUILD_UNET, "--recipe", "x.toml"], 2, "--model and --recipe were both given"),
    "backend": ([*BUILD_UNET, "--backend", "tensort"], 2, "no backend 'tensort'"),
    "precision": (
        [*BUILD_UNET, "--precision", "fp61"],
        2,
        "expected one of fp32, fp16, int8, fp8: did you mean 'fp16'",
    ),
    "inputs and outputs": ([*BUILD_UNET, "--io", "uint9"], 2, "expected one of float32, uint8: did you mean 'uint8'"),
    "inputs and outputs of compile": (["compile", *BUILD_UNET[1:], "--io", "int8"], 2, "export.io is 'int8', expected"),
    "precision of the backend": (
        [*BUILD_UNET, "--precision", "int8", "--backend", "torchscript"],
        5,
        "backend torchscript runs fp32, not int8",
    ),
    "data set": ([*BUILD_UNET, "--dataset", "synthetik"], 2, "no data set 'synthetik': did you mean 'synthetic'"),
    "path of the data set": ([*BUILD_UNET, "--dataset", "folder:nowhere"], 3, "'nowhere' is not a folder"),
    "data set without path": ([*BUILD_UNET, "--dataset", "folder"], 2, "names no place, expected 'folder:PATH'"),
    "recipe missing": (["build", "--recipe", "no.toml"], 3, "there is no file no.toml"),
    "recipe not UTF-8": (["build", "--recipe", "latin.toml"], 3, "latin.toml is not UTF-8 (line 2)"),
    "recipe not TOML": (["build", "--recipe", "broken.toml"], 3, "broken.toml is not TOML"),
    "recipe unknown key": (["build", "--recipe", "typo.toml"], 2, "no key 'limits.agrement': did you mean"),
    "threshold": (
        [*BUILD_UNET, "--set", "limits.agreement=95%"],
        2,
        "is '95%', expected a number from 0 to 1: write 0.95",
    ),
    "NaN": ([*BUILD_UNET, "--set", "limits.max_drop=nan"], 2, "expected a finite number"),
    "set without value": ([*BUILD_UNET, "--set", "train.steps"], 2, "--set train.steps has no '='"),
    "size": ([*BUILD_UNET, "--size", "axb"], 2, "'axb' is not a size: write HEIGHTxWIDTH"),
    "size of digits that are no numbers": ([*BUILD_UNET, "--size", "²x³"], 2, "is not a size"),
    "size of too many digits": ([*BUILD_UNET, "--size", f"{'9' * 5000}x9"], 2, "is not a size"),
    "size too large": ([*BUILD_UNET, "--size", "99999x16"], 2, "input.height is 99999, expected a whole number"),
    "steps": ([*BUILD_UNET, "--set", "train.steps=-1"], 2, "train.steps is -1, expected a whole number of at least 0"),
    "threads": ([*BUILD_UNET, "--threads", "0"], 2, "'--threads': 0 is not in the range 1<=x<=1024"),
    "threads of nobody": ([*BUILD_UNET, "--set", "threads=100000"], 2, "expected a whole number from 1 to 1024"),
    "time that is no number": (["bench", "--seconds", "nan"], 2, "'--seconds': nan is no time: write seconds"),
    "time without end": (["bench", "--seconds", "inf"], 2, "'--seconds': inf is no time"),
    "scale": ([*BUILD_UNET, "--set", "augment.scale=[2, 1]"], 2, "scale runs from small to large, found [2.0, 1.0]"),
    "no loss": (
        [*BUILD_UNET, "--set", "train.dice=0", "--set", "train.cross_entropy=0"],
        2,
        "cross_entropy and dice are both 0",
    ),
    "seed": ([*BUILD_UNET, "--set", "train.seed=2147483648"], 2, "expected a whole number from 0 to 2147483647"),
    "seed of the calibration": ([*BUILD_UNET, "--set", "calibration.seed=-1"], 2, "calibration.seed is -1, expected"),
    "seed of the measurement": ([*BUILD_UNET, "--set", "bench.latency.seed=-1"], 2, "latency.seed is -1, expected"),
    "checkpoint missing": ([*BUILD_UNET, "--checkpoint", "nowhere"], 3, "nowhere holds no network.json"),
    "checkpoint without files": ([*BUILD_UNET, "--checkpoint", "empty"], 3, "empty holds no network.json"),
    "checkpoint a file": ([*BUILD_UNET, "--checkpoint", "file"], 3, "not a checkpoint's description"),
    "checkpoint a picture": ([*BUILD_UNET, "--checkpoint", "picture"], 3, "not a checkpoint's description"),
    "target a file": ([*BUILD_UNET, "-o", "file"], 6, "is a file, but a folder is needed there"),
    "target of others": ([*BUILD_UNET, "-o", "full"], 2, "full holds files but no build.json"),
    "target in /proc": ([*BUILD_UNET, "-o", "/proc/x"], 6, "choose another folder with -o"),
    "target too long": ([*BUILD_UNET, "-o", "x" * 300], 6, "File name too long"),
    "target with a line break": ([*BUILD_UNET, "-o", "file/a\nb"], 6, "file is a file"),
    "builds missing": (["bench"], 3, "there is no build in builds/"),
    "build missing": (["bench", "nowhere"], 3, "nowhere is no build: it has no build.json"),
    "build with a line break": (["bench", "no\nwhere\x1b[31m"], 3, r"no\nwhere\x1b[31m is no build"),
    "build a file": (["bench", "file"], 3, "cannot be read: Not a directory"),
    "seconds": (["bench", "--seconds", "0"], 2, "0.0 is not in the range x>=1"),
    "inspect nothing": (["inspect"], 2, "Missing argument 'BUILD'"),
    "inspect no build": (["inspect", "full"], 3, "full is no build: it has no build.json"),
    "compare one": (["compare", "full"], 2, "Missing argument 'CANDIDATE'"),
    "compare no builds": (["compare", "nowhere/onnx-fp32", "full"], 3, "nowhere/onnx-fp32 is no build"),
    "decibels that are no number": (["compare", "a", "b", "--sqnr-db", "nan"], 2, "nan is no ratio: write decibels"),
    "no images": (["compare", "a", "b", "--images", "0"], 2, "0 is not in the range x>=1"),
}
IN_PROCESS = """
import json, os, sys
from visiondeploy.pipeline.cli import main
for arguments in json.loads(sys.argv[1]):
    sys.argv = ["deploy", *arguments]
    try:
        main()
    except SystemExit as left:
        print(flush=True)
        print(left.code, file=sys.stderr, flush=True)
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("bad")
    (folder / "latin.toml").write_bytes('name = "x"\ntask = "Gr\xfcn"\n'.encode("latin-1"))
    (folder / "broken.toml").write_text('name = "x')
    (folder / "typo.toml").write_text(TOY.read_text().replace("[limits]", "[limits]\nagrement = 1.0"))
    (folder / "file").write_text("mine")
    for name in ("empty", "full", "picture"):
        (folder / name).mkdir()
    (folder / "full" / "thesis.tex").write_text("mine")
    (folder / "picture" / "network.json").write_bytes(b"\x89PNG\r\n\x1a\n\x00")
    return folder


@pytest.fixture(scope="module")
def answers(folder) -> dict[str, tuple[int, str]]:
    """Exit code and stderr of each, by one process: a start costs more than most of them take."""
    before = sorted(path.name for path in folder.rglob("*"))
    calls = json.dumps([arguments for arguments, _, _ in BAD.values()])
    variables = os.environ | {"VISIONDEPLOY_CACHE": str(folder / "cache")}
    command = [sys.executable, "-c", IN_PROCESS, calls]
    done = subprocess.run(command, cwd=folder, env=variables, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == ""
    assert sorted(path.name for path in folder.rglob("*")) == before
    lines = done.stderr.splitlines()
    assert len(lines) == 2 * len(BAD), done.stderr
    return {name: (int(code), said) for name, said, code in zip(BAD, lines[::2], lines[1::2], strict=True)}


class TestBadInputs:
    """One sentence that names what was found, and the exit code of its kind."""

    @pytest.mark.parametrize("name", BAD)
    def test_is_one_sentence_with_its_exit_code(self, answers, name) -> None:
        _, code, words = BAD[name]
        found, said = answers[name]
        assert said.startswith("deploy: ")
        assert words in said
        assert "(a fault of visiondeploy" not in said
        assert found == code

    @pytest.mark.parametrize("name", ["command", "option", "recipe not UTF-8"])
    def test_so_says_the_command_itself(self, folder, answers, name) -> None:
        done = deploy(*BAD[name][0], cwd=folder)
        assert (done.returncode, sentence(done)) == answers[name]

    def test_the_cache_is_a_file(self, folder) -> None:
        done = deploy("build", "--recipe", TOY, cwd=folder, VISIONDEPLOY_CACHE=str(folder / "file"))
        lines = done.stderr.splitlines()
        assert (done.returncode, done.stdout) == (6, "")
        assert "file is not a folder, but one is needed" in lines[-1]
        assert "set VISIONDEPLOY_CACHE to another folder" in lines[-1]
        assert "Traceback" not in done.stderr

    def test_builds_is_a_file(self, tmp_path) -> None:
        (tmp_path / "builds").write_text("mine")
        done = deploy("build", "--recipe", TOY, cwd=tmp_path, VISIONDEPLOY_CACHE=str(tmp_path / "cache"))
        assert done.returncode == 6
        assert "builds is a file, but a folder is needed there" in sentence(done)
        assert {path.name for path in tmp_path.iterdir()} == {"builds"}

    def test_debug_shows_the_traceback(self, tmp_path) -> None:
        done = deploy("--debug", "build", "--model", "unte", cwd=tmp_path)
        assert "Traceback" in done.stderr
        assert "no network 'unte'" in done.stderr.splitlines()[-1]


@pytest.fixture(scope="module")
def built(store_root, tmp_path_factory) -> tuple[House, subprocess.CompletedProcess[str]]:
    room = House(store_root, tmp_path_factory.mktemp("stdout"))
    return room, room.deploy("build", "--recipe", TOY, "--precision", "int8", "--json")


class TestStdout:
    def test_json_is_the_report_and_nothing_else(self, built) -> None:
        room, done = built
        assert done.returncode == 0, done.stderr
        report = Report.from_json(done.stdout)
        assert [row.precision for row in report.rows] == ["fp32", "int8", "int8"]
        assert done.stdout == (room.cwd / "builds" / "toy-int8" / BUILD).read_text(encoding="utf-8")

    def test_progress_goes_to_stderr_in_plain_lines(self, built) -> None:
        stages = [
            "train",
            "export",
            "sample",
            "observe",
            "quantise cpu",
            "quantise cpu-onnxruntime",
            "compile openvino",
            "compile onnxruntime",
            "compile pytorch",
            "measure",
        ]
        said = [line[2:].split("  ")[0] for line in built[1].stderr.splitlines() if line.startswith("✓")]
        assert said == stages

    def test_the_report_is_a_table_without_codes_where_there_is_no_terminal(self, built) -> None:
        done = built[0].deploy("build", "--recipe", TOY, "--precision", "int8")
        assert done.returncode == 0
        assert ESCAPE not in done.stdout + done.stderr
        assert "toy-int8-openvino" in done.stdout
        assert "PASS" in done.stdout
        assert "next     deploy bench builds/toy-int8" in done.stderr

    @pytest.mark.parametrize(("variable", "coloured"), [("NO_COLOR", False), ("FORCE_COLOR", True)])
    def test_colour_follows_the_usual_variables(self, built, variable, coloured) -> None:
        done = built[0].deploy(
            "build", "--recipe", TOY, "--precision", "int8", **{variable: "1", "TERM": "xterm-256color"}
        )
        assert ("\x1b[32m" in done.stdout or "\x1b[1;32m" in done.stdout) == coloured

    @pytest.mark.parametrize(
        "arguments",
        [["--help"], ["models"], ["doctor"], ["build", "--recipe", str(TOY), "--precision", "int8", "--json"]],
        ids=["help", "models", "doctor", "json"],
    )
    def test_a_reader_that_leaves_early_is_no_error(self, built, arguments) -> None:
        room = built[0]
        receive, send = os.pipe()
        os.close(receive)  # as `| head` does, but surely before the first write
        try:
            variables = os.environ | {"VISIONDEPLOY_CACHE": str(room.store)}
            command = [str(DEPLOY), *arguments]
            done = subprocess.run(
                command, cwd=room.cwd, env=variables, stdout=send, stderr=subprocess.PIPE, text=True, check=False
            )
        finally:
            os.close(send)
        assert done.returncode == 0
        assert "Traceback" not in done.stderr
        assert "BrokenPipe" not in done.stderr

    @pytest.mark.parametrize("closed", [">&-", "2>&-", "<&- >&- 2>&-"])
    def test_a_stream_that_is_closed_is_no_error(self, built, closed) -> None:
        """Nor does what a build writes land in a file that got the stream's number."""
        room = built[0]
        for limit, code in (("0.5", 0), ("500", 1)):
            given = f"--recipe {TOY} --precision int8 --set limits.export_sqnr_db={limit}"
            shell = f"exec {DEPLOY} build {given} -o closed {closed}"
            variables = os.environ | {"VISIONDEPLOY_CACHE": str(room.store)}
            done = subprocess.run(
                ["sh", "-c", shell], cwd=room.cwd, env=variables, capture_output=True, text=True, check=False
            )
            assert (done.returncode, "Traceback" in done.stderr) == (code, False), done.stderr
            assert ("toy-int8-openvino" in done.stdout) == (">&-" not in closed.split())
            verify(room.cwd / "closed", read_build(room.cwd / "closed")[0])

    def test_a_terminal_that_knows_ascii_alone(self, built) -> None:
        given = ("--recipe", TOY, "--precision", "int8")
        done = built[0].deploy("build", *given, PYTHONIOENCODING="ascii")
        assert (done.returncode, "unexpected" in done.stderr) == (0, False), done.stderr
        assert done.stdout.isascii()
        assert "toy-int8-openvino" in done.stdout
        done = built[0].deploy("bench", "builds/toy-int8", "--images", "2", "--json", PYTHONIOENCODING="ascii")
        assert done.returncode == 0, done.stderr
        assert Report.from_json(done.stdout).rows

    def test_a_reader_of_stderr_that_leaves_does_not_end_a_build(self, built) -> None:
        room = built[0]
        receive, send = os.pipe()
        os.close(receive)
        try:
            variables = os.environ | {"VISIONDEPLOY_CACHE": str(room.store)}
            command = [str(DEPLOY), "export", "--recipe", str(TOY), "-o", "quiet"]
            subprocess.run(command, cwd=room.cwd, env=variables, stdout=subprocess.DEVNULL, stderr=send, check=False)
        finally:
            os.close(send)
        assert (room.cwd / "quiet" / BUILD).exists()


class TestStages:
    def test_each_prints_where_its_files_are(self, store_root, tmp_path) -> None:
        room = House(store_root, tmp_path)
        for command, places in (
            ("train", ["toy-network/network"]),
            ("export", ["toy-onnx/onnx-fp32"]),
            ("compile", ["toy-fp32/engines/openvino", "toy-fp32/engines/onnxruntime"]),
        ):
            done = room.deploy(command, "--recipe", TOY)
            assert (done.returncode, done.stdout.split()) == (0, [f"builds/{place}" for place in places])

    @pytest.mark.parametrize(
        ("command", "limit"), [("export", "export_sqnr_db"), ("compile", "export_sqnr_db"), ("build", "export_sqnr_db")]
    )
    def test_a_limit_that_does_not_hold_ends_with_1(self, store_root, tmp_path, command, limit) -> None:
        room = House(store_root, tmp_path)
        done = room.deploy(command, "--recipe", TOY, "--set", f"limits.{limit}=500")
        assert done.returncode == 1
        assert done.stderr.splitlines()[-1].startswith("deploy: parity export onnx: ")
        assert "limit: SQNR ≥ 500 dB" in done.stderr.splitlines()[-1]
        assert done.stdout != ""

    def test_so_does_the_verdict_on_int8(self, store_root, tmp_path, checkpoint) -> None:
        room = House(store_root, tmp_path)
        given = ["--checkpoint", checkpoint, "--precision", "int8", "--backend", "onnxruntime"]
        done = room.deploy("build", "--recipe", TOY, *given, "--set", "limits.agreement=1.0", "--json")
        assert done.returncode == 1
        assert done.stderr.splitlines()[-1].startswith("deploy: parity int8 cpu-onnxruntime: ")
        assert json.loads(done.stdout)["verdict"]["status"] == "FAIL"


class TestTables:
    def test_models_lists_everything_there_is(self, tmp_path) -> None:
        done = deploy("models", cwd=tmp_path)
        assert (done.returncode, done.stderr) == (0, "")
        assert ESCAPE not in done.stdout
        listed = {line.split()[0] for line in done.stdout.splitlines() if line.startswith("  ")}
        assert listed == {"FILE.onnx", *NETWORKS, *shipped_networks(), *available_recipes(), *BACKENDS, *DATASETS}

    def test_doctor_says_what_is_here(self, tmp_path) -> None:
        cache = tmp_path / "[red]cache[dim]"
        done = deploy("doctor", cwd=tmp_path, VISIONDEPLOY_CACHE=str(cache), COLUMNS="300")
        assert (done.returncode, done.stderr) == (0, "")
        assert not cache.exists()
        rows = {line.split()[0]: line for line in done.stdout.splitlines() if not line.startswith(" ")}
        assert {*BACKENDS} < {*rows}
        assert {"cpu", "gpu", "int8", "fp16", "store"} < {*rows}
        assert f"{cache}, " in rows["store"]
        assert "ready: onnxruntime " in rows["onnxruntime"]

    @pytest.mark.parametrize(("place", "words"), [("x" * 300, "File name too long"), ("file/below", "Not a directory")])
    def test_doctor_says_where_no_store_can_be(self, tmp_path, place, words) -> None:
        (tmp_path / "file").touch()
        done = deploy("doctor", cwd=tmp_path, VISIONDEPLOY_CACHE=str(tmp_path / place), COLUMNS="600")
        assert (done.returncode, done.stderr) == (0, "")
        (row,) = [line for line in done.stdout.splitlines() if line.startswith("store")]
        assert f"missing: {tmp_path / place} cannot be used ({words}): set VISIONDEPLOY_CACHE to another" in row


class TestCalibrate:
    def test_it_shows_the_set_the_ranges_and_the_worst_layers(self, built) -> None:
        done = built[0].deploy("calibrate", "--recipe", TOY, "--worst", "3")
        assert done.returncode == 0, done.stderr
        for said in ("4 images, set ", "scheme cpu: ", "0 … ", "worst 3 layers", "encoder.0.", "in float: head: "):
            assert said in done.stdout
        *_, last = done.stdout.splitlines()
        assert (built[0].cwd / last.split()[-1]).is_file()

    def test_as_json_it_has_every_layer(self, built) -> None:
        done = built[0].deploy("calibrate", "--recipe", TOY, "--backend", "openvino", "--observer", "mse", "--json")
        assert done.returncode == 0, done.stderr
        found = json.loads(done.stdout)["schemes"]["cpu"]
        assert found["observer"] == "mse"
        assert len(found["layer_sqnr_db"]) == LAYERS

    def test_its_ranges_are_what_a_build_takes(self, built) -> None:
        room = built[0]
        ranges = room.deploy("calibrate", "--recipe", TOY).stdout.splitlines()[-1].split()[-1]
        done = room.deploy("compile", "--recipe", TOY, "--precision", "int8", "--ranges", ranges)
        assert done.returncode == 0, done.stderr
        other = room.deploy("compile", "--recipe", TOY, "--precision", "int8", "--ranges", ranges, "--size", "32x32")
        assert (other.returncode, other.stdout) == (3, "")
        assert "holds ranges of other" in other.stderr


class TestInspect:
    def test_it_sums_up_every_stage(self, built) -> None:
        done = built[0].deploy("inspect", "builds/toy-int8")
        assert (done.returncode, done.stderr) == (0, "")
        assert ESCAPE not in done.stdout
        assert done.stdout.startswith("toy-int8, for one image\n")
        for stage in ("onnx-fp32", "onnx-int8-cpu", "engines/openvino, int8 engine of openvino"):
            assert f"\n{stage}, fed image 1×3×32×48\n" in done.stdout
        totals = [line.split() for line in done.stdout.splitlines() if line.split()[:1] == ["all"]]
        assert [line[-1] for line in totals] == ["2,525,184"] * 5
        assert "encoder.0.3" not in done.stdout

    def test_it_shows_every_layer_of_one_on_a_line(self, built) -> None:
        done = built[0].deploy("inspect", "builds/toy-int8", "--stage", "engines/onnxruntime", COLUMNS="40")
        assert done.returncode == 0, done.stderr
        (line,) = [line for line in done.stdout.splitlines() if line.split()[:1] == ["decoder.0.0"]]
        words = "decoder.0.0 Conv 1×16×16×24 float32 1×8×16×24 float32 1,160 1.29 kB 442,368 int8 cpu"
        assert line.split() == words.split()

    def test_as_json_it_has_every_layer_of_every_stage(self, built) -> None:
        done = built[0].deploy("inspect", "builds/toy-int8", "--json")
        assert done.returncode == 0, done.stderr
        stages = {stage["name"]: stage for stage in json.loads(done.stdout)["stages"]}
        assert len(stages["engines/openvino"]["layers"]) == stages["engines/openvino"]["totals"]["layers"]
        assert sum(layer["macs"] > 0 for layer in stages["onnx-fp32"]["layers"]) == LAYERS

    def test_a_stage_that_is_not_there(self, built) -> None:
        done = built[0].deploy("inspect", "builds/toy-int8", "--stage", "engines/openvin")
        assert done.returncode == 2
        assert "there is no stage 'engines/openvin': did you mean 'engines/openvino'?" in sentence(done)


class TestCompare:
    PAIR = ("builds/toy-int8/onnx-fp32", "builds/toy-int8/onnx-int8-cpu")

    def test_it_ends_with_a_sentence(self, built) -> None:
        done = built[0].deploy("compare", *self.PAIR, "--images", "1")
        assert done.returncode == 0, done.stderr
        first, *_, last = done.stdout.splitlines()
        assert first == "toy-int8/onnx-int8-cpu against toy-int8/onnx-fp32, 1 image"
        assert last.startswith("no layer is below 20 dB, the lowest is ")
        assert "◄ worst" in done.stdout
        assert "the outputs, as they run" in done.stdout
        assert done.stderr.startswith("✓ compare ")

    def test_a_layer_below_the_limit_is_an_error_only_with_check(self, built) -> None:
        given = [*self.PAIR, "--sqnr-db", "150", "--images", "1"]
        shown, checked = built[0].deploy("compare", *given), built[0].deploy("compare", *given, "--check")
        conclusion = shown.stdout.splitlines()[-1]
        assert conclusion.startswith("first layer below 150 dB: encoder.0.0 (")
        assert "◄ first" in shown.stdout
        assert (shown.returncode, checked.returncode) == (0, 1)
        assert checked.stdout == shown.stdout
        assert checked.stderr.splitlines()[-1] == f"deploy: {conclusion}."

    def test_as_json_it_is_the_same(self, built) -> None:
        done = built[0].deploy("compare", *self.PAIR, "--images", "1", "--json", "--check", "--sqnr-db", "150")
        assert done.returncode == 1
        found = json.loads(done.stdout)
        assert (found["first"], found["images"], found["diverges"]) == ("encoder.0.0", 1, True)

    def test_of_whole_builds_the_stage_is_named(self, built) -> None:
        done = built[0].deploy("compare", "builds/toy-int8", "builds/toy-int8", "--stage", "onnx-fp32", "--images", "1")
        assert done.returncode == 0, done.stderr
        assert done.stdout.splitlines()[-1] == "no layer differs, and neither do the outputs"

    def test_a_changed_file_is_an_error_of_integrity(self, built, tmp_path) -> None:
        room = built[0].fork(tmp_path)
        room.build("precision=int8", until="quantise")
        flip(tmp_path / "builds" / "toy-int8-calibration" / "onnx-int8-cpu" / "model.onnx")
        folder = "builds/toy-int8-calibration"
        done = room.deploy("compare", f"{folder}/onnx-fp32", f"{folder}/onnx-int8-cpu")
        assert done.returncode == 4
        assert "onnx-int8-cpu/model.onnx has other bytes than were built" in sentence(done)
