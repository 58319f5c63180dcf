"""Check many models against limits, a lock file or their originals, and compare models.

Start reading at ``check_many.py``. Light until a model must be looked into.
"""
