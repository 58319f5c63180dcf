"""Run both models whole, on feeds that the original accepts.

Start reading at ``whole_model.py``.
"""
