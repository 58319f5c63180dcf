"""A module, program or archive of torch becomes an ONNX model in memory, with its norms still in it.

Start reading at ``exporters.py``.
"""
