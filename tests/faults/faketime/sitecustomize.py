"""Makes ``time.sleep`` work in the processes of ``tests.faults.clock``; Python runs this file as it starts.

Since 3.11 CPython sleeps until a moment of the monotonic clock (clock_nanosleep with TIMER_ABSTIME). libfaketime
0.9.10 takes the offset of the wall clock from that moment, even when it is told to leave the monotonic clock alone,
and the call fails with EINVAL: https://github.com/wolfcw/libfaketime/issues/426
"""

import select
import time


def _sleep(seconds: float) -> None:
    select.select([], [], [], seconds)


time.sleep = _sleep
