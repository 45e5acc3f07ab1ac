"""Loader of networks that describe images, whichever kind their model artifact holds."""

from pathlib import Path

from edgevpr.artifacts.folder import open_artifact
from edgevpr.artifacts.manifest import Artifact
from edgevpr.artifacts.records import ModelRecord
from edgevpr.train.networks.model import load_model
from edgevpr.train.networks.network import Network
from edgevpr.train.networks.onnx_network import OnnxNetwork


def load_network(path: Path) -> tuple[Network | OnnxNetwork, ModelRecord, Artifact]:
    """Open a model artifact to describe images with its network, in evaluation mode."""
    opened = open_artifact(path, "model", verify=False)
    record = opened.read("model.json", ModelRecord)
    if not record.graph:
        return load_model(path)
    opened = open_artifact(path, "model")
    record = opened.read("model.json", ModelRecord)
    data = opened.bytes(record.graph)
    network = OnnxNetwork(data, (record.preprocess.height, record.preprocess.width), path)
    return network.eval(), record, opened
