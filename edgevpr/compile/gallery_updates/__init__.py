"""Changes of a gallery."""
