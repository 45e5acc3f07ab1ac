"""Networks, their files and their export.

::

    architecture  Architecture: backbone, aggregator and their arguments, free of torch
    network       Network: (B, 3, H, W) images to (B, D) descriptors
    backbones/    timm models and DINOv2: images to features
    aggregators/  BoQ, SALAD, SuperVLAD, GeM, MLP: features to descriptors
    model         model artifacts, and networks started from other weights
    checkpoint    reader of other projects' checkpoints
    onnx_network  gallery networks that are ONNX graphs
    load_network  either kind of network from its model artifact
    published     gallery networks whose weights their authors publish
    batch_norm    unfolding of folded BatchNorm
    cost          parameters and multiply-adds
    export        ONNX graph from uint8 images to descriptors
"""
