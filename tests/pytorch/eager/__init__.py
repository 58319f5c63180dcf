"""Tests of eager calls of modules."""
