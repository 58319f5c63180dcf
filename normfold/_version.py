__version__ = "0.2.0"

HOME = "https://pypi.org/project/normfold/"
"""Where the package is found: its documents are in it, next to the code."""
