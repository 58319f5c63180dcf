"""Reference networks for the README, the tests and the benchmarks. Not installed: it is read from the repository only."""
