# SPDX-License-Identifier: Apache-2.0
"""One thread of a process, held."""
import contextlib
import ctypes
import os
import pathlib


@contextlib.contextmanager
def stopped_thread(pid, name):
    """This thread of the process stands still, the others go on."""
    libc = ctypes.CDLL(None, use_errno=True)
    tid = next(int(t.name) for t in pathlib.Path(f'/proc/{pid}/task').iterdir() if name in (t / 'comm').read_text())
    if libc.ptrace(16, tid, None, None) != 0:
        raise OSError(ctypes.get_errno(), f'ptrace attach: {os.strerror(ctypes.get_errno())}')
    try:
        os.waitpid(tid, 0x40000000)
        yield
    finally:
        libc.ptrace(17, tid, None, None)
