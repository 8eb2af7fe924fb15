# Ultralytics 🚀 AGPL-3.0 License - https://ultralytics.com/license
"""The teacher: found, looked at, frozen and made fast, or learning along."""
