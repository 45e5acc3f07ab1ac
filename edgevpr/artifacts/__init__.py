"""The folders that stages hand to each other."""
