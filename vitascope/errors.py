"""Errors that a user can cause and mend. The command line prints one as one line and exits 2."""


class VitascopeError(Exception):
    """A user's mistake: the message names the value, the rule and the cure, in one line."""


class ConfigError(VitascopeError):
    """A config file or override that can't be used: unknown key, wrong type, absurd value."""


class MediaError(VitascopeError):
    """A media file that can't be read or written: missing, empty, not a video, too small."""


class PastEndError(MediaError):
    """A part of a media file that begins after its end."""


class SizeError(VitascopeError):
    """A width, height, frame count, duration or rate outside what can be made."""


class PromptError(VitascopeError):
    """A prompt that is empty or too long."""


class EndpointError(VitascopeError):
    """A service that was asked for something and didn't give it."""


class ModelError(VitascopeError):
    """A model name or folder that can't be loaded."""


class DeviceError(VitascopeError):
    """A device or number format that this machine doesn't have."""


class Terminated(BaseException):
    """SIGTERM as an exception, so that files being written are removed, or finished, on the way out."""


class DatasetError(VitascopeError):
    """A dataset folder that can't be read or has nothing in it."""


class RenderError(VitascopeError):
    """Clips that can't be made: nothing to render with, or a process that died."""


def reason(error: BaseException) -> str:
    """What went wrong, in one line: the system's own words where there are some."""
    text = getattr(error, "strerror", None) or str(error) or type(error).__name__
    return " ".join(str(text).split())
