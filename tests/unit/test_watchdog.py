import os
import time

import pytest

from kinetext.video.pool import Lost, watched


def work(item):
    if item == "hang":
        time.sleep(600)
    if item == "crash":
        os._exit(7)
    if item == "raise":
        raise KeyError("no such thing")
    return item, os.getpid()


def test_results_keep_their_order_and_lost_items_their_reason():
    results = list(watched(work, ["a", "hang", "b", "crash", "raise", "c"], limit_s=2, num_workers=2))
    assert [result[0] for result in results if not isinstance(result, Lost)] == ["a", "b", "c"]
    assert results[1] == Lost("timeout: not done after 2 s")
    assert results[3] == Lost("decoder crashed: its process ended with exit code 7")
    assert results[4] == Lost("KeyError: 'no such thing'")


def test_workers_end_when_the_reader_does():
    results = watched(work, ["a", "b", "c"], limit_s=60, num_workers=1)
    _, process = next(results)
    os.kill(process, 0)  # it lives
    results.close()
    with pytest.raises(ProcessLookupError):
        os.kill(process, 0)


class Unreadable:
    def __reduce__(self):
        return os._exit, (5,)


def test_workers_that_cannot_start_are_an_error_not_a_loop():
    with pytest.raises(RuntimeError, match="could not start"):
        list(watched(Unreadable(), ["a"], limit_s=2, num_workers=1))
