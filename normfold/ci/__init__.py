"""Check many models against limits, a lock file or their originals; compare and time models.

Start reading at ``check_many.py``. Light until a model must be looked into.
"""
