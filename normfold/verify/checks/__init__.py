"""Compare a candidate with its reference: at the sites of folds, whole, and where an input could hide a fault.

Start reading at ``at_sites.py``.
"""
