"""Suites from files: each mistake is one sentence that names file, value and what to write."""

from __future__ import annotations

from pathlib import Path

import pytest

from visiondeploy.errors import InputError, UsageError
from visiondeploy.pipeline.suites import available_suites, load_suite

HEAD = 'schema = "visiondeploy.suite/1"\nname = "mine"\n'
LIMIT = '[[limits]]\nquantity = "miou"\n'


def written(folder: Path, text: str) -> str:
    path = folder / "mine.toml"
    path.write_text(text, encoding="utf-8")
    return str(path)


class TestPackaged:
    @pytest.mark.parametrize("name", available_suites())
    def test_each_can_be_read_and_has_its_own_name(self, name) -> None:
        found = load_suite(name)
        assert found.name == name
        assert found.about
        assert found.limits

    def test_their_limits_bind_to_no_machine(self) -> None:
        for name in available_suites():
            limits = load_suite(name).limits
            assert not [limit for limit in limits if limit.quantity in {"p50", "p90", "p99"} and limit.max is not None]

    def test_an_unknown_name(self) -> None:
        with pytest.raises(UsageError, match=r"no suite 'camvit': did you mean 'camvid'\? Known: camvid, demo, style"):
            load_suite("camvit")


class TestFile:
    def test_a_whole_one(self, tmp_path) -> None:
        text = HEAD + "[measure]\nthreads = 2\nseconds = 20\n" + LIMIT + "max_drop = 0.5\n"
        found = load_suite(written(tmp_path, text))
        assert found.measure.threads == 2
        assert found.limits[0].max_drop == 0.5

    @pytest.mark.parametrize(
        ("text", "words"),
        [
            (
                HEAD + LIMIT + "max_dropp = 0.5\n",
                r"no key 'limits\[0\]\.max_dropp': did you mean 'limits\[0\]\.max_drop'",
            ),
            (HEAD + LIMIT + 'max_drop = "95%"\n', r"limits\[0\]\.max_drop is '95%', expected a number from 0 to 100"),
            (HEAD + LIMIT + "max_drop = -0.5\n", r"limits\[0\]\.max_drop is -0\.5, expected a number from 0 to 100"),
            (HEAD + LIMIT + "max_drop = nan\n", r"limits\[0\]\.max_drop is nan, expected a finite number"),
            (HEAD + LIMIT + "min = inf\n", r"limits\[0\]\.min is inf, expected a finite number"),
            (HEAD + LIMIT, r"limits\[0\]: a limit has one bound of .*, found none"),
            (HEAD, "the key 'limits' is missing"),
            (HEAD + LIMIT + 'max_drop = 1\nagainst = "refrence"\n', "did you mean 'reference'"),
            (
                HEAD + "[measure]\nthread = 2\n" + LIMIT + "min = 1\n",
                "no key 'measure.thread': did you mean 'measure.threads",
            ),
            ('name = "mine"\n' + LIMIT + "min = 1\n", "the key 'schema' is missing"),
        ],
    )
    def test_what_is_wrong_in_one_sentence(self, tmp_path, text, words) -> None:
        with pytest.raises(UsageError, match=words) as error:
            load_suite(written(tmp_path, text))
        assert str(error.value).startswith(str(tmp_path / "mine.toml"))
        assert "\n" not in str(error.value)

    def test_of_another_version(self, tmp_path) -> None:
        with pytest.raises(InputError, match=r"schema 'visiondeploy.suite/2', expected 'visiondeploy.suite/1'"):
            load_suite(written(tmp_path, HEAD.replace("/1", "/2") + LIMIT + "min = 1\n"))

    def test_that_is_not_there_or_not_toml(self, tmp_path) -> None:
        with pytest.raises(InputError, match=r"there is no file .*expected a suite in TOML"):
            load_suite(str(tmp_path / "none.toml"))
        with pytest.raises(InputError, match="is not TOML"):
            load_suite(written(tmp_path, "schema ="))
