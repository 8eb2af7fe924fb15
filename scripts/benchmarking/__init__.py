"""What `scripts/benchmark.py` is made of: the ways to train, and the measuring."""
