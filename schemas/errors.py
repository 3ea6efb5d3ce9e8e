"""The three families of error: the sender's fault, our fault, the weather.

A sender's fault becomes a dead letter and the line goes on. Our fault is raised and ends the process. The
weather (a server that is away) is retried. What a person did wrong at the command line is a `UsageError`.
"""


class CarebellError(Exception):
    """Base of every error that carebell raises on purpose."""


class SenderFaultError(CarebellError):
    """A message that cannot be read as it stands.

    `reason` is one of `schemas.topics.REASONS`, `detail` says what was found.
    """

    def __init__(self, reason: str, detail: str = "") -> None:
        """Keep the reason's name and what was found."""
        super().__init__(f"{reason}: {detail}" if detail else reason)
        self.reason = reason
        self.detail = detail


class WeatherError(CarebellError):
    """A server is away or refuses for now: time can help, so the caller retries."""


class FatalError(CarebellError):
    """The process cannot go on and a retry would not help: say why and exit with code 1."""


class UsageError(CarebellError):
    """Settings, rules or arguments are wrong: the message names the key, the value and what is allowed."""
