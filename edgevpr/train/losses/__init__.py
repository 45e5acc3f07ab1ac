"""Losses of query and gallery networks.

::

    arguments      names of the losses and their arguments, free of torch
    objectives     each loss with its bank, queue or neighbours, as a module
    bank           geographical memory bank (Eq. 2)
    asymmetric     losses against the bank (Eq. 3, 5 and 8), and against a queue
    distillation   losses of other papers: CSD, ROP, MSP, D3still, RAML, regression
    neighbours     nearest neighbours that some of those rank
    through_index  term against the quantized descriptors of an index
    crls           class-relational label smoothing of gallery networks
"""
