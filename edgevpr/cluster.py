"""A Ray cluster: what spreads the description and the indexing of a large map over machines."""

import socket
from typing import Any

from edgevpr.errors import TargetError
from edgevpr.optional import require

#: Seconds within which the head of a cluster takes a connection.
_ANSWERS_S = 5.0


def connect(address: str) -> Any:
    """The ``ray`` module, connected; a cluster that is connected to already stays.

    Args:
        address: of the cluster's head, ``auto`` for the one this machine belongs to, ``local`` for
            workers on this machine alone.

    Raises:
        TargetError: no cluster answers there.
    """
    ray = require("ray", extra="cluster")
    require("ray.data", extra="cluster")
    if ray.is_initialized():
        return ray
    # Ray itself tries an address where nobody listens for minutes, and then ends the process.
    host, _, port = address.removeprefix("ray://").rpartition(":")
    options: dict[str, Any] = {"logging_level": "ERROR", "log_to_driver": False}
    try:
        if host and port.isdecimal():
            socket.create_connection((host, int(port)), timeout=_ANSWERS_S).close()
        ray.init(**options) if address == "local" else ray.init(address=address, **options)
    except (OSError, ValueError, RuntimeError) as error:
        first = str(error).strip().splitlines()[0]
        raise TargetError(
            f"found no Ray cluster at {address} ({first}), expected the address of its head: start "
            "one with 'ray start --head', or pass --cluster local"
        ) from error
    ray.data.DataContext.get_current().enable_progress_bars = False
    return ray


def workers_of(ray: Any) -> int:
    """Workers of one core each that fit, with a core left for the process that started them."""
    return max(1, int(ray.cluster_resources().get("CPU", 1)) - 1)
