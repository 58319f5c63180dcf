"""Rewrite whole regions of a graph: parallel branches, channel orders, paddings, norm scales, dead biases."""
