"""The benchmark: normfold, its peers and ONNX Runtime's own optimizer on the same models, in the same rounds.

    python -m tests.bench [FILE ...] [--packages] [--output FOLDER]

``tools`` runs each optimizer in a process of its own, ``census`` counts what is left in a file, ``timing`` runs all
files of a model in turns, ``render`` writes the table and the chart. Nothing is asserted about time.
"""
