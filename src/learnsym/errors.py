"""What went wrong, for a person: one sentence, no traceback. `main.py` prints it and exits with
`exit_code`.
"""


class LearnSymError(Exception):
    """Something the user can put right. The message is one sentence that names what was found and
    what would be valid.
    """

    exit_code = 2


class ConfigError(LearnSymError):
    """A key, value, type, choice or combination that is not valid: said before anything is
    built.
    """


class DataError(LearnSymError):
    """A data set cannot be read: a file is missing, corrupt, or not of the form it should have."""


class CheckpointError(LearnSymError):
    """A checkpoint cannot be read, or does not fit the network."""


class RunError(LearnSymError):
    """A run could not go on (numbers that are not finite, a full disk); what it had computed is
    kept.
    """

    exit_code = 1
