"""What a client holds for a hosted module: a dspy.Module with a mirror of its parts, kept in step with its process."""
