"""Tests of what a folded module refuses."""
