"""What a measurement was taken on: processor, limits, clocks and the versions of the tools.

Nothing is imported to learn its version, and nothing is started but `nvidia-smi`. What the system does
not tell is None. On systems without `/proc` and `/sys` only what Python itself knows is filled in.
"""

from __future__ import annotations

import hashlib
import json
import os
import platform
import re
import shutil
import subprocess
import sys
from collections.abc import Collection
from importlib import metadata
from pathlib import Path

from visiondeploy import __version__
from visiondeploy.benchmarks.report.schema import Environment
from visiondeploy.errors import UsageError

# Flags of `/proc/cpuinfo` that decide how fast a network runs, by the name that reports use.
ISA: dict[str, str] = {
    "avx2": "avx2",
    "avx512f": "avx512f",
    "avx512_vnni": "avx512_vnni",
    "avx_vnni": "avx_vnni",
    "avx512_bf16": "avx512_bf16",
    "avx512_fp16": "avx512_fp16",
    "amx_int8": "amx_int8",
    "amx_bf16": "amx_bf16",
    "amx_fp16": "amx_fp16",
    "asimddp": "asimddp",
    "i8mm": "i8mm",
    "fphp": "fphp",
    "asimdhp": "asimdhp",
    "sve": "sve",
}

DISTRIBUTIONS = (
    "torch",
    "torchvision",
    "onnx",
    "onnxscript",
    "onnxruntime",
    "onnxruntime-gpu",
    "openvino",
    "nncf",
    "tensorrt",
    "tensorrt-rtx",
    "polygraphy",
    "pycuda",
    "accelerate",
    "safetensors",
    "numpy",
    "scipy",
    "pillow",
)

# Variables that change how many threads run and how they wait, which instructions and types are used, whose malloc.
VARIABLES = (
    "OMP_NUM_THREADS",
    "OMP_WAIT_POLICY",
    "MKL_NUM_THREADS",
    "OPENBLAS_NUM_THREADS",
    "KMP_AFFINITY",
    "KMP_BLOCKTIME",
    "GOMP_SPINCOUNT",
    "GOMP_CPU_AFFINITY",
    "ONEDNN_MAX_CPU_ISA",
    "ONEDNN_DEFAULT_FPMATH_MODE",
    "ATEN_CPU_CAPABILITY",
    "CUDA_VISIBLE_DEVICES",
    "LD_PRELOAD",
    "GLIBC_TUNABLES",
    "MALLOC_ARENA_MAX",
    "MALLOC_MMAP_THRESHOLD_",
    "MALLOC_TOP_PAD_",
    "MALLOC_TRIM_THRESHOLD_",
    "MALLOC_CONF",
    "TCMALLOC_RELEASE_RATE",
)

ALLOCATORS = ("jemalloc", "tcmalloc", "mimalloc")
"""Libraries that replace the C library's malloc when they are preloaded."""

# What a result depends on and what does not drift from day to day. Versions are left out: a cache key
# holds those of the tools that its stage uses, and no others.
_STABLE = ("cpu", "machine", "isa", "cores_physical", "cores_logical", "threads", "gpu", "variables")

_CPUINFO = Path("/proc/cpuinfo")
_CPUS = Path("/sys/devices/system/cpu")
_CGROUP = Path("/sys/fs/cgroup")
_AUTOGROUP = Path("/proc/sys/kernel/sched_autogroup_enabled")
_MAPS = Path("/proc/self/maps")


