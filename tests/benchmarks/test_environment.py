import subprocess
import sys
from pathlib import Path

import pytest

from visiondeploy.benchmarks import environment
from visiondeploy.benchmarks.environment import (
    affinity,
    allocator,
    capture,
    cores_to_pin,
    cpu_model,
    cpu_quota,
    fingerprint,
    has_fast_half,
    has_vnni,
    instruction_sets,
)
from visiondeploy.errors import UsageError

XEON = """processor\t: 0
model name\t: Intel(R) Xeon(R)   Platinum 8375C CPU @ 2.90GHz
flags\t\t: fpu avx2 avx512f avx512_vnni hypervisor

processor\t: 1
model name\t: Intel(R) Xeon(R)   Platinum 8375C CPU @ 2.90GHz
flags\t\t: fpu avx2 avx512f avx512_vnni hypervisor
"""
GRAVITON = """processor\t: 0
Features\t: fp asimd fphp asimdhp asimddp sve
CPU implementer\t: 0x41
CPU part\t: 0xd40
"""


class TestProcessor:
    def test_intel(self) -> None:
        assert cpu_model(XEON) == "Intel(R) Xeon(R) Platinum 8375C CPU @ 2.90GHz"
        assert instruction_sets(XEON) == ("avx2", "avx512f", "avx512_vnni")

    def test_arm(self) -> None:
        assert cpu_model(GRAVITON) == "ARM implementer 0x41 part 0xd40"
        assert instruction_sets(GRAVITON) == ("asimddp", "fphp", "asimdhp", "sve")

    def test_unknown(self) -> None:
        assert cpu_model("") is None
        assert instruction_sets("") == ()

    @pytest.mark.parametrize(
        ("isa", "vnni", "half"),
        [
            (("avx2",), False, False),
            (("avx2", "avx512f"), False, False),
            (("avx2", "avx_vnni"), True, False),
            (("avx512f", "avx512_vnni", "avx512_fp16"), True, True),
            (("amx_int8", "amx_fp16"), True, True),
            (("asimddp", "fphp", "asimdhp"), True, True),
            (("fphp",), False, False),
        ],
    )
    def test_what_it_is_fast_at(self, isa: tuple[str, ...], vnni: bool, half: bool) -> None:
        assert has_vnni(isa) is vnni
        assert has_fast_half(isa) is half

    def test_this_machine_by_default(self) -> None:
        isa = capture(1).isa
        assert has_vnni() is has_vnni(isa)
        assert has_fast_half() is has_fast_half(isa)

    @pytest.mark.parametrize(
        ("text", "cores"), [("200000 100000", 2.0), ("max 100000", None), (None, None), ("", None), ("1 0", None)]
    )
    def test_quota(self, text: str | None, cores: float | None) -> None:
        assert cpu_quota(text) == cores


