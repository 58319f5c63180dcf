"""Write a recognized norm in the operators that a target runs best.

``table.py`` lists the forms; ``writer.py`` writes one into a graph.
"""
