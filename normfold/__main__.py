"""Run the command line: ``python -m normfold``."""

from importlib import import_module

if __name__ == "__main__":
    import_module("normfold_cli").main()  # by name, because the library does not depend on its command line
