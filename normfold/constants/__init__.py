"""Compute what is constant in a model before anything is folded: values, shapes, Reshape targets.

Start reading at ``simplify.py``.
"""
