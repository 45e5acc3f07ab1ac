"""Evaluation and explanation of networks.

::

    evaluate      recall@K by exact search in the full descriptor space
    sheet         picture of queries with their best answers
    explain       Grad-CAM, map of the places, nearest places
    paint_tokens  tokens of early exits in colour
"""
