import pytest

from visiondeploy.benchmarks import activity
from visiondeploy.benchmarks.activity import ActivityWatch, Books, cpu_seconds, difference, waiting_seconds

STAT = "cpu  100 20 30 4000 5 6 7 80 90 10\ncpu0 1 2 3 4 5 6 7 8 9 10\n"
PRESSURE = "some avg10=26.46 avg60=8.83 avg300=2.53 total=13236096\nfull avg10=0.00 total=0\n"


def test_books_of_the_kernel() -> None:
    assert cpu_seconds(STAT, 100) == (1.63, 0.8)
    assert waiting_seconds(PRESSURE) == 13.236096


def test_where_there_are_none() -> None:
    assert cpu_seconds("", 100) == (None, None)
    assert waiting_seconds("") is None


def test_others_are_those_that_the_measurement_did_not_start() -> None:
    found = difference(Books(10, 1, 5, 0.5), Books(25, 2, 6, 1.5), own=10, seconds=10)
    assert (found.others, found.stolen, found.waiting, found.load) == (0.5, 0.1, 0.1, (0.5, 1.5))


def test_less_than_nothing_is_nothing() -> None:
    assert difference(Books(10, 0, 0, 0), Books(11, 0, 0, 0), own=1.01, seconds=1).others == 0


def test_what_is_not_told_is_none() -> None:
    unknown = Books(None, None, None, None)
    found = difference(unknown, unknown, own=1, seconds=1)
    assert found.others is found.stolen is found.waiting is found.load is None


def test_watch(monkeypatch, tmp_path) -> None:
    with ActivityWatch() as watch:
        assert watch.activity is None
    assert watch.activity.seconds > 0
    for name in ("_STAT", "_LOAD", "_PRESSURE"):
        monkeypatch.setattr(activity, name, tmp_path / "none")
    with ActivityWatch() as watch:
        pass
    assert watch.activity.others is None


@pytest.mark.parametrize("text", ["cpu 1 2 3", "intr 1 2 3 4 5 6 7 8 9"])
def test_other_formats_say_nothing(text) -> None:
    assert cpu_seconds(text, 100) == (None, None)