def capture(threads: int) -> Environment:
    """The machine and the tools of this process; `threads` is what every runtime is set to.

    Raises UsageError where threads is below 1.
    """
    if threads < 1:
        raise UsageError(f"threads is 1 or more, found {threads}.")
    cpuinfo = _read(_CPUINFO) or ""
    return Environment(
        cpu=cpu_model(cpuinfo) or platform.processor() or platform.machine() or "unknown",
        threads=threads,
        gpu=_gpu(),
        versions=_versions(),
        machine=platform.machine() or None,
        cores_physical=_physical_cores(),
        cores_logical=os.cpu_count(),
        cores_available=len(affinity()) or None,
        affinity=affinity(),
        cpu_quota=cpu_quota(_read(_CGROUP / "cpu.max")),
        isa=instruction_sets(cpuinfo),
        virtual="hypervisor" in _flags(cpuinfo) if cpuinfo else None,
        governor=_governor(),
        turbo=_turbo(),
        allocator=allocator(_read(_MAPS) or ""),
        autogroup={"1": True, "0": False}.get(_read(_AUTOGROUP) or ""),
        memory_bytes=_memory_bytes(),
        os=_os_name(),
        kernel=platform.release() or None,
        python=platform.python_version(),
        variables={name: os.environ[name] for name in VARIABLES if name in os.environ},
    )


def fingerprint(environment: Environment) -> str:
    """64 hexadecimal digits, the same for the same processor, GPU, thread count and variables.

    For cache keys. Kernel, governor, memory and versions of tools are not in it.
    """
    content = environment.model_dump(mode="json", include=set(_STABLE))
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


def differences(before: Environment, after: Environment) -> tuple[str, ...]:
    """In what two environments differ that have two fingerprints: "cpu A, not B"."""
    pairs = ((name, getattr(before, name), getattr(after, name)) for name in _STABLE)
    return tuple(f"{name} {_shown(one)}, not {_shown(other)}" for name, one, other in pairs if one != other)


def _shown(value: object) -> str:
    if isinstance(value, tuple):
        return " ".join(map(str, value)) or "none"
    if isinstance(value, dict):
        return " ".join(f"{name}={each}" for name, each in value.items()) or "none"
    return "none" if value is None else str(value)


def has_vnni(isa: Collection[str] | None = None) -> bool:
    """Whether the processor multiplies 8-bit integers and sums into 32 bits in one instruction.

    VNNI or AMX on x86, the dot product extension on ARM; `isa` as in `Environment`, by default this
    machine's. Without it (AVX2, AVX-512 before Cascade Lake) int8 is barely faster than fp32, and the
    16-bit sums of `vpmaddubsw` saturate for uint8 activations with full-range int8 weights.
    """
    return not {"avx512_vnni", "avx_vnni", "amx_int8", "asimddp"}.isdisjoint(_here(isa))


def has_avx512(isa: Collection[str] | None = None) -> bool:
    """Whether a vector of the processor holds 16 values of single precision; `isa` as in `has_vnni`."""
    return "avx512f" in _here(isa)


def has_fast_half(isa: Collection[str] | None = None) -> bool:
    """Whether the processor computes in fp16 itself: AVX512-FP16 or AMX-FP16, FEAT_FP16 on ARM.

    `isa` as in `Environment`, by default this machine's. Where it is False, fp16 is a way of storing
    weights, and the arithmetic is done in fp32.
    """
    here = _here(isa)
    return not {"avx512_fp16", "amx_fp16"}.isdisjoint(here) or {"fphp", "asimdhp"} <= set(here)


def instruction_sets(cpuinfo: str) -> tuple[str, ...]:
    """Those of `ISA` that the text of `/proc/cpuinfo` lists, in the order of `ISA`."""
    flags = _flags(cpuinfo)
    return tuple(name for name, flag in ISA.items() if flag in flags)


def cpu_model(cpuinfo: str) -> str | None:
    """The processor's name in the text of `/proc/cpuinfo`; on ARM, which gives none, implementer and part."""
    named = _field(cpuinfo, "model name") or _field(cpuinfo, "Model")
    if named:
        return " ".join(named.split())
    implementer, part = _field(cpuinfo, "CPU implementer"), _field(cpuinfo, "CPU part")
    return f"ARM implementer {implementer} part {part}" if implementer and part else None


