"""The error every data set raises when the user's data cannot be used."""

from sib_jax.errors import UserError


class DataError(UserError):
    """The data are missing or unusable; the message says what was found, wanted and can be done."""
