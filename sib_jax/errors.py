"""The base of every error that the user can fix; its message says how."""


class UserError(ValueError):
    """What was got, what was wanted, and what to do. The command line shows only the message."""
