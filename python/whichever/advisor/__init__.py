"""The advisor room."""
