"""Measures of texts, choices and rankings as pure functions: what each item contributes, and the figure made of it."""
