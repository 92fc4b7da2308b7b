# SPDX-License-Identifier: Apache-2.0
"""Makes a process slow, and never silent: it stands still (SIGSTOP) for some milliseconds and runs for some, in turn.

    drag.py PID RUN_MS STAND_MS

Until its standard input ends, so also when whoever began it dies: the process goes on then. Tells at the end how long it ran and stood
in all, and the longest it stood at once, in seconds."""
import json
import os
import select
import signal
import sys
import time


def drag(process, run_s, stand_s, is_over):
    """is_over(seconds) waits for so long, and says whether this is the end. A process that has ended is left alone."""
    told = {'ran_s': 0, 'stood_s': 0, 'longest_s': 0}
    over = False
    try:
        while not over:
            stopped = time.monotonic()
            signal.pidfd_send_signal(process, signal.SIGSTOP)
            over = is_over(stand_s)
            signal.pidfd_send_signal(process, signal.SIGCONT)
            went_on = time.monotonic()
            over = over or is_over(run_s)
            told['ran_s'] += time.monotonic() - went_on
            told['stood_s'] += went_on - stopped
            told['longest_s'] = max(told['longest_s'], went_on - stopped)
    except ProcessLookupError:
        pass
    return told


def main():
    pid, run_ms, stand_ms = (float(x) for x in sys.argv[1:])
    ends = []
    for s in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(s, lambda *_: ends.append(1))  # nothing is thrown: SIGCONT always follows
    print(json.dumps(drag(os.pidfd_open(int(pid)), run_ms / 1e3, stand_ms / 1e3, lambda s: bool(select.select([sys.stdin], [], [], s)[0] or ends))))


if __name__ == '__main__':
    sys.exit(main())
