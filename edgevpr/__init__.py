"""edgevpr: visual place recognition on the board a robot carries.

The public face. A name is imported when it is first used, so that ``import edgevpr`` loads
nothing else::

    open_localizer      a bundle and a gallery as a ``with`` block: ``locate(frame)`` -> Answer
    open_bundle         a compiled network, what ``edgevpr compile`` wrote
    open_gallery        an indexed map, what ``edgevpr index`` wrote
    Features            descriptors of a folder of images, what ``edgevpr embed`` wrote
    evaluate, profile   recall of a model; latency and recall of a bundle with a gallery
    Answer, Match       what ``locate`` returns
    Near                a GPS prior: a point and a radius
    EdgeVPRError        base of all errors, and the classes below it (``edgevpr.errors``)
"""

__version__ = "0.1.0"

#: That of ``typing``, whose import would take longer than all else here; type checkers read it as
#: true by its name.
TYPE_CHECKING = False

if TYPE_CHECKING:
    from edgevpr.artifacts.features import Features
    from edgevpr.errors import (
        ArtifactError,
        DataError,
        EdgeVPRError,
        MissingExtraError,
        NumericsError,
        ResourceError,
        TargetError,
        UsageError,
    )
    from edgevpr.places.near import Near
    from edgevpr.profiles.measure import profile
    from edgevpr.runtime.answers import Answer, Match
    from edgevpr.runtime.gallery.gallery import Gallery
    from edgevpr.runtime.localizer import Localizer
    from edgevpr.runtime.open import Bundle, open_bundle, open_gallery, open_localizer
    from edgevpr.train.evaluate.evaluate import evaluate

__all__ = [
    "Answer",
    "ArtifactError",
    "Bundle",
    "DataError",
    "EdgeVPRError",
    "Features",
    "Gallery",
    "Localizer",
    "Match",
    "MissingExtraError",
    "Near",
    "NumericsError",
    "ResourceError",
    "TargetError",
    "UsageError",
    "evaluate",
    "open_bundle",
    "open_gallery",
    "open_localizer",
    "profile",
]

#: module of each public name that is not an error.
_HOME = {
    "Answer": "edgevpr.runtime.answers",
    "Bundle": "edgevpr.runtime.open",
    "Features": "edgevpr.artifacts.features",
    "Gallery": "edgevpr.runtime.gallery.gallery",
    "Localizer": "edgevpr.runtime.localizer",
    "Match": "edgevpr.runtime.answers",
    "Near": "edgevpr.places.near",
    "evaluate": "edgevpr.train.evaluate.evaluate",
    "open_bundle": "edgevpr.runtime.open",
    "open_gallery": "edgevpr.runtime.open",
    "open_localizer": "edgevpr.runtime.open",
    "profile": "edgevpr.profiles.measure",
}

if not TYPE_CHECKING:

    def __getattr__(name: str) -> object:
        if name not in __all__:
            raise AttributeError(f"module 'edgevpr' has no attribute {name!r}")
        import importlib

        value = getattr(importlib.import_module(_HOME.get(name, "edgevpr.errors")), name)
        globals()[name] = value
        return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
