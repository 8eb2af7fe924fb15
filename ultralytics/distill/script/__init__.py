# Ultralytics 🚀 AGPL-3.0 License - https://ultralytics.com/license
"""What `distill.py` needs beside a training: its command line, and the demo with its drawn data."""
