"""What went wrong, for a person: one sentence, no traceback. `main.py` prints it and exits with code 2."""


class LearnSymError(Exception):
    """Something the user can put right. The message is one sentence that names what was found and what would be valid."""


class DataError(LearnSymError):
    """A data set cannot be read: a file is missing, corrupt, or not of the form it should have."""
