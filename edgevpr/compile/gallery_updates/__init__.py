"""Changes of a gallery in place.

change          add, remove, compact
retrain         new codebooks for the live images
drift           fit of the codebooks to added images
remove_rows     removal of rows from a FAISS index
stats           counts, bytes, changes
"""
