"""Runs as files, and their order over commits, in a real repository with two branches."""

from __future__ import annotations

import itertools
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from kit import histories

from visiondeploy.benchmarks.history import Commit, Descent, Kept, Run, names, read, save, stops
from visiondeploy.errors import ResourceError, UsageError
from visiondeploy.pipeline.commits import commit_of, descent_of


@pytest.fixture(scope="module")
def repository(tmp_path_factory) -> histories.Repository:
    return histories.merged(tmp_path_factory.mktemp("repository"))


def made(hour: int, commit: Commit | None, **fields: object) -> Run:
    known = {"name": "unet", "validation": "v", "report": histories.report(5.0)}
    return Run(date=datetime(2026, 3, 1, tzinfo=UTC) + timedelta(hours=hour), commit=commit, **{**known, **fields})


class TestFiles:
    def test_a_run_is_read_as_it_was_kept_but_for_single_latencies(self, tmp_path) -> None:
        run = made(1, Commit(sha="ab" * 20, branch="main", dirty=False))
        path = save(tmp_path, run)
        (kept,), notes = read(tmp_path / "unet")
        assert notes == []
        assert kept.file == path.name
        assert path.name.startswith("20260301T010000Z-abababa-")
        before, after = run.report.rows[1].latency_ms, kept.run.report.rows[1].latency_ms
        assert (before.raw != (), after.raw) == (True, ())
        assert after == before.model_copy(update={"raw": ()})
        assert kept.run.report.rows[1].quality == run.report.rows[1].quality
        assert kept.run.report.environment == run.report.environment

    def test_runs_of_one_second_have_names_of_their_own_and_equal_ones_are_one(self, tmp_path) -> None:
        for speedup in (5.0, 6.0, 5.0):
            save(tmp_path, made(1, None, report=histories.report(speedup)))
        assert len(list((tmp_path / "unet").iterdir())) == 2

    @pytest.mark.parametrize("name", ["", "..", "a/b", "-x", "a b", "x" * 65, "a\n"])
    def test_a_name_is_one_of_a_folder(self, tmp_path, name) -> None:
        with pytest.raises(UsageError, match="a history is called by"):
            save(tmp_path, made(1, None).model_copy(update={"name": name}))
        assert list(tmp_path.iterdir()) == []

    def test_a_place_that_is_a_file_is_said(self, tmp_path) -> None:
        (tmp_path / "file").touch()
        with pytest.raises(ResourceError, match="choose another folder with --history"):
            save(tmp_path / "file", made(1, None))

    def test_what_is_damaged_or_foreign_is_named_and_left_out(self, tmp_path) -> None:
        path = save(tmp_path, made(1, None))
        place = tmp_path / "unet"
        (place / "a.json").write_bytes(path.read_bytes()[:1000])
        (place / "b.json").write_text('{"schema": "other"}')
        (place / "c.json").write_text(path.read_text().replace('"value": 5.0', '"value": -5.0'))
        (place / "d.json").mkdir()
        (place / "notes.txt").write_text("x")
        (place / ".hidden").write_text("x")
        found, notes = read(place)
        assert [kept.file for kept in found] == [path.name]
        said = [
            "left out: a.json is not JSON",
            "left out: b.json is not a kept run: found schema 'other'",
            "left out: c.json is a run that breaks its contract",
            "left out: d.json is no JSON file",
            "left out: notes.txt is no JSON file",
        ]
        assert all(note.startswith(words) for note, words in zip(notes, said, strict=True))

    def test_histories_are_the_folders_with_runs(self, tmp_path) -> None:
        assert names(tmp_path / "nowhere") == []
        save(tmp_path, made(1, None, name="b"))
        save(tmp_path, made(1, None, name="a"))
        (tmp_path / "empty").mkdir()
        assert names(tmp_path) == ["a", "b"]


class TestCommits:
    def test_of_a_work_tree(self, tmp_path) -> None:
        repository = histories.Repository(tmp_path)
        assert commit_of(tmp_path) is None  # no commit yet
        (tmp_path / "file").write_text("one")
        sha = repository.commit("one")
        (tmp_path / "new").touch()  # what is not tracked changes nothing
        assert commit_of(tmp_path) == Commit(sha=sha, branch="main", dirty=False)
        (tmp_path / "file").write_text("two")
        repository.git("switch", "--quiet", "--detach")
        assert commit_of(tmp_path) == Commit(sha=sha, branch=None, dirty=True)

    def test_without_git_or_a_repository_there_is_none(self, tmp_path, monkeypatch, repository) -> None:
        monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path.parent))
        assert commit_of(tmp_path) is None
        assert descent_of(tmp_path, ["ab" * 20]) is None
        monkeypatch.setenv("PATH", str(tmp_path))
        assert commit_of(repository.root) is None

    def test_those_that_are_not_here_are_not_asked_for(self, repository) -> None:
        assert descent_of(repository.root, ["ab" * 20]) is None
        here = commit_of(repository.root).sha
        assert descent_of(repository.root, ["ab" * 20, here]).commits[-1][0] == here


