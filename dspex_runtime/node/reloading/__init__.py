"""Reload: what runs is brought to what a file says, step by step, with the least that does it."""
