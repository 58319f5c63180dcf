"""Hold what can be said about a model: findings, verdicts and the reasons for them. Plain data.

Start reading at ``reason.py`` (the codes) and ``verdict.py``.
"""
