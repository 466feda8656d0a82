"""The jobs of benchmarks/ci: that they can be read, name options that exist, and do what they say in a shell."""

from __future__ import annotations

import os
import re
import shutil
import stat
import subprocess
import sys
from pathlib import Path
from typing import Any
from xml.etree import ElementTree as Xml

import pytest
import yaml

from visiondeploy.pipeline.cli import deploy
from visiondeploy.pipeline.suites import load_suite

ROOT = Path(__file__).resolve().parents[2]
CI = ROOT / "benchmarks" / "ci"

TOY = "--recipe tests/pipeline/data/toy.toml --backend onnxruntime --precision fp32"


def github() -> tuple[dict[str, str], list[dict[str, Any]]]:
    """Variables and steps."""
    found = yaml.safe_load((CI / "github-actions.yml").read_text(encoding="utf-8"))
    (job,) = found["jobs"].values()
    return found["env"], job["steps"]


def gitlab() -> tuple[dict[str, str], list[str]]:
    """Variables and lines of script."""
    (job,) = yaml.safe_load((CI / "gitlab-ci.yml").read_text(encoding="utf-8")).values()
    return job["variables"], job["script"]


def scripts() -> list[str]:
    return [step["run"] for step in github()[1] if "run" in step] + gitlab()[1]


class TestText:
    @pytest.mark.parametrize("script", scripts())
    def test_each_step_is_shell(self, script) -> None:
        done = subprocess.run(["bash", "-n"], input=script, text=True, capture_output=True, check=False)
        assert (done.returncode, done.stderr) == (0, "")

    @pytest.mark.parametrize("script", [script for script in scripts() if "bin/deploy" in script])
    def test_each_option_exists(self, script) -> None:
        for name, words in re.findall(r"bin/deploy (\w+)([^|&)]*?)(?=\n\s*\w+=|\n *\)|\Z)", script, re.DOTALL):
            command = deploy.get_command(None, name)  # type: ignore[arg-type]
            known = {option for parameter in command.params for option in parameter.opts}
            used = set(re.findall(r"(?<![\w-])(-{1,2}[a-z][a-z-]*)", words))
            assert used, script
            assert used <= known

    def test_nothing_of_a_pull_request_is_put_into_a_shell_by_text(self) -> None:
        """What others can write into a branch's name would be run as code."""
        assert not [step for step in github()[1] if "${{" in step.get("run", "")]

    def test_both_do_the_same(self) -> None:
        ours, theirs = github()[0], gitlab()[0]
        assert {name: theirs[name] for name in ours} == ours

    def test_the_suite_is_one(self) -> None:
        found = load_suite(str(CI / "regression.toml"))
        assert found.needs("base")
        assert github()[0]["SUITE"] == "benchmarks/ci/regression.toml"


