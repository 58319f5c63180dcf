"""Walk the promises to a new user (python -m tests.sweeps.friendly)."""
