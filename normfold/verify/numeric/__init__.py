"""Measure distances between values, and the rounding noise that a model has of itself.

Start reading at ``distance.py``.
"""
