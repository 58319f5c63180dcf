"""Tests; the folders mirror normfold/."""
