"""Early exits: one network that answers at several depths, always in the same descriptor space.

::

    codebook         Codebook: tokens become mixtures of learned prototypes, in sub-spaces
    adapters         from an exit's state to tokens of the aggregator's width and grid
    segments         backbones cut at named exits
    anytime_network  AnytimeNetwork: images to descriptors through any exit
    store            files of models with exits, and of codebooks
    exit_cost        multiply-adds of each exit
"""
