"""Search, recall, projection and confidence."""
