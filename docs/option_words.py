"""Words of the command line's options: each means the same, in the same unit, at every verb.

``docs/generate.py`` prints this table into docs/verbs/README.md; tests/cli/test_option_words.py
holds every option of every verb to it.

Rules: a word that is two verbs' has one row. A share is in percent; a confidence is a probability.
A number with a unit says the unit in its help, and in its name where the word does not imply it.
``--max-...`` and ``--min-...`` are limits. Paths that a verb writes say so.
"""

from typing import NamedTuple


class Word(NamedTuple):
    """A row: how the value is written, its unit or range ("" for none), what it means."""

    value: str
    unit: str
    meaning: str


PATH, TEXT, INTEGER, NUMBER, SWITCH = "path", "text", "integer", "number", "switch"
#: Added to the value where an option may be given several times.
REPEATABLE = ", repeatable"

WORDS = {
    # everywhere
    "--output": Word(PATH, "", "what the verb writes"),
    "--json": Word(SWITCH, "", "one JSON document on stdout in place of text"),
    "--seed": Word(INTEGER, "", "of everything drawn at random; the same seed, the same result"),
    "--workers": Word(INTEGER, "processes", "beside the one that computes"),
    "--threads": Word(INTEGER, "threads, 0 is every core", "of one inference on the CPU"),
    "--batch-size": Word(INTEGER, "images", "that a network takes at once"),
    "--count": Word(INTEGER, "images or frames", "that are used, out of more"),
    "--limit": Word(INTEGER, "frames", "after which a run ends"),
    "--image-size": Word(INTEGER, "pixels", "height and width of a network's input"),
    "--cluster": Word(TEXT, "", "address of a Ray cluster that shares the work"),
    "--name": Word(TEXT, "", "of what is measured, in tables"),
    "--title": Word(TEXT, "", "heading of a page"),
    # artifacts and data
    "--gallery": Word(PATH, "", "gallery artifact"),
    "--bundle": Word(PATH, "", "bundle artifact"),
    "--model": Word(PATH + REPEATABLE, "", "model artifact"),
    "--compare": Word(PATH + REPEATABLE, "", "model artifact beside the first"),
    "--features": Word(PATH, "", "features artifact of the gallery network, of the images at hand"),
    "--queries": Word(
        PATH + REPEATABLE, "", "features artifact of the query network, of held-out images"
    ),
    "--retrain": Word(PATH + REPEATABLE, "", "features artifact that codebooks are learned from"),
    "--weights": Word(PATH, "", "safetensors that a network starts from"),
    "--checkpoint": Word(PATH, "", "a network's weights, as its authors wrote them"),
    "--network": Word(TEXT, "", "name of a network that another program runs"),
    "--space-of": Word(PATH, "", "features or model artifact whose descriptor space is joined"),
    "--root": Word(PATH, "", "folder that paths of images become relative to"),
    "--onnx": Word(PATH, "", "ONNX graph that is a gallery network"),
    "--input-size": Word(TEXT, "", "H or H,W in pixels: height and width of an ONNX graph's input"),
    "--interpolation": Word(TEXT, "", "OpenCV's filter for resizing: area, linear or cubic"),
    "--published": Word(TEXT, "", "name of a published gallery network"),
    "--sha256": Word(TEXT, "", "digest that a downloaded file must have"),
    "--calibration": Word(PATH, "", "folder of images that INT8 ranges are measured on"),
    "--tuning": Word(PATH, "", "folder of images that the precision search measures recall on"),
    "--validation": Word(PATH, "", "data set that training is scored on"),
    "--validation-features": Word(PATH, "", "features artifact of its database"),
    "--protocol": Word(TEXT + REPEATABLE, "", "evaluation protocol (edgevpr data list)"),
    "--positions": Word(PATH, "", "file of positions of photos"),
    "--decode": Word(SWITCH, "", "decode every image, to find damaged ones"),
    "--clock-offset": Word(NUMBER, "seconds", "from the camera's clock to UTC"),
    "--strict": Word(SWITCH, "", "end where an input would be left out"),
    "--save": Word(PATH, "", "folder of descriptors to write"),
    "--per-query": Word(PATH, "", "CSV to write"),
    "--curve": Word(PATH, "", "CSV of a precision-recall curve to write"),
    "--sheet": Word(PATH, "", "picture to write"),
    "--layout": Word(TEXT, "", "projection of descriptors to a picture: pca or tsne"),
    # places
    "--radius": Word(NUMBER, "metres", "within which a gallery image answers a query"),
    "--near": Word(TEXT, "degrees and metres", "lat,lon,radius: a point and what is around it"),
    "--place": Word(INTEGER + REPEATABLE, "", "place id"),
    "--path": Word(TEXT + REPEATABLE, "", "pattern of image paths"),
    "--city": Word(TEXT + REPEATABLE, "", "city of GSV-Cities"),
    "--places-from": Word(TEXT, "", "what makes a training place: ids or gps"),
    "--cell": Word(NUMBER, "metres", "side of a cell of the grid that makes training places"),
    "--heading-bin": Word(NUMBER, "degrees", "width of a bin of heading within a cell"),
    # limits and goals
    "--min-agreement": Word(NUMBER, "percent", "least share of queries that get the same answer"),
    "--tokens": Word(SWITCH, "", "paint the tokens of early exits"),
    "--exit": Word(TEXT, "", "early exit of a network, by name; of a run, also what picks one"),
    "--min-confidence": Word(NUMBER, "probability, 0 to 1", "least confidence of a known answer"),
    "--known-precision": Word(NUMBER, "percent", "least share of known answers that are right"),
    "--max-recall-drop": Word(NUMBER, "points of R@1", "that may be lost against the reference"),
    "--max-minutes": Word(NUMBER, "minutes", "after which a search begins nothing new"),
    "--max-memory": Word(NUMBER, "megabytes", "of the index"),
    "--max-search-ms": Word(NUMBER, "milliseconds", "of one search, median"),
    "--max-slowdown": Word(
        NUMBER, "times the old one's", "work a frame of a new bundle or gallery"
    ),
    "--max-speed": Word(NUMBER, "metres a second", "that a robot cannot exceed"),
    # targets, precision, index
    "--target": Word(TEXT, "", "compile target or board (edgevpr devices)"),
    "--precision": Word(TEXT, "", "number format: fp32, fp16, bf16, int8, or auto"),
    "--calibrator": Word(TEXT, "", "how INT8 ranges are set"),
    "--cache": Word(SWITCH, "", "use and keep what earlier compilations made"),
    "--explain-precision": Word(SWITCH, "", "list the nodes that stay in FP32"),
    "--dla": Word(INTEGER, "", "deep learning accelerator, by number"),
    "--host": Word(TEXT, "", "board to build on, over ssh"),
    "--host-edgevpr": Word(TEXT, "", "edgevpr command on that board"),
    "--kind": Word(TEXT, "", "index kind"),
    "--refine": Word(TEXT, "", "store that candidates are ranked again with"),
    "--factory": Word(TEXT, "", "FAISS factory string"),
    "--parameters": Word(TEXT, "", "FAISS search parameters"),
    "--dim": Word(INTEGER, "", "dimensions of a descriptor in the index"),
    "--exact-name": Word(TEXT, "", "name of the row with exact search"),
    # running
    "--top": Word(INTEGER, "places", "in an answer"),
    "--sink": Word(TEXT + REPEATABLE, "", "where answers go as well"),
    "--backend": Word(TEXT, "", "what opens live cameras"),
    "--reconnect": Word(NUMBER, "seconds", "for which a camera that has gone is tried again"),
    "--stall": Word(NUMBER, "seconds", "without a frame, after which a camera has gone"),
    "--pipeline-scale": Word(SWITCH, "", "scale frames in the GStreamer pipeline"),
    "--watch": Word(SWITCH, "", "change to a new bundle or gallery when one appears"),
    "--shadow": Word(INTEGER, "frames", "that a new bundle or gallery is compared on"),
    "--assume-known": Word(SWITCH, "", "take answers that nothing judged as known"),
    "--sequence": Word(SWITCH, "", "answer by all frames so far"),
    "--warmup": Word(INTEGER, "frames", "before the ones that are timed"),
    # gallery updates and signatures
    "--replace": Word(SWITCH, "", "take out images of the same path first"),
    "--keep": Word(INTEGER, "generations", "that stay for rollback"),
    "--key": Word(PATH, "", "private key"),
    "--signed-name": Word(TEXT, "", "name that a signature is for"),
    "--signed-version": Word(INTEGER, "", "version that is signed, which only grows"),
    "--trusted-keys": Word(PATH, "", "file of public keys"),
    # training
    "--backbone": Word(TEXT, "", "name of the backbone"),
    "--backbone-args": Word(TEXT + REPEATABLE, "", "NAME=VALUE of the backbone"),
    "--backbone-weights": Word(PATH, "", "safetensors that the backbone starts from"),
    "--out-index": Word(INTEGER, "", "feature level of the backbone"),
    "--aggregator": Word(TEXT, "", "kind of aggregator"),
    "--aggregator-args": Word(TEXT + REPEATABLE, "", "NAME=VALUE of the aggregator"),
    "--aggregator-from": Word(PATH, "", "model artifact whose aggregator training starts from"),
    "--input-norm": Word(TEXT, "", "normalization of an image before the network"),
    "--loss": Word(TEXT, "", "name of the loss"),
    "--loss-args": Word(TEXT + REPEATABLE, "", "NAME=VALUE of the loss"),
    "--tau": Word(NUMBER, "", "temperature of the loss"),
    "--gamma": Word(NUMBER, "", "strength of the implicit augmentation"),
    "--epochs": Word(INTEGER, "", "passes over the training set"),
    "--images-per-place": Word(INTEGER, "images", "of one place in a batch"),
    "--lr": Word(NUMBER, "", "learning rate"),
    "--min-lr": Word(NUMBER, "", "learning rate at the end"),
    "--warmup-steps": Word(INTEGER, "steps", "of linear warm-up"),
    "--weight-decay": Word(NUMBER, "", "of AdamW"),
    "--mean": Word("3 numbers", "0 to 1", "RGB mean that is taken off"),
    "--std": Word("3 numbers", "0 to 1", "RGB deviation that is divided by"),
    "--crop": Word(NUMBER, "times the side, 0 to 1", "smallest random crop"),
    "--light": Word(NUMBER, "times the exposure", "largest random change"),
    "--qat": Word(SWITCH, "", "train with INT8 rounding"),
    "--through-index": Word(PATH, "", "gallery artifact that training searches through"),
    "--devices": Word(INTEGER, "", "GPUs, or processes, on each machine"),
    "--nodes": Word(INTEGER, "", "machines"),
    "--resume": Word(SWITCH, "", "go on from an interrupted run"),
    "--tensorboard": Word(PATH, "", "folder of event files to write"),
    "--shard": Word(TEXT, "", "i/n: the part that this process does"),
    # early exits
    "--anytime": Word(PATH, "", "model artifact that gets early exits"),
    "--codebook": Word(PATH, "", "codebook artifact of that model"),
    "--exits": Word(TEXT, "", "early exits of a network: their names, or how a bundle has them"),
    "--list-exits": Word(SWITCH, "", "list early exits and their cost in place of networks"),
    "--adapter": Word(TEXT, "", "kind of adapter at an exit: mlp or attention"),
    "--method": Word(TEXT, "", "what becomes of an adapter's tokens"),
    "--towards": Word(TEXT, "", "descriptors that exits are trained towards: own or gallery"),
    "--heads": Word(INTEGER, "", "sub-spaces that a token is cut into"),
    "--size": Word(INTEGER, "", "prototypes in each sub-space of a codebook"),
    "--init": Word(TEXT, "", "what prototypes are: learned, kmeans or random"),
    "--token-weight": Word(NUMBER, "", "weight of the tokens' own error in the loss"),
    "--reseed-steps": Word(INTEGER, "steps", "after which an unused prototype is drawn anew"),
    "--max-cache": Word(INTEGER, "megabytes", "of states kept in memory while training"),
    # demo and city
    "--from-scratch": Word(SWITCH, "", "train from random weights"),
    "--train-cities": Word(INTEGER, "districts", "to train on"),
    "--train-places": Word(INTEGER, "places", "in each training district"),
    "--val-places": Word(INTEGER, "places", "to validate on"),
    "--test-places": Word(INTEGER, "places", "to test on"),
    "--drive-frames": Word(INTEGER, "frames", "of the drive"),
}
