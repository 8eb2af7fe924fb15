# Ultralytics 🚀 AGPL-3.0 License - https://ultralytics.com/license
"""What two heads have in common: outputs in one form, levels, branches and classes that can be compared."""
