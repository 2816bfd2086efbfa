import os
import signal
import time

import pytest

from kinetext.video.pool import NoResult, map_with_timeout


def work(item):
    if item == "hang":
        time.sleep(600)
    if item == "crash":
        os._exit(7)
    if item == "raise":
        raise KeyError("no such thing")
    return item, os.getpid()


def test_results_are_in_order_and_failed_items_give_their_reason():
    results = list(map_with_timeout(work, ["a", "hang", "b", "crash", "raise", "c"], limit_s=0.5, num_workers=2))
    assert [result[0] for result in results if not isinstance(result, NoResult)] == ["a", "b", "c"]
    assert results[1] == NoResult("timeout: not done after 0.5 s, tried twice")
    assert results[3] == NoResult("decoder crashed: its process ended with exit code 7")
    assert results[4] == NoResult("KeyError: 'no such thing'")


def pause_once(item):
    """Stop this process the first time, as a scheduler or Ctrl-Z does."""
    if item.endswith("marker") and not os.path.exists(item):
        open(item, "w").close()
        os.kill(os.getpid(), signal.SIGSTOP)
    return item


def test_a_paused_process_costs_no_item(tmp_path):
    items = ["a", f"{tmp_path}/marker", "b"]
    assert list(map_with_timeout(pause_once, items, limit_s=1, num_workers=2)) == items


def test_workers_end_with_the_iterator():
    results = map_with_timeout(work, ["a", "b", "c"], limit_s=60, num_workers=1)
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
        list(map_with_timeout(Unreadable(), ["a"], limit_s=2, num_workers=1))
