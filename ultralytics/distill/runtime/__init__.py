# Ultralytics 🚀 AGPL-3.0 License - https://ultralytics.com/license
"""What serves any training, with a teacher or without: whole checkpoints, several processes, errors, Ctrl-C."""
