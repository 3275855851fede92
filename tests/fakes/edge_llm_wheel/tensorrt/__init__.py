import os

__version__ = os.environ.get("FAKE_EDGE_TENSORRT", "10.16.0.72")