def cpu_quota(cpu_max: str | None) -> float | None:
    """Cores' worth of time granted by the text of a control group's `cpu.max` ("200000 100000" is 2.0)."""
    parts = (cpu_max or "").split()
    if len(parts) != 2 or not all(part.isdecimal() for part in parts) or int(parts[1]) == 0:
        return None
    return int(parts[0]) / int(parts[1])


def affinity() -> tuple[int, ...]:
    """The logical cores that this process may run on, in order; empty where the system does not tell."""
    return tuple(sorted(os.sched_getaffinity(0))) if hasattr(os, "sched_getaffinity") else ()


def cores_to_pin(count: int) -> tuple[int, ...]:
    """So many of the available cores, fewer where there are no more: one of each physical core, then the others."""
    seen: set[str] = set()
    first: list[int] = []
    others: list[int] = []
    for core in affinity():
        siblings = _read(_CPUS / f"cpu{core}/topology/thread_siblings_list") or str(core)
        (others if siblings in seen else first).append(core)
        seen.add(siblings)
    return tuple([*first, *others][:count])


def allocator(maps: str) -> str | None:
    """Whose malloc a process has by the text of its `/proc/self/maps`; None where that says nothing."""
    libraries = {Path(line.split()[-1]).name for line in maps.splitlines() if ".so" in line}
    for name in ALLOCATORS:
        if any(name in library for library in libraries):
            return name
    family, version = platform.libc_ver()
    return f"{family} {version}" if libraries and family else None


def _here(isa: Collection[str] | None) -> Collection[str]:
    return instruction_sets(_read(_CPUINFO) or "") if isa is None else isa


def _field(cpuinfo: str, name: str) -> str | None:
    found = re.search(rf"^{re.escape(name)}\s*:\s*(.+)$", cpuinfo, re.MULTILINE)
    return found[1].strip() if found else None


def _flags(cpuinfo: str) -> frozenset[str]:
    return frozenset((_field(cpuinfo, "flags") or _field(cpuinfo, "Features") or "").split())


def _physical_cores() -> int | None:
    # Logical cores that share a physical one list each other, and so list the same.
    siblings = {_read(path) for path in _CPUS.glob("cpu[0-9]*/topology/thread_siblings_list")} - {None}
    return len(siblings) or None


def _governor() -> str | None:
    found = {_read(path) for path in _CPUS.glob("cpu[0-9]*/cpufreq/scaling_governor")} - {None}
    return ", ".join(sorted(name for name in found if name)) or None


def _turbo() -> bool | None:
    switches = ((_CPUS / "intel_pstate/no_turbo", "0"), (_CPUS / "cpufreq/boost", "1"))
    for path, on in switches:
        found = _read(path)
        if found is not None:
            return found == on
    return None


def _memory_bytes() -> int | None:
    try:
        return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    except (ValueError, OSError, AttributeError):
        return None


def _os_name() -> str | None:
    try:
        return platform.freedesktop_os_release().get("PRETTY_NAME")
    except OSError:
        return f"{platform.system()} {platform.mac_ver()[0]}".strip() or None


def _versions() -> dict[str, str]:
    found = {"visiondeploy": __version__}
    for name in DISTRIBUTIONS:
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return found


def _gpu() -> str | None:
    """The GPUs by nvidia-smi, else by a torch that is loaded already; importing it takes a second and 200 MB."""
    program = shutil.which("nvidia-smi")
    if program:
        query = [program, "--query-gpu=name,driver_version,memory.total", "--format=csv,noheader"]
        try:
            done = subprocess.run(query, capture_output=True, text=True, timeout=10, check=True)
        except (OSError, subprocess.SubprocessError):
            pass
        else:
            return "; ".join(line.strip() for line in done.stdout.splitlines() if line.strip()) or None
    torch = sys.modules.get("torch")
    if torch is not None and torch.cuda.is_available():
        return "; ".join(str(torch.cuda.get_device_name(index)) for index in range(torch.cuda.device_count()))
    return None


def _read(path: Path) -> str | None:
    try:
        return path.read_text(encoding="utf-8", errors="replace").strip()
    except OSError:
        return None
