"""Published norms, written once and exported by the programs that people use."""
