"""Where streets, houses, cameras and drives are."""
