"""Call native code where its crash costs a worker and not the program, and open sessions of ONNX Runtime.

May import errors. Start reading at ``isolated.py``.
"""
