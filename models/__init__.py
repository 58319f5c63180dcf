"""Reference networks for the README, the tests and the benchmarks. Not installed: read from the repository only."""
