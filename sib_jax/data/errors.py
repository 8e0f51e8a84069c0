"""The error every data set raises when the user's data cannot be used."""


class DataError(ValueError):
    """The data are missing or unusable; the message says what was found, wanted and can be done."""
