"""The one exception that bad input raises."""


class InputError(ValueError):
    """Input that cannot work: the message names what was received, why, and the remedy, in one line."""

    def __init__(self, message: str) -> None:
        super().__init__(" ".join(message.split()))  # the repr of an array has several lines
