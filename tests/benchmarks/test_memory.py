import sys
import time

import pytest

from visiondeploy.benchmarks.memory import peak_rss
from visiondeploy.errors import EnvironmentMismatch, ResourceError, UsageError

MB = 1_000_000


def python(code: str) -> list[str]:
    return [sys.executable, "-I", "-S", "-c", code]


class TestPeakRss:
    def test_grows_by_what_the_command_touches(self) -> None:
        small = peak_rss(python("pass"), timeout=30)
        large = peak_rss(python("block = b'1' * 80_000_000"), timeout=30)
        assert 70 * MB < large - small < 100 * MB

    def test_does_not_see_the_memory_of_the_process_that_asks(self) -> None:
        held = b"1" * (150 * MB)
        assert peak_rss(python("pass"), timeout=30) < 60 * MB
        assert len(held) == 150 * MB

    def test_does_not_see_an_earlier_child(self) -> None:
        peak_rss(python("block = b'1' * 150_000_000"), timeout=30)
        assert peak_rss(python("pass"), timeout=30) < 60 * MB

    def test_a_flood_of_output_does_not_block(self, capfd: pytest.CaptureFixture[str]) -> None:
        assert peak_rss(python("import sys; print('x' * 10**6); print('y' * 10**6, file=sys.stderr)"), timeout=30) > MB
        assert capfd.readouterr() == ("", "")

    def test_failure_gives_the_last_line_of_standard_error(self) -> None:
        code = "import sys; print('first', file=sys.stderr); print('no such engine', file=sys.stderr); sys.exit(3)"
        with pytest.raises(EnvironmentMismatch, match=r"exit code 3 .*: no such engine$"):
            peak_rss(python(code), timeout=30)

    def test_a_signal_is_named(self) -> None:
        with pytest.raises(EnvironmentMismatch, match="signal 15"):
            peak_rss(python("import os; os.kill(os.getpid(), 15)"), timeout=30)

    def test_killed_is_a_matter_of_memory(self) -> None:
        with pytest.raises(ResourceError, match="killed"):
            peak_rss(python("import os; os.kill(os.getpid(), 9)"), timeout=30)

    def test_time_over_kills_children_too(self) -> None:
        began = time.monotonic()
        with pytest.raises(ResourceError, match=r"longer than 0\.5 s"):
            peak_rss(["sh", "-c", "sleep 30 & sleep 30"], timeout=0.5)
        # A child that lived on would hold the pipe of the output open.
        assert time.monotonic() - began < 10

    def test_no_such_program(self) -> None:
        with pytest.raises(EnvironmentMismatch, match="'no-such-program' could not be started"):
            peak_rss(["no-such-program"], timeout=30)

    def test_empty_command(self) -> None:
        with pytest.raises(UsageError):
            peak_rss([], timeout=1)
