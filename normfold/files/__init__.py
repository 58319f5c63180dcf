"""Bring a model from the disk and back: protobuf, external data, skeletons without weights.

Start reading at ``source.py`` (in) and ``write.py`` (out).
"""
