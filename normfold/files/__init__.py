"""Read a model from the disk and write it back: protobuf, external data, skeletons without weights.

Start reading at ``source.py`` (in) and ``write.py`` (out).
"""
