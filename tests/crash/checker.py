#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Judges the histories of a run: checker.py DIRECTORY [--loss-window MS] [--replica TOPIC-PARTITION=END=DIR,DIR,...]

Says what was lost, duplicated, reordered, unseen, read but not there, and where replicas differ. Ends with a line
"N violations" and status 1 when there are any. It knows nothing of the broker but Kafka's formats.

What each policy was promised (design, P1 to P6):
    exact   every acknowledged record is there, at its offset, once, and all of them in the order of sending (P1, P6)
    all     every acknowledged record is there, at its offset (P1); there may be copies of it
    one     the same, except for what was acknowledged within the loss window around a fault (P2)
Readers see each offset once, in order, none left out, and only what is there at the end (P5).
"""
import argparse
import bisect
import collections
import statistics
import sys

import history
import segments

SHOWN = 5


def say(kind, topic, text):
    return f'{kind}: {topic}: {text}'


def _some(items):
    items = list(items)
    return f'{len(items)}, the first {items[:SHOWN]}'


def _places(run):
    """(producer, number): its offsets at the end, in the order of the log, as (partition, offset)."""
    places = collections.defaultdict(list)
    for r in sorted(run.final, key=lambda r: (r.partition, r.offset)):
        places[r.name, r.number].append((r.partition, r.offset))
    return places


def _may_be_lost(record, faults, window_ms):
    """Was it acknowledged by one replica alone, shortly before that one may have gone?"""
    return any(f.begin_ms - window_ms <= record.acked_ms <= f.end_ms + window_ms for f in faults)


def lost(run, window_ms):
    places = _places(run)
    for p in run.producers.values():
        missing = [r for r in p.acked() if (p.name, r.number) not in places]
        if p.policy == 'one':
            missing = [r for r in missing if not _may_be_lost(r, run.faults, window_ms)]
        if missing:
            yield say('lost', run.topic, f'acknowledged records of {p.name}: {_some(r.number for r in missing)}')


def duplicated(run):
    places = _places(run)
    for p in run.producers.values():
        if p.policy != 'exact':
            continue
        twice = {n: places[p.name, n] for n in p.records if len(places.get((p.name, n), ())) > 1}
        if twice:
            yield say('duplicated', run.topic, f'records of {p.name}: {_some(sorted(twice.items()))}')


def reordered(run):
    """The numbers of an exact producer rise along each partition."""
    last, bad = {}, collections.defaultdict(list)
    for r in sorted(run.final, key=lambda r: (r.partition, r.offset)):
        p = run.producers.get(r.name)
        if p is None or p.policy != 'exact':
            continue
        before = last.get((r.name, r.partition), -1)
        if r.number < before:
            bad[r.name].append((r.partition, r.offset, r.number))
        last[r.name, r.partition] = max(before, r.number)
    for name, places in bad.items():
        yield say('reordered', run.topic, f'records of {name} lie behind later ones: {_some(places)}')


def misplaced(run, window_ms):
    """An acknowledgement named an offset: there it is, and nothing else was ever acknowledged for it."""
    places = _places(run)
    claimed = {}
    for p in run.producers.values():
        wrong = []
        for r in p.acked():
            if r.offset < 0:
                continue
            if p.policy == 'one' and _may_be_lost(r, run.faults, window_ms):
                continue
            other = claimed.setdefault((r.partition, r.offset), (p.name, r.number))
            if other != (p.name, r.number):
                yield say('misplaced', run.topic, f'offset {r.offset} of partition {r.partition} was acknowledged for {other} and {(p.name, r.number)}')
            if (p.name, r.number) in places and (r.partition, r.offset) not in places[p.name, r.number]:
                wrong.append((r.number, r.offset, places[p.name, r.number]))
        if wrong:
            yield say('misplaced', run.topic, f'records of {p.name} are not where the answer said: {_some(wrong)}')


def invented(run):
    """What is there was sent, to that partition."""
    odd = [(r.partition, r.offset, r.name, r.number) for r in run.final
           if r.name not in run.producers or run.producers[r.name].records.get(r.number) is None
           or run.producers[r.name].records[r.number].partition != r.partition]
    if odd:
        yield say('invented', run.topic, f'records that nobody sent: {_some(odd)}')


def holes(run):
    """Nothing is trimmed or compacted in these runs: the offsets of a partition are 0, 1, 2 and so on."""
    ends = collections.defaultdict(int)
    for r in run.final:
        if r.offset != ends[r.partition]:
            yield say('hole', run.topic, f'partition {r.partition}: offset {r.offset} where {ends[r.partition]} was due')
        ends[r.partition] = max(ends[r.partition], r.offset + 1)


def readers(run):
    final = {(r.partition, r.offset): (r.name, r.number) for r in run.final}
    ends = collections.Counter()
    for partition, offset in final:
        ends[partition] = max(ends[partition], offset + 1)
    for name, reads in run.readers.items():
        due = collections.Counter()
        for r in reads:
            if r.offset < due[r.partition]:
                yield say('read twice', run.topic, f'{name}: offset {r.offset} of partition {r.partition} after {due[r.partition] - 1}')
                continue
            if r.offset > due[r.partition]:
                yield say('unseen', run.topic, f'{name}: offsets {due[r.partition]} to {r.offset - 1} of partition {r.partition} were left out')
            due[r.partition] = r.offset + 1
            there = final.get((r.partition, r.offset))
            if there != (r.name, r.number):
                yield say('read uncommitted', run.topic, f'{name}: {(r.name, r.number)} at offset {r.offset} of partition {r.partition}, '
                          f'where {there if there is not None else "nothing"} is now')
        for partition, end in sorted(ends.items()):
            if due[partition] < end:
                yield say('unseen', run.topic, f'{name}: offsets {due[partition]} to {end - 1} of partition {partition} never came')
    for name, texts in run.errors.items():
        if texts:
            yield say('error', run.topic, f'{name}: {_some(texts)}')


def replicas(topic, end, logs):
    """`logs` {replica: [(base, next, bytes)]} hold the same batches below `end`, all of them."""
    first = None
    for name, batches in logs.items():
        below = [(base, upto, data) for base, upto, data in batches if base < end]
        reach = 0
        for base, upto, _ in below:
            if base != reach:
                yield say('diverged', topic, f'{name}: a batch begins at {base} where {reach} was due')
            reach = upto
        if reach < end:
            yield say('diverged', topic, f'{name}: ends at {reach}, and {end} was committed')
        if first is None:
            first = name, below
            continue
        for mine, other in zip(below, first[1]):
            if mine != other:
                yield say('diverged', topic, f'{name} and {first[0]} differ from offset {min(mine[0], other[0])} on')
                break


def check(run, window_ms=10000):
    """Everything that is wrong with a run, as texts."""
    found = []
    for part in (lost(run, window_ms), duplicated(run), reordered(run), misplaced(run, window_ms), invented(run), holes(run), readers(run)):
        found += part
    return found


def pauses(run, name=None):
    """For each fault, its kind and the longest time without an acknowledgement (of the producer of that name) that began or
    ended in it, in milliseconds."""
    acked = sorted(r.acked_ms for p in run.producers.values() if name in (None, p.name) for r in p.acked())
    found = []
    for f in run.faults:
        first = bisect.bisect_left(acked, f.begin_ms)
        last = bisect.bisect_right(acked, f.end_ms)
        around = acked[max(first - 1, 0):last + 1]
        if len(around) > 1:
            found.append((f.kind, max(b - a for a, b in zip(around, around[1:]))))
    return found


def spread(values):
    if not values:
        return 'none'
    values = sorted(values)
    return f'median {statistics.median(values):.0f}, 95th percentile {values[int(len(values) * 0.95)]:.0f}, longest {values[-1]:.0f} ms'


def summary(run, window_ms):
    """One line of what was looked at, and for acks=1 what the promise leaves out."""
    sent = sum(len(p.records) for p in run.producers.values())
    acked = sum(1 for p in run.producers.values() for _ in p.acked())
    places = _places(run)
    gone = sum(1 for p in run.producers.values() if p.policy == 'one' for r in p.acked() if (p.name, r.number) not in places)
    text = f'{run.topic}: {sent} sent, {acked} acknowledged, {len(run.final)} there, {sum(map(len, run.readers.values()))} read along'
    if any(p.policy == 'one' for p in run.producers.values()):
        text += f', {gone} acknowledged by one alone and gone (window {window_ms} ms)'
    return text


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('directory')
    parser.add_argument('--loss-window', type=float, default=10000)
    parser.add_argument('--replica', action='append', default=[])
    args = parser.parse_args()
    found = []
    for run in history.load(args.directory).values():
        print(summary(run, args.loss_window))
        print(f'{run.topic}: pauses: {spread([ms for _, ms in pauses(run)])}')
        found += check(run, args.loss_window)
    for text in args.replica:
        name, end, dirs = text.split('=', 2)
        found += replicas(name, int(end), {d: segments.read(d) for d in dirs.split(',')})
    for text in found:
        print(text)
    print(f'{len(found)} violations')
    return 1 if found else 0


if __name__ == '__main__':
    sys.exit(main())
