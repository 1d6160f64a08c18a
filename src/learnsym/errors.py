"""What a person can put right: one sentence, which `main.py` prints before it exits."""


class LearnSymError(Exception):
    """Base of errors that the user can put right; says what was found and what would be valid."""

    exit_code = 2


class ConfigError(LearnSymError):
    """A key, value, type, choice or combination is not valid."""


class DataError(LearnSymError):
    """A data set cannot be read: a file is missing, corrupt, or not of the form it should have."""


class CheckpointError(LearnSymError):
    """A checkpoint cannot be read, or does not fit the network."""


class RunError(LearnSymError):
    """A run could not go on (not finite, disk full); what it had computed is kept."""

    exit_code = 1
