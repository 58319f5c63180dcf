"""Search the way of an affine: backward or forward, all or nothing, and the cheapest of several ways.

Start reading at ``plan.py``.
"""
