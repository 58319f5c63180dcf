"""Prove with ONNX Runtime that two models are equal, fold by fold."""
