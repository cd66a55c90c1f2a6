"""What runs inside a module process. Never imported by the runtime process."""
