import os

__version__ = os.environ.get("FAKE_EDGE_VERSION", "0.11.0")
