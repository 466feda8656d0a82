"""Load one engine in this process and run it a few times: `python -m … BACKEND FOLDER THREADS FEEDS`.

Started by the measure stage, which reads the peak memory of the process from the operating system.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np

from visiondeploy.pipeline.backends.table import backend_of

RUNS = 3


def main(backend: str, folder: str, threads: str, feeds_json: str) -> None:
    """Run the engine on zeros; `feeds_json` maps each input's name to its dtype and shape."""
    feeds = {name: np.zeros(shape, dtype=dtype) for name, (dtype, shape) in json.loads(feeds_json).items()}
    with backend_of(backend).load(Path(folder), int(threads)) as session:
        for _ in range(RUNS):
            session.infer(feeds)


if __name__ == "__main__":
    main(*sys.argv[1:5])
