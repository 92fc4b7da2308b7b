# SPDX-License-Identifier: Apache-2.0
"""What members of a group saw, and what must be true of it. A member writes to GROUP.MEMBER.group (one clock, milliseconds):

    assigned PARTITION TIME              before it asks where to begin
    revoked PARTITION TIME
    got PARTITION OFFSET TIME VALUE
    committed PARTITION OFFSET TIME      acknowledged; kafka-python does not tell
    error TEXT                           what an application with default settings would have heard

and who looks at the group's offsets to GROUP.watch:

    stands PARTITION OFFSET BEGIN END    -1: there is none
"""
import bisect
import collections
import dataclasses


@dataclasses.dataclass
class Group:
    name: str
    assigned: list = dataclasses.field(default_factory=list)   # (member, partition, time)
    got: list = dataclasses.field(default_factory=list)        # (member, partition, offset, time)
    committed: list = dataclasses.field(default_factory=list)  # (partition, offset, time)
    stands: list = dataclasses.field(default_factory=list)     # (partition, offset, begin, end)
    errors: list = dataclasses.field(default_factory=list)


def take(group, member, text):
    for line in text.split('\n')[:-1]:  # a last line may be half written
        word, *rest = line.split(' ')
        if word == 'assigned':
            group.assigned.append((member, int(rest[0]), float(rest[1])))
        elif word == 'got':
            group.got.append((member, int(rest[0]), int(rest[1]), float(rest[2])))
        elif word == 'committed':
            group.committed.append((int(rest[0]), int(rest[1]), float(rest[2])))
        elif word == 'stands':
            group.stands.append((int(rest[0]), int(rest[1]), float(rest[2]), float(rest[3])))
        elif word == 'error':
            group.errors.append(f'{member}: {" ".join(rest)}')


def load(directory, name):
    group = Group(name)
    for path in directory.glob(f'{name}.*'):
        if path.suffix in ('.group', '.watch'):
            take(group, path.name, path.read_text(errors='replace'))
    return group


ANSWER_MS = 5000


class Steps:
    """What a client was told last of its commits, as of a time. A client may take back itself what it committed: librdkafka sends a commit
    of its timer again when its coordinator has gone, behind the one that it sent on its way out."""

    def __init__(self, pairs):
        pairs = sorted(pairs)
        self.times, self.values = [time for time, _ in pairs], [value for _, value in pairs]

    def before(self, time):
        """(when, what)"""
        at = bisect.bisect_left(self.times, time)
        return (self.times[at - 1], self.values[at - 1]) if at else (float('-inf'), -1)

    def has_between(self, begin, end, value):
        return value in self.values[bisect.bisect_left(self.times, begin):bisect.bisect_right(self.times, end)]


def told(group):
    """Steps by partition."""
    commits = collections.defaultdict(list)
    for partition, offset, time in group.committed:
        commits[partition].append((time, offset))
    return {p: Steps(pairs) for p, pairs in commits.items()}


def skipped(group, records):
    """records: {(partition, offset)} that were acknowledged to producers."""
    seen = {(partition, offset) for _, partition, offset, _ in group.got}
    lost = sorted(records - seen)
    return [f'{group.name}: {len(lost)} records of {len(records)} were never delivered, the first {lost[0]}'] if lost else []


def repeated(group):
    """Who is given a partition begins where it was committed, or behind it."""
    steps = told(group)
    sessions = collections.defaultdict(list)
    for member, partition, time in group.assigned:
        sessions[member, partition].append(time)
    found, first = [], set()
    for member, partition, offset, time in group.got:
        begun = [t for t in sessions[member, partition] if t <= time]
        if not begun or partition not in steps:
            continue
        _, floor = steps[partition].before(max(begun))
        if offset < floor and (member, partition, max(begun)) not in first:
            first.add((member, partition, max(begun)))
            found.append(f'{group.name}: {member} was given partition {partition} at {max(begun):.0f} and got offset {offset}, although {floor} was committed')
    return found


def moved_back(group):
    """What a look saw is no less than what was told and seen before it, unless a client took it back: it was told so last, after the look
    that saw more had begun, or after this one has begun, since an answer may come after what it tells of was seen."""
    steps = told(group)
    found, last = [], {}
    for partition, offset, begin, _ in sorted(group.stands, key=lambda s: s[2]):
        known = steps.get(partition, Steps([]))
        stood_at, stood = last.get(partition, (begin, -1))
        told_at, committed = known.before(begin)
        taken_back = (committed == offset and told_at >= stood_at) or known.has_between(begin, begin + ANSWER_MS, offset)
        if offset < max(committed, stood) and not taken_back:
            found.append(f'{group.name}: the offset of partition {partition} was {offset} at {begin:.0f}, after {max(committed, stood)} had been committed')
        last[partition] = (begin, offset)
    return found


def check(group, records):
    return [f'{group.name}: {e}' for e in group.errors] + skipped(group, records) + repeated(group) + moved_back(group)


def summary(group):
    times = len(group.got)
    seen = len({(partition, offset) for _, partition, offset, _ in group.got})
    return (f'{group.name}: {seen} records, {times - seen} of them once more; {len(group.assigned)} partitions given, '
            f'{len(group.committed)} commits, {len(group.stands)} looks at offsets')
