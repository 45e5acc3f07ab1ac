"""Tree of the errors a user can meet, their exit codes, and the grammar of their messages.

::

    EdgeVPRError                  1
    |-- UsageError                2   a parameter, or a combination of parameters
    |   `-- UnknownTargetError    2
    |-- DataError                 3   images, data sets, video
    |-- ArtifactError             4   a folder written by another verb
    |   |-- CorruptArtifactError  4   truncated, bit-flipped, half-copied
    |   |-- ArtifactKindError     4   a gallery where a bundle was asked for
    |   |-- ArtifactVersionError  4   written by a newer or an older format
    |   `-- SpaceMismatchError    4   descriptors that must not be compared
    |-- MissingExtraError         5   a package that is not installed
    |-- TargetError               6   a target that cannot be built or run here
    |   `-- EngineMissingError    6   no engine of the bundle fits this machine
    |-- ResourceError             7   disk, memory, permissions
    `-- NumericsError             8   NaN, a failed parity gate

Interrupted runs end with 130.

A message is one sentence of three parts, *found X, expected Y: do Z*::

    found `top` 0, expected 1 or more: pass `top` 5
    found images/a.jpg of 0 bytes, expected an image: replace it
    found no engine for sm_87 in bundle, expected one: run edgevpr build BUNDLE

A parameter is named in backticks by its Python name, and nothing else is in backticks. The
command line prints it as the verb's flag (``edgevpr.cli.spelling``): `top` as --top, `radius_m` as
--radius, the argument `source` as SOURCE. Outside ``edgevpr.cli`` a message spells a flag only in
a command of the next step, ``edgevpr VERB ... --flag``, or of another program.
"""


class EdgeVPRError(Exception):
    """Base of the tree; its message is one sentence for the user."""

    exit_code = 1


class UsageError(EdgeVPRError):
    """A parameter out of range, or parameters that exclude each other."""

    exit_code = 2


class UnknownTargetError(UsageError):
    """A compile target that no device profile describes."""


class DataError(EdgeVPRError):
    """Images, data sets or video that cannot be used as they are."""

    exit_code = 3


class ArtifactError(EdgeVPRError):
    """A folder handed from one verb to another that cannot be used."""

    exit_code = 4


class CorruptArtifactError(ArtifactError):
    """A file of the artifact is missing, truncated or changed."""


class ArtifactKindError(ArtifactError):
    """The folder is another kind of artifact than the one asked for."""


class ArtifactVersionError(ArtifactError):
    """The artifact has a format version that this edgevpr does not read."""


class SpaceMismatchError(ArtifactError):
    """Two artifacts hold descriptors of different descriptor spaces."""


class MissingExtraError(EdgeVPRError):
    """An optional package is not installed."""

    exit_code = 5


class TargetError(EdgeVPRError):
    """A known target that cannot be built, or cannot be run, on this machine."""

    exit_code = 6


class EngineMissingError(TargetError):
    """A bundle without an engine for this GPU and this TensorRT; building one would do."""


class ResourceError(EdgeVPRError):
    """The disk is full, memory ran out, or a folder is not writable."""

    exit_code = 7


class NumericsError(EdgeVPRError):
    """NaN or infinity in descriptors, or a parity gate that failed."""

    exit_code = 8
