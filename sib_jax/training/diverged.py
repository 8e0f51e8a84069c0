"""Training that left the finite numbers."""

from sib_jax.errors import UserError


class DivergedError(UserError):
    """A loss is not finite; the message names the step and what to lower."""
