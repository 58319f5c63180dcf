"""Where an affine ends: the operators that take it into their constants, a file for each kind."""
