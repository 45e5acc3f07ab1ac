"""Training, embedding and evaluation of networks; the only room that imports torch.

::

    config             TrainConfig: settings of a run with help and ranges, free of torch
    fit                the run: fit(config, out)
    prepare, modules   network, objective and batches of a run; Lightning modules
    images, place_ids  training images, augmentation, batches; which place each image shows
    record, qat        losses and validation recall of a run; INT8 rounding while finetuning
    trainer            Lightning's trainer of every run, with its checkpoints
    networks/          backbones, aggregators, model artifacts, ONNX export
    losses/            memory bank, asymmetric losses, baselines of other papers
    embed/             features artifacts of image folders, in shards or on a Ray cluster
    evaluate/          recall on a data set, pictures of answers, Grad-CAM
    anytime/           early exits of trained networks: codebook, adapters, training
"""
