"""Call a module eagerly, on copies, in any way that it takes, and compare two ways of running it.

Start reading at ``reference.py``.
"""
