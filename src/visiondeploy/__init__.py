"""visiondeploy: from a PyTorch vision network to an engine that a serving team can trust."""

import os

__version__ = "0.1.0"

# ONNX Runtime keeps a telemetry database in the user's home from its import on, unless this is set before.
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
