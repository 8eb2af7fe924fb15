# Ultralytics 🚀 AGPL-3.0 License - https://ultralytics.com/license
"""What a detector finally says, boxes with a score for each class, as a teacher's answers: live or from a file."""
