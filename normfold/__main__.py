"""Run the command line: ``normfold``, and ``python -m normfold``."""

import signal
from importlib import import_module


def main() -> None:
    """Run the command line of the package ``normfold_cli``, which ends the process with its exit code."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)  # Ctrl-C while it is imported ends the process without a traceback
    import_module("normfold_cli").main()  # by name, because the library does not depend on its command line


if __name__ == "__main__":
    main()
