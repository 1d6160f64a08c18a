"""What tests of the command line share."""


def check_one_sentence(done, code, *parts):
    """The contract: nothing but `error: <sentence>` on standard error, the exit code, and what the sentence must hold."""
    assert done.code == code, done.out + done.err
    lines = done.err.strip().splitlines()
    assert len(lines) == 1, done.err
    assert lines[0].startswith("error: ")
    assert lines[0].endswith(".")
    for part in parts:
        assert part in lines[0]
