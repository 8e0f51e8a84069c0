"""Heads that diverged or have no finite answer: the others go on, and it is told at the end."""

import contextlib
from collections.abc import Iterator

from sib_jax.errors import UserError
from sib_jax.experiment.evaluate_head import NotFiniteError
from sib_jax.experiment.loop import DivergedError
from sib_jax.runtime.console import log


class FailedHeads:
    """Those of one job.

    Attributes:
      names: of them, in the order in which they failed.
    """

    def __init__(self, heads: int):
        """None yet, of so many heads."""
        self._heads, self._errors = heads, list[UserError]()
        self.names: list[str] = []

    @contextlib.contextmanager
    def noted(self, name: str) -> Iterator[None]:
        """Within is the work of one head."""
        try:
            yield
        except (DivergedError, NotFiniteError) as error:
            # Of all that was under way on the devices nothing is kept with it.
            self._errors.append(type(error)(str(error)))
            self.names.append(name)
            if self._heads > 1:
                log.warning("%s (the other heads go on)", error)

    def tell(self) -> None:
        """Raises what was noted, if anything was."""
        if len(self._errors) == 1:
            raise self._errors[0]
        if self._errors:
            said = "; ".join(map(str, self._errors))
            raise UserError(f"{len(self._errors)} of {self._heads} heads failed: {said}")
