"""Recognize a norm by algebra: follow values as polynomials of an input and its moments.

Start reading at ``candidates.py``; ``table.py`` lists the operators that can be followed.
"""
