"""One operating-system facility per file. Knows processes, pipes and memory; nothing of supervision or DSPy."""
