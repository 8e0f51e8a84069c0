"""Collects the errors of heads that fail, so that the others go on; they are raised at the end."""

import contextlib
from collections.abc import Iterator

from sib_jax.errors import UserError
from sib_jax.experiment.evaluate_head import NotFiniteError
from sib_jax.experiment.loop import DivergedError
from sib_jax.runtime.console import log


class FailedHeads:
    """The heads of one job that diverged or gave answers that are not finite.

    Attributes:
      names: of these heads, in the order in which they failed.
    """

    def __init__(self, heads: int):
        """Starts without failures, in a job of so many heads."""
        self._heads, self._errors = heads, list[UserError]()
        self.names: list[str] = []

    @contextlib.contextmanager
    def noted(self, name: str) -> Iterator[None]:
        """Records the failure of a head whose work is done within this context."""
        try:
            yield
        except (DivergedError, NotFiniteError) as error:
            # Without its traceback, which would keep arrays on the devices.
            self._errors.append(type(error)(str(error)))
            self.names.append(name)
            if self._heads > 1:
                log.warning("%s (the other heads go on)", error)

    def tell(self) -> None:
        """Raises what was recorded, if anything was."""
        if len(self._errors) == 1:
            raise self._errors[0]
        if self._errors:
            said = "; ".join(map(str, self._errors))
            raise UserError(f"{len(self._errors)} of {self._heads} heads failed: {said}")
