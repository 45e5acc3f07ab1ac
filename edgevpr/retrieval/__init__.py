"""Search by descriptors and what it is worth.

exact           exact search by inner product
recall          recall@K
precision_recall  precision-recall curve, its area, recall at 100 % precision
own_rows        queries that are gallery images themselves
projection      the linear map from D to d
confidence      evidence and probability that an answer is right
read_index      reader of FAISS index files
faiss_layers    layers of a FAISS index
"""
