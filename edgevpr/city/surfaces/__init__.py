"""What a district looks like: textures painted into one atlas."""
