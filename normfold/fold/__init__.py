"""Carry every constant affine, backward or forward, until an operator absorbs it."""
