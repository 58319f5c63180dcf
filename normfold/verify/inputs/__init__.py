"""Make the inputs of a proof from the graph, or read those of the user.

Start reading at ``generate.py``.
"""
