"""One Report, several voices: text, JSON, SARIF, JUnit, GitHub, Markdown, HTML."""
