# SPDX-License-Identifier: Apache-2.0
"""`tidemark group` against groups of other clients. `cases` are the runner's."""
import re
import subprocess
import time

from clients import debian_python
from world import BOOT, Failure, expect

COMMITTED = '''
import sys
from kafka import KafkaConsumer, TopicPartition
c = KafkaConsumer(bootstrap_servers=sys.argv[1], group_id=sys.argv[2], enable_auto_commit=False)
print(' '.join(str(c.committed(TopicPartition(sys.argv[3], p))) for p in range(int(sys.argv[4]))))
'''


def tool(w, *args, good=True):
    r = w.client(w.tools / 'control/tool/tidemark', 'group', args[0], '--bootstrap', BOOT, *args[1:], check=False)
    expect((r.returncode == 0) == good, f'{args}: status {r.returncode}: {r.stdout}{r.stderr}')
    return r.stdout + r.stderr


def table(text, topic):
    """{partition: (committed, end, lag, member)}"""
    found = {}
    for line in text.splitlines():
        f = line.split()
        if len(f) >= 6 and f[0] == topic:
            found[int(f[1])] = tuple(None if x == '-' else int(x) for x in f[2:5]) + (f[5],)
    return found


def consume(w, group, topic, *args):
    return w.client('kcat', '-b', BOOT, '-G', group, topic, '-q', '-X', 'auto.offset.reset=earliest', *args, timeout=90).stdout


def wait(what, holds, seconds=60):
    until = time.monotonic() + seconds
    while not (result := holds()):
        if time.monotonic() > until:
            raise Failure(f'{what}: not within {seconds} s')
        time.sleep(0.3)
    return result


