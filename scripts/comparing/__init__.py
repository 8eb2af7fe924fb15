"""What `scripts/compare.py` is made of: the plan, the single run, the rows, the table and the figure."""
