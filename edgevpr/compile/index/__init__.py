"""The index of a map."""
