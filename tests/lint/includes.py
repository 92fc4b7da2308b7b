#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Who may include whom: reads every #include "..." and compares it with the table below (dataplane/README.md)."""
import pathlib
import re
import sys

LEVELS = {
    'base': set(), 'kafka': {'base'}, 'net': {'base'}, 'tcp': {'base', 'net'}, 'log': {'base', 'kafka'},
    'partition': {'base', 'kafka', 'log'}, 'replica': {'base', 'kafka', 'log', 'partition'},
    'group': {'base', 'kafka', 'log', 'partition'}, 'txn': {'base', 'kafka', 'log', 'partition'},
    'broker': {'base', 'kafka', 'log', 'partition', 'replica', 'group', 'txn'},
    'nic': set(), 'disk': set(),
    'core': {'base', 'kafka', 'net', 'tcp', 'log', 'partition', 'replica', 'group', 'txn', 'broker', 'nic', 'disk'},
}
EDGE_LIBRARIES = {'liburing.h': {'dataplane/disk', 'control/tool', 'bench', 'tests/crash/disk_fault.c'}, 'rte_ethdev.h': {'dataplane/nic', 'tests/unit/test_nic.c', 'tests/unit/test_nic_clock.c', 'tests/unit/test_share.c'},
                  'uv.h': {'control'}, 'microhttpd.h': {'control/edge'}, 'ini.h': {'control/settings'},
                  'librdkafka/rdkafka.h': {'control/tool', 'tests/interop', 'tests/crash', 'bench'}}
FREE = ('control/daemon', 'control/tool', 'tests', 'bench')


def check(root):
    wrong = 0
    for path in sorted(root.glob('**/*.[ch]')):
        rel = path.relative_to(root).as_posix()
        top = rel.split('/')[0]
        if top not in ('dataplane', 'control', 'include', 'tests', 'bench') or rel.endswith('.bpf.c'):
            continue
        for number, line in enumerate(path.read_text(encoding='utf-8').splitlines(), 1):
            found = re.match(r'\s*#\s*include\s+(["<])([^">]+)[">]', line)
            if not found:
                continue
            problem = judge(rel, found.group(2), found.group(1) == '<')
            if problem:
                print(f'{rel}:{number}: {problem}')
                wrong += 1
    return wrong


def judge(rel, included, outside):
    if included in EDGE_LIBRARIES and not any(rel.startswith(p) for p in EDGE_LIBRARIES[included]):
        return f'only {", ".join(sorted(EDGE_LIBRARIES[included]))} may include {included}'
    if outside or rel.startswith(FREE) or included.startswith(('tidemark/', 'config/')):
        return None
    folder = included.split('/')[0]
    if rel.startswith('include/'):
        return f'include/ may not include {included}' if folder in LEVELS or folder == 'control' else None
    if rel.startswith('control/'):
        if folder in LEVELS and folder != 'kafka':
            return 'control may include of the data plane only its codec'
        return None
    own = rel.split('/')[1]
    if folder in ('control', 'cluster', 'settings', 'edge', 'daemon', 'tool') and '/' in included:
        return 'the data plane may not include control'
    if folder in LEVELS and folder != own and folder not in LEVELS[own]:
        return f'{own} may not include {folder}'
    return None


if __name__ == '__main__':
    sys.exit(1 if check(pathlib.Path(sys.argv[1])) else 0)
