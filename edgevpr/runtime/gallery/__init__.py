"""The map of a running robot.

gallery            a gallery artifact, searched
search_parameters  check of FAISS search parameters
parts              the index and the images added beside it
selection          search over some rows of an index
"""
