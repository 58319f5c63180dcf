"""Folds norms and constant affines into the linear operators around them, and proves it before it writes."""
