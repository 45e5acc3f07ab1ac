"""Early exits: one network that answers at several depths, always in the same descriptor space.

::

    codebook         Codebook: tokens become mixtures of learned prototypes, in sub-spaces
    adapters         from an exit's state to tokens of the aggregator's width and grid
    segments         backbones cut at named exits
    anytime_network  AnytimeNetwork: images to descriptors through any exit
    store            files of models with exits, and of codebooks
    exit_cost        multiply-adds of each exit
    export_segments  ONNX graphs of segments, adapters and tail
    exit_options     ExitOptions: options of stage 2, free of torch
    codebook_config  CodebookConfig: settings of stage 1, free of torch
    fit_codebook     stage 1: the codebook of a network's tokens
    prototypes       what a codebook starts from: drawn tokens, k-means++, k-means
    fit_exits        stage 2: adapters of the exits
    exit_scores      recall and cosine of every exit
    state_cache      outputs of frozen parts, kept in memory
"""
