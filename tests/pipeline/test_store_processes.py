import json
import os
import random
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Mapping
from pathlib import Path

import pytest
from kit.stores import STEP, fill, flip, leftovers

from visiondeploy.pipeline.store import Json, Store

# Builds slowly, in several files, so that it can be raced and killed; prints what becomes of it.
# A pause below zero waits for a line on stdin.
CHILD = """
import json, sys, time
from pathlib import Path
from visiondeploy.pipeline.store import Step, Store
step = Step("export", 1, {"network": "ab"}, {"opset": 20}, {"onnx": "1.21"})
pause = float(sys.argv[2])
def make(folder):
    print("making", flush=True)
    if pause < 0:
        sys.stdin.readline()
    for index in range(4):
        (folder / f"part{index}.bin").write_bytes(bytes([index]) * 5000)
        time.sleep(max(pause, 0))
    return {"parts": 4}
ran = Store(Path(sys.argv[1]), on_wait=lambda message: print(message, flush=True)).run(step, "onnx", make)
print(json.dumps({"cached": ran.cached, "digest": ran.artifact.digest}), flush=True)
"""


@pytest.fixture
def warnings() -> list[str]:
    return []


@pytest.fixture
def store(tmp_path: Path, warnings: list[str]) -> Store:
    return Store(tmp_path / "cache", on_warning=warnings.append)


def child(store: Store, pause: float, code: str = CHILD) -> subprocess.Popen[str]:
    command = [sys.executable, "-c", code, str(store.root), str(pause)]
    pipe = subprocess.PIPE
    return subprocess.Popen(command, stdin=pipe, stdout=pipe, stderr=pipe, text=True)


def kill(process: subprocess.Popen[str]) -> None:
    process.kill()
    process.communicate()


class TestProcesses:
    def test_two_racing_make_once(self, store: Store) -> None:
        first = child(store, -1)
        assert first.stdout is not None
        assert first.stdout.readline() == "making\n"
        second = child(store, -1)
        assert second.stdout is not None
        waiting = second.stdout.readline()
        assert f"waiting for process {first.pid}, which runs the stage 'export'" in waiting
        results = [json.loads(process.communicate("\n")[0]) for process in (first, second)]
        assert [result["cached"] for result in results] == [False, True]
        assert results[0]["digest"] == results[1]["digest"]

    def test_many_threads_make_once(self, store: Store) -> None:
        made: list[Path] = []

        def make(folder: Path) -> Mapping[str, Json]:
            made.append(folder)
            time.sleep(0.05)
            return fill(folder)

        threads = [threading.Thread(target=lambda: store.run(STEP, "onnx", make)) for _ in range(6)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert len(made) == 1

    def test_the_lock_of_a_killed_process_is_free_at_once(self, store: Store) -> None:
        holder = child(store, 60)
        assert holder.stdout is not None
        assert holder.stdout.readline() == "making\n"
        waits: list[str] = []

        def on_wait(message: str) -> None:
            waits.append(message)
            kill(holder)

        ran = Store(store.root, on_wait=on_wait).run(STEP, "onnx", fill)
        assert not ran.cached
        assert ran.seconds < 30
        assert f"process {holder.pid}" in waits[0]
        assert leftovers(store) == []

    def test_a_forked_child_does_not_keep_the_lock(self, store: Store) -> None:
        code = CHILD.replace(
            'print("making", flush=True)',
            "import os\n    worker = os.fork()\n    if worker == 0:\n        time.sleep(60)\n        os._exit(0)\n"
            "    print(worker, flush=True)",
        )
        holder = child(store, 60, code)
        assert holder.stdout is not None
        worker = int(holder.stdout.readline())
        holder.kill()
        holder.wait()
        assert store.run(STEP, "onnx", fill).seconds < 30
        os.kill(worker, signal.SIGKILL)
        holder.communicate()

    def test_a_damaged_entry_is_left_to_the_one_who_holds_its_lock(self, store: Store, warnings: list[str]) -> None:
        before = store.run(STEP, "onnx", fill).artifact
        seen: list[bool] = []

        def make(folder: Path) -> Mapping[str, Json]:
            before.folder.mkdir(parents=True)
            seen.append(store.get(STEP.key) is None and before.folder.exists())
            before.folder.rmdir()
            return fill(folder)

        flip(before.folder)
        store.run(STEP, "onnx", make)
        assert seen == [True]
        assert len(warnings) == 2

    def test_kill_at_every_step_of_the_commit(self, store: Store) -> None:
        """The process dies at its first, second, … call of fsync or rename; what is served is None or whole."""
        code = """
import os, signal, sys
left = int(sys.argv[2])
def deadly(call):
    def wrapped(*args, **kwargs):
        global left
        left -= 1
        if left < 0:
            os.kill(os.getpid(), signal.SIGKILL)
        return call(*args, **kwargs)
    return wrapped
os.fsync, os.replace = deadly(os.fsync), deadly(os.replace)
sys.argv[2] = "0"
"""
        for index in range(30):
            process = child(store, index, code + CHILD)
            process.communicate()
            found = store.get(STEP.key)
            if process.returncode == 0:
                break
            assert process.returncode == -signal.SIGKILL
            if found is not None:
                assert len(found.files) == 4
                shutil.rmtree(found.folder)
        assert 5 < index < 29
        assert found is not None
        assert leftovers(store) == []

    def test_kill_at_random_moments(self, store: Store, warnings: list[str]) -> None:
        chance = random.Random(7)
        for _ in range(6):
            process = child(store, 0.02)
            assert process.stdout is not None
            process.stdout.readline()
            time.sleep(chance.uniform(0, 0.1))
            kill(process)
            found = store.get(STEP.key)
            assert found is None or len(found.files) == 4
        output, _ = child(store, 0).communicate()
        assert json.loads(output.splitlines()[-1])["digest"]
        found = store.get(STEP.key)
        assert found is not None
        assert [found.path(f"part{i}.bin").read_bytes() for i in range(4)] == [bytes([i]) * 5000 for i in range(4)]
        assert leftovers(store) == []
        assert warnings == []
