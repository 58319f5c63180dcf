"""Find the values at which two models can be compared.

Start reading at ``targets.py``.
"""
