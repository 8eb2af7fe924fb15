# Ultralytics 🚀 AGPL-3.0 License - https://ultralytics.com/license
"""Images without labels: found, looked through, loaded beside the labelled ones, and kept out of the task loss."""
