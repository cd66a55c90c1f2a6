"""DSPy programs and other stateful Python workers as supervised OS processes."""
