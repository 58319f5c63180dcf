"""Faults that only some inputs show, planted in folds and in pairs of files; see ``__main__.py``."""
