"""Compute what is constant in a model before anything is folded: values, shapes, targets of Reshapes.

Start reading at ``simplify.py``.
"""
