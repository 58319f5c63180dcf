"""Tests of normfold.fold."""