def the_tool_shows_and_changes_groups(w):
    topic, group, partitions = 'tooled-groups', 'tg', 3
    w.topic(topic, partitions=partitions)
    path = w.dir / 'in'
    for p in range(partitions):
        path.write_text(''.join(f'{p} {i}\n' for i in range(100 + p)))
        w.produce(topic, path, '-p', p)
    middle = int(time.time() * 1000)
    said = tool(w, 'describe', '--group', group, good=False)
    expect('there is no group' in said, said)
    expect(len(consume(w, group, topic, '-c', 150).splitlines()) == 150, 'the group reads')

    def truth():
        """What kafka-python says of the commits."""
        r = w.client(debian_python(), '-c', COMMITTED, BOOT, group, topic, partitions)
        return [None if x == 'None' else int(x) for x in r.stdout.split()]

    def shown():
        return table(tool(w, 'describe', '--group', group), topic)

    def is_true():
        """The lag shown is the end less what was committed, and that is what another client sees."""
        rows, known = shown(), truth()
        for p, committed in enumerate(known):
            end = 100 + p
            if committed is not None:
                expect(rows[p][:3] == (committed, end, end - committed), f'partition {p}: {rows[p]}, committed {committed} of {end}')
            else:
                expect(p not in rows or rows[p][0] is None and rows[p][2] is None, f'partition {p}: {rows.get(p)}, nothing committed')
        return known

    known = is_true()
    expect(sum(x or 0 for x in known) == 150, f'{known} committed')
    listed = tool(w, 'list')
    expect(re.search(rf'^{group}\s+Empty', listed, re.M), listed)
    # With a member.
    held = w.inside(lambda: subprocess.Popen(['kcat', '-b', BOOT, '-G', group, topic, '-q', '-X', 'auto.offset.reset=earliest', '-X', 'client.id=held',
                                              '-X', 'auto.commit.interval.ms=200'], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL))
    try:
        wait('a member', lambda: 'State: Stable' in tool(w, 'describe', '--group', group))
        wait('all is read and committed', lambda: [r[2] for r in shown().values()] == [0] * partitions)
        described = tool(w, 'describe', '--group', group)
        expect('Members: 1' in described and described.count(' held ') == partitions, described)
        expect(re.search(rf'^{group}\s+Stable', tool(w, 'list'), re.M), 'a stable group')
        refused = tool(w, 'reset-offsets', '--group', group, '--all-topics', '--to-earliest', '--execute', good=False)
        expect('1 members' in refused and 'stop its consumers' in refused, refused)
        refused = tool(w, 'delete', '--group', group, good=False)
        expect('NON_EMPTY_GROUP' in refused and 'stop its consumers' in refused, refused)
        # One that commits and has nothing to do with it, and records that nobody has read.
        path.write_text('more\n' * 7)
    finally:
        held.terminate()
        held.wait(timeout=30)
    wait('the member has left', lambda: 'Members: 0' in tool(w, 'describe', '--group', group))
    expect(is_true() == [100, 101, 102], 'all was committed')
    # Only shown, then done; every target.
    dry = tool(w, 'reset-offsets', '--group', group, '--all-topics', '--to-earliest')
    expect('nothing was changed' in dry and truth() == [100, 101, 102], dry)

    def reset(*args, becomes):
        tool(w, 'reset-offsets', '--group', group, *args, '--execute')
        known = is_true()
        expect(known == becomes, f'{args}: {known}, not {becomes}')

    reset('--all-topics', '--to-earliest', becomes=[0, 0, 0])
    reset('--topic', topic, '--to-offset', 42, becomes=[42, 42, 42])
    reset('--topic', f'{topic}:1', '--shift-by', 20, becomes=[42, 62, 42])
    reset('--topic', f'{topic}:0', '--topic', f'{topic}:2', '--shift-by', -40, becomes=[2, 62, 2])
    reset('--topic', f'{topic}:0', '--shift-by', -40, becomes=[0, 62, 2])
    reset('--topic', topic, '--shift-by', 1000000, becomes=[100, 101, 102])
    reset('--topic', f'{topic}:2', '--to-offset', 5, becomes=[100, 101, 5])
    reset('--topic', topic, '--to-latest', becomes=[100, 101, 102])
    for p in range(partitions):
        w.produce(topic, path, '-p', p)
    stamp = time.strftime('%Y-%m-%dT%H:%M:%S', time.gmtime(middle / 1000)) + f'.{middle % 1000:03d}Z'
    tool(w, 'reset-offsets', '--group', group, '--topic', topic, '--to-earliest', '--execute')
    tool(w, 'reset-offsets', '--group', group, '--topic', topic, '--to-datetime', stamp, '--execute')
    expect(truth() == [100, 101, 102], f'what came after {stamp}: {truth()}')
    expect([r[2] for r in shown().values()] == [7, 7, 7], f'{shown()}')
    expect(consume(w, group, topic, '-c', 21).splitlines() == ['more'] * 21, 'the group goes on there')
    expect('UNKNOWN' in tool(w, 'reset-offsets', '--group', group, '--topic', 'not-there', '--to-latest', good=False), 'no such topic')
    expect('not-there' not in w.client('kcat', '-b', BOOT, '-L').stdout, 'the tool makes no topics')
    # A group that never was, and one that goes.
    expect('shifted' in tool(w, 'reset-offsets', '--group', 'new', '--topic', topic, '--shift-by', 1, good=False), 'nothing to shift')
    tool(w, 'reset-offsets', '--group', 'new', '--topic', f'{topic}:1', '--to-offset', 9, '--execute')
    rows = table(tool(w, 'describe', '--group', 'new'), topic)
    expect(list(rows) == [1] and rows[1][:3] == (9, 108, 99), f'{rows}')
    tool(w, 'delete', '--group', 'new')
    expect('new' not in tool(w, 'list').split(), 'it is deleted')
    expect(group in tool(w, 'describe'), 'all groups at once')
    tool(w, 'delete', '--group', group)
    expect('GROUP_ID_NOT_FOUND' in tool(w, 'delete', '--group', group, good=False), 'it is gone')


cases = [the_tool_shows_and_changes_groups]
