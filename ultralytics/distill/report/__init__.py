# Ultralytics 🚀 AGPL-3.0 License - https://ultralytics.com/license
"""What a run tells: the formula at its start, pictures and a table at its end, and the comparison of several models."""
