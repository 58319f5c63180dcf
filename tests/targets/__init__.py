"""Tests of normfold.targets."""