class TestOrder:
    def read(self, repository) -> tuple[list[Kept], Descent]:
        found, _ = read(repository.histories / "unet")
        return found, descent_of(repository.root, [kept.run.commit.sha for kept in found])

    def speedups(self, found) -> list[float]:
        return [stop.runs[-1].run.report.rows[1].speedup.value for stop in found]

    def test_after_a_merge_both_sides_are_there_in_the_order_of_commits(self, repository) -> None:
        found = stops(*self.read(repository))
        assert sorted(self.speedups(found)) == [5.0, 5.1, 5.2, 7.0, 7.3, 7.4, 7.6]
        place = {speedup: number for number, speedup in enumerate(self.speedups(found))}
        assert place[5.0] < place[5.2] < min(place[5.1], place[7.0])
        assert place[7.0] < place[7.4] < place[7.3] < place[7.6]
        # By date alone the branches would be mixed.
        assert self.speedups(stops(self.read(repository)[0], None)) == [5.0, 5.2, 7.0, 7.4, 5.1, 7.3, 7.6]

    def test_each_follows_what_it_descends_from(self, repository) -> None:
        found = stops(*self.read(repository))
        value = self.speedups(found)
        after = {value[place]: {value[before] for before in stop.before} for place, stop in enumerate(found)}
        assert after == {
            5.0: set(), 5.2: {5.0}, 5.1: {5.2}, 7.0: {5.2}, 7.4: {7.0}, 7.3: {5.1, 7.4}, 7.6: {7.3},
        }  # fmt: skip

    def test_runs_of_one_commit_are_one_place_and_changed_files_another(self) -> None:
        commit = Commit(sha="ab" * 20, dirty=False)
        runs = [made(1, commit), made(2, commit), made(3, commit.model_copy(update={"dirty": True}))]
        kept = [Kept(str(number), run) for number, run in enumerate(runs)]
        found = stops(kept, Descent(((commit.sha, ()),)))
        assert [(stop.label, len(stop.runs), stop.before) for stop in found] == [
            ("abababa", 2, ()),
            ("abababa+", 1, (0,)),
        ]

    def test_a_commit_that_git_lost_stands_by_its_date_and_follows_no_known_one(self, repository) -> None:
        found, descent = self.read(repository)
        lost = Kept("lost", made(15, Commit(sha="ab" * 20, dirty=False)))
        order = stops(sorted([*found, lost], key=lambda kept: kept.run.date), descent)
        assert len(order) == 8
        (stop,) = [stop for stop in order if stop.sha == "ab" * 20]
        assert stop.before == ()
        assert all(order[before].sha != stop.sha for other in order for before in other.before)

    @given(st.lists(st.tuples(st.integers(0, 5), st.booleans(), st.booleans()), max_size=12), st.data())
    @settings(deadline=None, derandomize=True, max_examples=60)
    def test_no_run_is_lost_and_none_follows_itself(self, given_runs, data) -> None:
        """Over any commits with any parents before them, known to git or not."""
        shas = [f"{number:040x}" for number in range(6)]
        parents = [data.draw(st.sets(st.integers(0, n - 1), max_size=2)) if n else set() for n in range(6)]
        descent = Descent(tuple((shas[n], tuple(shas[p] for p in sorted(parents[n]))) for n in range(4)))
        kept = [
            Kept(str(hour), made(hour, Commit(sha=shas[n], dirty=dirty) if known else None))
            for hour, (n, dirty, known) in enumerate(given_runs)
        ]
        found = stops(kept, descent)
        assert sorted(one.file for stop in found for one in stop.runs) == sorted(one.file for one in kept)
        assert all(before < place for place, stop in enumerate(found) for before in stop.before)
        known = [shas.index(stop.sha) for stop in found if stop.sha in shas[:4]]
        assert all(one <= other for one, other in itertools.pairwise(known))
