"""How an affine passes an operator, a file for each kind."""
