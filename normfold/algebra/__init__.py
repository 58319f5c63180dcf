"""Compute with affines ``y = scale * x + shift`` and with stored weights. Needs numpy only."""
