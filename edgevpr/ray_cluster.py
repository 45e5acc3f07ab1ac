"""Connection to a Ray cluster, over which embedding and indexing of a large map are spread."""

import contextlib
import logging
import socket
from collections.abc import Iterator
from typing import Any

from edgevpr.errors import EdgeVPRError, TargetError
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
    if not ray.is_initialized():
        _join(ray, address)
    logging.getLogger("ray.data").setLevel(logging.CRITICAL)  # it logs the traceback as well
    context = ray.data.DataContext.get_current()
    context.enable_progress_bars = False
    context.raise_original_map_exception = True
    return ray


def _join(ray: Any, address: str) -> None:
    # Ray tries an address without a server for minutes, and then ends the process.
    host, _, port = address.removeprefix("ray://").rpartition(":")
    try:
        if host and port.isdecimal():
            socket.create_connection((host, int(port)), timeout=_ANSWERS_S).close()
        here = {"include_dashboard": False} if address == "local" else {}
        ray.init(address=address, logging_level="ERROR", log_to_driver=False, **here)
    except (OSError, ValueError, RuntimeError) as error:
        first = str(error).strip().splitlines()[0]
        raise TargetError(
            f"found no Ray cluster at {address} ({first}), expected the address of its head: start "
            "one with 'ray start --head', or pass `cluster` local"
        ) from error


@contextlib.contextmanager
def raising_plainly() -> Iterator[None]:
    """Raise the error of a worker itself, not Ray's own with the traceback in it."""
    import ray

    try:
        yield
    except ray.exceptions.RayError as error:
        cause: BaseException | None = error
        while cause is not None:
            # Ray's error is also of its cause's class, so that this class may catch it.
            if isinstance(cause, EdgeVPRError) and not isinstance(cause, ray.exceptions.RayError):
                # Ray adds advice on retries below the sentence.
                raise type(cause)(str(cause).partition("\n")[0]) from None
            cause = getattr(cause, "cause", None) or cause.__cause__
        raise


def workers_of(ray: Any) -> int:
    """Workers of one core each that fit, with a core left for the process that started them."""
    return max(1, int(ray.cluster_resources().get("CPU", 1)) - 1)
