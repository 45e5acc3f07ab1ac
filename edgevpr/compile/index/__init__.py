"""The index of a gallery: built, measured, chosen.

build_index         builder of gallery artifacts
index_inputs        features of map and queries, checked
index_options       options, and goals for the choice
factories           FAISS factory strings by kind
fit_projection      the projection from D to d
index_space         map and queries in d dimensions
vectors             gallery descriptors in the index's space
project_on_cluster  the same on a Ray cluster
faiss_build         training and filling; inverted_lists and refine_store larger than memory
index_file          index files written and mapped
held_out            queries measured with, exact answers
operating_points    agreement, recall and time of every setting
goals               the choice of an operating point
forecast            predicted seconds and megabytes
fit_confidence      the confidence of answers
tune_exits          both for early exits
residuals           displacements of queries, for drift
resume              finished steps of an interrupted run
"""
