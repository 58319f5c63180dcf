"""Tests of folds that go back onto modules."""
