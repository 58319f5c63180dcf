__version__ = "0.2.0"

HOME = "https://github.com/OWNER/normfold"
"""Where a copy of the repository lives; write your own name for OWNER."""
