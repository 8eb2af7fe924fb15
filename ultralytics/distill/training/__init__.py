# Ultralytics 🚀 AGPL-3.0 License - https://ultralytics.com/license
"""What happens in a trainer: the module that trains, the run, its checkpoints and what upstream does around a step."""
