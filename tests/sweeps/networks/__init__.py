"""Whole networks of public libraries by both roads: ``python -m tests.sweeps.networks``."""
