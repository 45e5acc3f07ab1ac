"""Search for an assignment of precisions."""
