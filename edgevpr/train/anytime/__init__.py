"""Early exits: one network that answers at several depths, always in the same descriptor space.

::

    codebook      Codebook: tokens become mixtures of learned prototypes, in sub-spaces
    adapters      from an exit's state to tokens of the aggregator's width and grid
"""
