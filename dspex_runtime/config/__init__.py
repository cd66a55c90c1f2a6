"""YAML and dicts to specs; every mistake of a file at once, each with its line."""
