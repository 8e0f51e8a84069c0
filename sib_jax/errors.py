"""The base of every error that is the user's to mend; its message says how."""


class UserError(ValueError):
    """What was got, what was wanted, and what to do. The command line shows the message alone."""
