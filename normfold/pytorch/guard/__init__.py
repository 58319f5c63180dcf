"""A folded module refuses the calls for which its changed weights would give wrong numbers.

Start reading at ``hooks.py``.
"""
