"""Latency of models on ONNX Runtime, each in a process of its own, in interleaved rounds."""
