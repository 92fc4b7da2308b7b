# SPDX-License-Identifier: Apache-2.0
"""What happened during a run, as text files that outlive it. Times are milliseconds of one clock of the machine.

A producer writes to NAME.sent, one line for each event of record NUMBER, whose value is "NAME NUMBER":

    sent PARTITION NUMBER TIME
    acked PARTITION NUMBER OFFSET TIME      OFFSET -1: the broker did not say
    failed PARTITION NUMBER ERROR TIME      it may be there or not
    # TEXT                                  a comment

A reader writes to NAME.read:

    read PARTITION OFFSET TIME VALUE
    error TEXT                              what a client with default settings would have heard

The runner writes faults: lines "KIND BROKER BEGIN END", and `runs`: lines "NAME TOPIC POLICY", where POLICY says what
the producer was promised: exact (idempotent, acks=all), all (acks=all), one (acks=1). It reads the end of each
partition after the faults, when all replicas are in sync again, into NAME.final in the form of NAME.read.
"""
import dataclasses
import pathlib

POLICIES = ('exact', 'all', 'one')


@dataclasses.dataclass(frozen=True)
class Sent:
    """One record of a producer; offset and acked_ms are None until it was acknowledged."""
    partition: int
    number: int
    sent_ms: float
    acked_ms: float = None
    offset: int = None
    error: str = None


@dataclasses.dataclass(frozen=True)
class Read:
    partition: int
    offset: int
    time_ms: float
    name: str
    number: int


@dataclasses.dataclass(frozen=True)
class Fault:
    kind: str
    broker: int
    begin_ms: float
    end_ms: float


@dataclasses.dataclass
class Producer:
    name: str
    policy: str
    records: dict = dataclasses.field(default_factory=dict)  # number: Sent

    def acked(self):
        return (r for r in self.records.values() if r.acked_ms is not None)


@dataclasses.dataclass
class Run:
    """All of one topic: who wrote, who read along, what is there at the end, and what was done to the brokers."""
    topic: str
    producers: dict = dataclasses.field(default_factory=dict)  # name: Producer
    readers: dict = dataclasses.field(default_factory=dict)    # name: [Read], in the order in which it came
    errors: dict = dataclasses.field(default_factory=dict)     # name of a reader: [text]
    final: list = dataclasses.field(default_factory=list)      # [Read] of the whole topic
    faults: list = dataclasses.field(default_factory=list)


class Malformed(Exception):
    """A history that does not hold together proves nothing."""


def parse_producer(name, policy, lines):
    if policy not in POLICIES:
        raise Malformed(f'{name}: no policy is called {policy}')
    p = Producer(name, policy)
    for at, line in enumerate(lines, 1):
        if line.startswith('#'):
            continue
        word, *rest = line.split(' ')
        try:
            partition, number = int(rest[0]), int(rest[1])
            old = p.records.get(number)
            if word == 'sent' and old is None and len(rest) == 3:
                p.records[number] = Sent(partition, number, float(rest[2]))
            elif word == 'acked' and old is not None and old.partition == partition and old.acked_ms is None and len(rest) == 4:
                p.records[number] = dataclasses.replace(old, offset=int(rest[2]), acked_ms=float(rest[3]))
            elif word == 'failed' and old is not None and old.partition == partition and len(rest) == 4:
                p.records[number] = dataclasses.replace(old, error=rest[2])
            else:
                raise ValueError
        except (ValueError, IndexError) as e:
            raise Malformed(f'{name}.sent:{at}: {line!r}') from e
    return p


def parse_reader(name, lines):
    """The records, and the errors."""
    reads, errors = [], []
    for at, line in enumerate(lines, 1):
        try:
            if line.startswith('error '):
                errors.append(line[6:])
                continue
            word, partition, offset, time_ms, producer, number = line.split(' ')
            if word != 'read':
                raise ValueError
            reads.append(Read(int(partition), int(offset), float(time_ms), producer, int(number)))
        except ValueError as e:
            raise Malformed(f'{name}.read:{at}: {line!r}') from e
    return reads, errors


def parse_faults(lines):
    faults = []
    for at, line in enumerate(lines, 1):
        try:
            kind, broker, begin, end = line.split(' ')
            faults.append(Fault(kind, int(broker), float(begin), float(end)))
        except ValueError as e:
            raise Malformed(f'faults:{at}: {line!r}') from e
    return faults


def _lines(path):
    """Whole lines only: who was killed may have left half a line."""
    text = path.read_text() if path.exists() else ''
    return text[:text.rfind('\n') + 1].splitlines()


def load(directory):
    """The runs of a directory, by topic."""
    directory = pathlib.Path(directory)
    runs = {}
    faults = parse_faults(_lines(directory / 'faults'))
    for at, line in enumerate(_lines(directory / 'runs'), 1):
        fields = line.split(' ')
        if len(fields) != 3:
            raise Malformed(f'runs:{at}: {line!r}')
        name, topic, policy = fields
        run = runs.setdefault(topic, Run(topic, faults=faults))
        run.producers[name] = parse_producer(name, policy, _lines(directory / f'{name}.sent'))
    for topic, run in runs.items():
        for path in sorted(directory.glob(f'{topic}.*.read')):
            run.readers[path.stem], run.errors[path.stem] = parse_reader(path.stem, _lines(path))
        run.final, errors = parse_reader(topic, _lines(directory / f'{topic}.final'))
        if errors:
            run.errors[f'{topic}.final'] = errors
    return runs
