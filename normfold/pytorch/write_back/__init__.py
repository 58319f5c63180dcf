"""What a fold did to an exported graph, written back onto the nn.Module that it was exported from.

Start reading at ``planning.py``: it folds, asks ``module_map.py`` what that means for the modules, and folds again.
"""
