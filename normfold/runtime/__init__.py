"""Run a model, or a part of one, in ONNX Runtime or in onnx's reference evaluator.

It knows nothing of folds or proofs. Start reading at ``session.py`` (one run) and ``submodel.py`` (a part of a model).
"""
