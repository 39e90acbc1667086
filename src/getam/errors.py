"""Errors meant for the person at the keyboard: one sentence with the file, the number and the remedy."""


class GetamError(Exception):
    """Base of every error raised on purpose. The command line prints its message and exits with 2."""


class InputError(GetamError, ValueError):
    """A file, folder, tag, mask or option is not what was expected; the message says which, and what to do."""


class SkippedError(GetamError):
    """The work is done, but for photos that could not be read and were skipped on request. The command exits with 1."""


class CaptureError(GetamError, RuntimeError):
    """The attention of a model could not be read, or not exactly; the message says why."""


class WeightsError(GetamError, RuntimeError):
    """Model weights could not be found, downloaded or fitted to the model."""
