"""Weights that are part of this package, with their licences and origins in README.md."""
