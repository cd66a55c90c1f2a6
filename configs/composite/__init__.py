"""The modules of configs/composite.yaml: a desk for bug reports, and whom it asks."""
