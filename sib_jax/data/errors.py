"""The error every data set raises when the user's data cannot be used."""

from sib_jax.errors import UserError

EMBEDDED = (
    "The embedded data set needs nothing: python -m sib_jax.main --config=experiments/5w1s.py"
)
"""What runs without any data."""


class DataError(UserError):
    """The data are missing or unusable; the message says what was found and what to do."""
