"""The DSPy surface: the only folder that imports dspy."""
