"""What users hold: runtimes, references, channels."""
