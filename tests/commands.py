"""What the command line answers to a mistake."""


def refused(answer, *words):
    """One line on stderr that holds the words, and exit code 2.

    Args:
        answer: what the fixture `run` gave.
        words: all of them.
    """
    code, _, lines = answer
    assert code == 2, answer
    assert len(lines) == 1, lines
    assert "Traceback" not in lines[0]
    for word in words:
        assert word in lines[0], lines[0]
