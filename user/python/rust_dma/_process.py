"""Processes: which one this is, of those that fork(2) makes."""

import os

_forks = 0


def current() -> tuple[int, int]:
    """This process, which is equal to none that it descends from.

    Its number in the kernel is not enough: a child that is the first process of a PID namespace has that of a parent that is the first one
    of another. Neither is the number of forks: the handlers of others may run before ours, and release objects.
    """
    return _forks, os.getpid()


def _forked() -> None:
    global _forks
    _forks += 1


os.register_at_fork(after_in_child=_forked)
