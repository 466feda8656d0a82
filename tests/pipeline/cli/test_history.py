"""`deploy history` and `deploy bench --save`, as a user meets them."""

from __future__ import annotations

import json

import pytest
from kit import histories
from kit.builds import House, deploy


@pytest.fixture(scope="module")
def repository(tmp_path_factory) -> histories.Repository:
    made = histories.merged(tmp_path_factory.mktemp("repository"))
    (made.histories / "unet" / "torn.json").write_text("{")
    return made


def test_it_shows_every_commit_of_both_branches_and_names_what_is_left_out(repository, tmp_path) -> None:
    plot = tmp_path / "history.svg"
    done = deploy("history", "--plot", str(plot), cwd=repository.root)
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert sum("×" in line for line in lines) == 7
    assert sum(" fast " in line for line in lines) == 2
    assert any("left out: torn.json is not JSON" in line for line in lines)
    assert plot.read_bytes().startswith(b"<?xml")
    assert str(plot) in done.stderr


def test_several_are_listed(repository, tmp_path) -> None:
    made = histories.Repository(tmp_path)
    made.commit("one")
    for name in ("style", "unet", "unet"):
        made.keep(5.0, name=name)
    done = deploy("history", cwd=tmp_path)
    assert [line.split()[:2] for line in done.stdout.splitlines() if "2026-" in line] == [["style", "1"], ["unet", "2"]]
    done = deploy("history", "--json", cwd=tmp_path)
    assert (done.returncode, done.stdout) == (2, "")
    assert "Name one of style, unet" in done.stderr


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (("nothing",), 2, "there is no history 'nothing'"),
        (("unet", "--metric", "speedap"), 2, "did you mean 'speedup'?"),
        (("--history", "nowhere"), 3, "no history in nowhere: keep a run first with `deploy bench --save NAME`."),
        (("--plot", "x.pdf"), 2, "a plot is saved as .png or .svg, found x.pdf"),
    ],
)  # fmt: skip
def test_mistakes_are_one_sentence(repository, words, code, said) -> None:
    done = deploy("history", *words, cwd=repository.root)
    assert (done.returncode, done.stdout) == (code, "")
    assert len(done.stderr.splitlines()) == 1
    assert said in done.stderr


class TestSave:
    @pytest.fixture(scope="class")
    @staticmethod
    def room(store_root, tmp_path_factory) -> House:
        room = House(store_root, tmp_path_factory.mktemp("kept"))
        room.build("backend=onnxruntime", "precision=fp16")
        return room

    def test_a_run_is_kept_beside_the_report_and_shown(self, room) -> None:
        done = deploy("bench", "--images", "1", "--seconds", "1", "--save", "toy", "--profile", cwd=room.cwd)
        assert done.returncode in {0, 1}, done.stderr
        (path,) = (room.cwd / "benchmarks" / "history" / "toy").iterdir()
        assert str(path.relative_to(room.cwd)) in done.stderr
        content = json.loads(path.read_text(encoding="utf-8"))
        assert len(content["validation"]) == 64
        assert all(row["latency_ms"]["raw"] == [] for row in content["report"]["rows"])
        assert all(len(row["profile"]) >= 13 for row in content["report"]["rows"])
        assert "side by side" in done.stdout
        shown = deploy("history", "--metric", "size", "--json", cwd=room.cwd)
        assert {series["row"] for series in json.loads(shown.stdout)["series"]} == {
            "toy-fp32-pytorch",
            "toy-fp16-onnxruntime",
        }

    def test_a_name_that_cannot_be_is_refused_before_anything_runs(self, room) -> None:
        done = deploy("bench", "--save", "../up", cwd=room.cwd)
        assert (done.returncode, done.stdout) == (2, "")
        assert "choose such a name" in done.stderr
