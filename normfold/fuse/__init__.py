"""Recognize decomposed norms by algebra and write the form that the target runs best."""
