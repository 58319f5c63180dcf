"""A model as protobuf has it: without its weights, in pieces, put right, and as an onnx_ir model and back.

May import operators and native. Start reading at ``convert.py``.
"""
