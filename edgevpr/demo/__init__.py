"""The demo: the whole chain on a synthetic city."""
