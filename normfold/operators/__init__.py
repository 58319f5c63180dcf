"""What is known of operators: one table, the shapes that they make, and how to walk over those of a model.

May import nothing of the graph. Start reading at ``table.py``.
"""
