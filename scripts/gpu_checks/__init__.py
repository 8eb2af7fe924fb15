"""What `scripts/check_gpu.py` is made of: the checks, the small runs they make, and how each gets its process."""