class TestCapture:
    def test_this_machine(self) -> None:
        found = capture(2)
        assert found.threads == 2
        assert found.cpu
        assert found.versions["visiondeploy"]
        assert found.versions["numpy"]
        assert found.python == ".".join(map(str, sys.version_info[:3]))

    def test_variables_that_matter(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("ONEDNN_MAX_CPU_ISA", "AVX2")
        assert capture(1).variables["ONEDNN_MAX_CPU_ISA"] == "AVX2"

    def test_without_proc_and_sys(self, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
        for name in ("_CPUINFO", "_CPUS", "_CGROUP"):
            monkeypatch.setattr(environment, name, tmp_path / "absent")
        found = capture(1)
        assert found.cpu
        assert (found.isa, found.virtual, found.governor, found.cores_physical) == ((), None, None, None)

    def test_clocks_and_cores_as_the_system_tells_them(self, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
        for cpu in range(4):
            files = {
                "topology/thread_siblings_list": f"{cpu % 2},{cpu % 2 + 2}",
                "cpufreq/scaling_governor": "powersave",
            }
            for name, content in files.items():
                path = tmp_path / f"cpu{cpu}" / name
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_text(content + "\n")
        (tmp_path / "intel_pstate").mkdir()
        (tmp_path / "intel_pstate/no_turbo").write_text("1\n")
        monkeypatch.setattr(environment, "_CPUS", tmp_path)
        found = capture(1)
        assert (found.cores_physical, found.governor, found.turbo) == (2, "powersave", False)

    def test_gpu_by_nvidia_smi(self, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
        program = tmp_path / "nvidia-smi"
        program.write_text("#!/bin/sh\necho 'NVIDIA L4, 580.65, 23034 MiB'\n")
        program.chmod(0o755)
        monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
        assert capture(1).gpu == "NVIDIA L4, 580.65, 23034 MiB"

    def test_threads_are_at_least_one(self) -> None:
        with pytest.raises(UsageError, match="threads"):
            capture(0)


class TestFingerprint:
    def test_is_stable(self) -> None:
        assert fingerprint(capture(2)) == fingerprint(capture(2))
        assert len(fingerprint(capture(2))) == 64

    def test_follows_what_results_depend_on_and_nothing_else(self) -> None:
        found = capture(2)
        drifted = found.model_copy(update={"kernel": "7.0", "memory_bytes": 1, "governor": "x", "versions": {"a": "1"}})
        assert fingerprint(drifted) == fingerprint(found)
        for change in ({"threads": 3}, {"isa": ("avx_vnni",)}, {"cpu": "other"}, {"gpu": "NVIDIA L4"}):
            assert fingerprint(found.model_copy(update=change)) != fingerprint(found)


def test_the_room_imports_no_heavy_runtime() -> None:
    code = (
        "import sys\n"
        "from visiondeploy.benchmarks import accuracy, agreement, environment, latency, memory, statistics\n"
        "from visiondeploy.benchmarks.report import cells, markdown, pareto, pictures, schema, terminal\n"
        "environment.capture(1)\n"
        "heavy = 'torch', 'torchvision', 'onnx', 'onnxruntime', 'openvino', 'scipy', 'matplotlib'\n"
        "print([n for n in heavy if n in sys.modules])\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"


class TestCores:
    def test_affinity_is_recorded(self) -> None:
        found = capture(1)
        assert found.affinity == affinity() == tuple(sorted(found.affinity))
        assert found.cores_available == len(found.affinity)

    def test_physical_cores_come_first(self, monkeypatch, tmp_path) -> None:
        for core, siblings in enumerate(("0,2", "1,3", "0,2", "1,3")):
            place = tmp_path / f"cpu{core}" / "topology"
            place.mkdir(parents=True)
            (place / "thread_siblings_list").write_text(siblings)
        monkeypatch.setattr(environment, "_CPUS", tmp_path)
        monkeypatch.setattr(environment, "affinity", lambda: (0, 1, 2, 3))
        assert cores_to_pin(2) == (0, 1)
        assert cores_to_pin(3) == (0, 1, 2)
        assert cores_to_pin(8) == (0, 1, 2, 3)

    def test_hyperthreads_are_not_taken_for_cores(self, monkeypatch, tmp_path) -> None:
        for core, siblings in enumerate(("0-1", "0-1", "2-3", "2-3")):
            place = tmp_path / f"cpu{core}" / "topology"
            place.mkdir(parents=True)
            (place / "thread_siblings_list").write_text(siblings)
        monkeypatch.setattr(environment, "_CPUS", tmp_path)
        monkeypatch.setattr(environment, "affinity", lambda: (0, 1, 2, 3))
        assert cores_to_pin(2) == (0, 2)


class TestAllocator:
    def test_one_that_is_preloaded(self) -> None:
        assert allocator("7f00-7f01 r-xp 00000000 08:01 12 /usr/lib/libjemalloc.so.2\n") == "jemalloc"

    def test_else_the_c_librarys(self) -> None:
        found = allocator("7f00-7f01 r-xp 00000000 08:01 12 /usr/lib/libc.so.6\n")
        assert found is None or not found.startswith(("je", "tc", "mi"))

    def test_where_nothing_is_told(self) -> None:
        assert allocator("") is None
