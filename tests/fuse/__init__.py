"""Tests of normfold.fuse."""
