"""Errors that users can cause and fix. The command line prints them as one line."""


class VitascopeError(Exception):
    """Base of all user errors; the one-line message names the value, the rule and the cure."""


class ConfigError(VitascopeError):
    """Invalid config file or override: unknown key, wrong type or value out of range."""


class MediaError(VitascopeError):
    """Media file that can't be read or written."""


class PastEndError(MediaError):
    """Start of a part that is past the end of a media file."""


class SizeError(VitascopeError):
    """Width, height, frame count, duration or rate out of range."""


class PromptError(VitascopeError):
    """Prompt that is empty or too long."""


class EndpointError(VitascopeError):
    """Service that failed to answer a request."""


class ModelError(VitascopeError):
    """Model name or folder that can't be loaded."""


class DeviceError(VitascopeError):
    """Device or number format that this machine lacks."""


class FolderInUseError(VitascopeError):
    """Folder that another command writes into."""


class Terminated(BaseException):
    """SIGTERM as an exception, so that files being written are removed, or finished, on the way out."""


class DatasetError(VitascopeError):
    """Dataset folder that is unreadable or empty."""


class RenderError(VitascopeError):
    """Rendering failure: the renderer is missing or a process died."""


def reason(error: BaseException) -> str:
    """Reason of an error in one line, in the system's words if available."""
    text = getattr(error, "strerror", None) or str(error) or type(error).__name__
    return " ".join(str(text).split())
