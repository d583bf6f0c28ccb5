"""The hub process: start, drain, stop."""
