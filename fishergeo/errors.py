"""The one exception that bad input raises."""


class InputError(ValueError):
    """Input that cannot work: the message names what was received, why, and the remedy, in one line."""
