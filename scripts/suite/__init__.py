# Ultralytics 🚀 AGPL-3.0 License - https://ultralytics.com/license
"""Upstream's own tests, run against stock and against the patched tree."""
