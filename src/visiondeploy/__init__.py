"""visiondeploy: from a PyTorch vision network to an engine that a serving team can trust."""

__version__ = "0.1.0"
