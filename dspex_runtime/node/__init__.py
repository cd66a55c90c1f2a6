"""What runs inside the runtime process: a thin shell around `core`. No user code, no unpickling, nothing that blocks."""
