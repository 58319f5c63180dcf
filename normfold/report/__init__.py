"""Write one Report in many formats: text, JSON, SARIF, JUnit, GitHub, Markdown, HTML.

Start reading at ``report.py`` (the data) and ``formats.py`` (the list of formats).
"""
