"""Read and edit one onnx_ir graph.

Questions about a graph are in ``reader.py``; only ``editor.py`` changes one. Start reading there.
"""
