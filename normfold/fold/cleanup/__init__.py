"""Remove operators that compute nothing new: no-ops, common subexpressions, unused nodes."""
