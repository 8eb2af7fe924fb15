"""What `scripts/matrix.py` is made of: one cell, which is a short real run, and the tables of the cells."""
