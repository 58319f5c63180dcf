"""Tests of what comes from PyTorch and goes back to it."""
