"""Find the regions in which two models differ, and feed each with values of its own.

A region is what computes one value that both models have, from the nearest values upstream that both have too. Start
reading at ``difference.py`` (which regions), then ``feeds.py`` (with which values), then ``probe.py`` (the comparison).
It imports numeric, inputs and checks of this room, and the runtime.
"""
