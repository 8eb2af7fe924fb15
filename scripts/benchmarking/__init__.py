"""What `scripts/benchmark.py` is made of: the ways to train, the measuring, and the report."""