@pytest.fixture(scope="module")
def repository(tmp_path_factory) -> Path:
    """A repository with two commits of this code, and a `python` whose virtual environments need no network."""
    root = tmp_path_factory.mktemp("ci") / "head"
    root.mkdir()
    for name in ("src", "benchmarks", "calibration", "models", "pipeline"):
        ignored = shutil.ignore_patterns("__pycache__", "results", "*.egg-info")
        shutil.copytree(ROOT / name, root / name, symlinks=True, ignore=ignored)
    shutil.copytree(ROOT / "tests" / "pipeline" / "data", root / "tests" / "pipeline" / "data")
    for name in ("pyproject.toml", "constraints.txt"):
        shutil.copy(ROOT / name, root)
    (root / "regression.toml").write_text(
        'schema = "visiondeploy.suite/1"\nname = "toy"\n[measure]\nseconds = 2\n'
        '[[limits]]\nquantity = "miou"\nagainst = "base"\nmax_drop = 5.0\n'
        '[[limits]]\nquantity = "size"\nagainst = "base"\nmax_rise = 5\n'
    )
    git = ["git", "-C", str(root), "-c", "user.name=x", "-c", "user.email=x@x", "-c", "commit.gpgsign=false"]
    subprocess.run([*git, "init", "-q"], check=True)
    for message in ("base", "head"):
        subprocess.run([*git, "add", "-A"], check=True)
        subprocess.run([*git, "commit", "-q", "--allow-empty", "-m", message], check=True)
    _executable(
        root.parent / "bin" / "python",
        f'#!/bin/sh\nset -e\nmkdir -p "$3/bin"\ncp {root.parent}/bin/venv-python "$3/bin/python"\n'
        f'cp {root.parent}/bin/venv-deploy "$3/bin/deploy"\n',
    )
    _executable(root.parent / "bin" / "venv-python", '#!/bin/sh\n[ "$2" = pip ]\n')
    _executable(
        root.parent / "bin" / "venv-deploy",
        f'#!/bin/sh\nPYTHONPATH="$PWD/src" exec {sys.executable} -m visiondeploy_deploy "$@"\n'.replace(
            "-m visiondeploy_deploy", "-c 'from visiondeploy.pipeline.cli import main; main()'"
        ),
    )
    return root


def _executable(path: Path, text: str) -> None:
    path.parent.mkdir(exist_ok=True)
    path.write_text(text)
    path.chmod(path.stat().st_mode | stat.S_IXUSR)


def run(script: str, cwd: Path, **variables: str) -> subprocess.CompletedProcess[str]:
    bin_folder = cwd.parent / "bin"
    environment = os.environ | {"PATH": f"{bin_folder}:{os.environ['PATH']}", **variables}
    return subprocess.run(
        ["bash", "-e", "-o", "pipefail", "-c", script],
        cwd=cwd,
        env=environment,
        text=True,
        capture_output=True,
        timeout=900,
        check=False,
    )


def check_results(root: Path, summary: str) -> None:
    suites = Xml.fromstring((root / "builds" / "gate.xml").read_bytes())
    names = {case.get("name") for case in suites.iter("testcase")}
    assert {"miou", "size"} <= names
    assert "Suite toy: " in summary
    assert "base:toy-fp32-onnxruntime" in summary
    assert (root / "builds" / "bench" / "report.json").is_file()


@pytest.mark.slow
@pytest.mark.timeout(1800)
@pytest.mark.skipif("VISIONDEPLOY_TEST_JOBS" not in os.environ, reason="takes minutes: set VISIONDEPLOY_TEST_JOBS=1")
class TestInAShell:
    """Each commit builds with its own code; only the installation from a registry is left out."""

    def test_github(self, repository, tmp_path) -> None:
        variables = github()[0] | {
            "BUILD": TOY,
            "THREADS": "1",
            "SUITE": "./regression.toml",
            "BASE": "HEAD~1",
            "VISIONDEPLOY_CACHE": str(tmp_path / "cache"),
            "GITHUB_STEP_SUMMARY": str(tmp_path / "summary.md"),
        }
        for step in github()[1]:
            if "run" in step:
                done = run(step["run"], repository / step.get("working-directory", "."), **variables)
                assert done.returncode == 0, done.stderr
        check_results(repository, (tmp_path / "summary.md").read_text(encoding="utf-8"))

    def test_gitlab(self, repository, tmp_path) -> None:
        subprocess.run(["git", "-C", repository, "worktree", "remove", "--force", "../base"], check=False)
        variables = gitlab()[0] | {
            "BUILD": TOY,
            "THREADS": "1",
            "SUITE": "./regression.toml",
            "BASE": "HEAD~1",
            "VISIONDEPLOY_CACHE": str(tmp_path / "cache"),
        }
        done = run("\n".join(gitlab()[1]), repository, **variables)
        assert done.returncode == 0, done.stderr
        check_results(repository, (repository / "builds" / "summary.md").read_text(encoding="utf-8"))
