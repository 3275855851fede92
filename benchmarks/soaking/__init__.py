"""The parts of benchmarks/soak.py, benchmarks/faults.py and benchmarks/hostile.py."""
