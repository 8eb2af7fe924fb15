# Ultralytics 🚀 AGPL-3.0 License - https://ultralytics.com/license
"""The terms of the distillation loss: built, settled, guarded, balanced, and those of several teachers together."""
