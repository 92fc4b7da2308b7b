#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""The judge, judged: histories made by hand, one for each violation, and clean ones of which nothing is said."""
import pathlib
import struct
import subprocess
import sys
import tempfile
import unittest

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent))
import checker
import group_history
import history
import segments

WINDOW = 100


def run_of(producers, final, reads=None, faults=(), errors=None):
    """producers {name: (policy, lines of .sent)}; final and reads as lines of .read, without the time."""
    def timed(lines):
        return ['read {} {} 0 {}'.format(*line.split(' ', 2)) for line in lines]
    run = history.Run('t', faults=history.parse_faults(faults))
    for name, (policy, lines) in producers.items():
        run.producers[name] = history.parse_producer(name, policy, lines)
    run.final, _ = history.parse_reader('t', timed(final))
    for name, lines in (reads if reads is not None else {'r': final}).items():
        run.readers[name], run.errors[name] = history.parse_reader(name, timed(lines))
    if errors:
        run.errors = errors
    return run


def told(offsets, partition=0, at=1000):
    """Lines of a producer whose record n was acknowledged at offsets[n]; None: it was not."""
    lines = []
    for n, offset in enumerate(offsets):
        lines.append(f'sent {partition} {n} {at + n}')
        if offset is not None:
            lines.append(f'acked {partition} {n} {offset} {at + n + 0.5}')
    return lines


def batch(base, count=1, epoch=0, payload=b'x'):
    body = segments.HEADER.pack(base, segments.HEADER.size - segments.OVERHEAD + len(payload), epoch, 2, 0, 0, count - 1, 0, 0, -1, -1, -1, count)
    return body + payload


class Clean(unittest.TestCase):
    """What is allowed is not reported."""

    def nothing(self, run):
        self.assertEqual(checker.check(run, WINDOW), [])

    def test_all_is_well(self):
        self.nothing(run_of({'a': ('exact', told([0, 2])), 'b': ('all', told([1]))}, ['0 0 a 0', '0 1 b 0', '0 2 a 1']))

    def test_an_empty_run(self):
        self.nothing(run_of({'a': ('exact', [])}, []))

    def test_without_an_answer_it_may_be_there_or_not(self):
        self.nothing(run_of({'a': ('exact', told([0, None, None]))}, ['0 0 a 0', '0 1 a 2']))

    def test_what_failed_may_be_there(self):
        self.nothing(run_of({'a': ('all', told([0]) + ['sent 0 1 1', 'failed 0 1 timeout 2'])}, ['0 0 a 0', '0 1 a 1']))

    def test_a_plain_producer_may_leave_copies_in_any_order(self):
        self.nothing(run_of({'a': ('all', told([3, 1]))}, ['0 0 a 0', '0 1 a 1', '0 2 a 1', '0 3 a 0']))

    def test_partitions_have_orders_of_their_own(self):
        lines = ['sent 0 0 1', 'sent 1 1 1', 'sent 0 2 1', 'acked 1 1 0 2', 'acked 0 0 0 2', 'acked 0 2 1 2']
        self.nothing(run_of({'a': ('exact', lines)}, ['1 0 a 1', '0 0 a 0', '0 1 a 2']))

    def test_an_offset_that_was_not_told(self):
        self.nothing(run_of({'a': ('exact', ['sent 0 0 1', 'acked 0 0 -1 2'])}, ['0 0 a 0']))

    def test_one_may_lose_what_was_acknowledged_around_a_fault(self):
        run = run_of({'a': ('one', told([0, 1]))}, ['0 0 a 0'], faults=['kill 1 1050 1060'])
        self.nothing(run)
        self.assertIn('1 acknowledged by one alone and gone', checker.summary(run, WINDOW))

    def test_one_may_find_another_record_in_the_place_of_a_lost_one(self):
        self.nothing(run_of({'a': ('one', told([0, 1])), 'b': ('exact', told([1]))}, ['0 0 a 0', '0 1 b 0'], faults=['kill 1 1050 1060']))


class Violations(unittest.TestCase):
    """Each is reported, and nothing else is."""

    def one(self, run, kind, *words):
        found = checker.check(run, WINDOW)
        self.assertEqual(len(found), 1, found)
        self.assertTrue(found[0].startswith(kind + ': t: '), found)
        for w in words:
            self.assertIn(w, found[0])

    def test_lost(self):
        for policy in ('exact', 'all'):
            self.one(run_of({'a': (policy, told([0, 1]))}, ['0 0 a 0']), 'lost', 'a: 1', '[1]')

    def test_lost_around_a_fault_is_no_excuse_for_all(self):
        for policy in ('exact', 'all'):
            self.one(run_of({'a': (policy, told([0, 1]))}, ['0 0 a 0'], faults=['kill 1 1001 1002']), 'lost')

    def test_one_lost_without_a_fault(self):
        self.one(run_of({'a': ('one', told([0, 1]))}, ['0 0 a 0']), 'lost')

    def test_one_lost_long_before_or_after_a_fault(self):
        for fault in ('kill 1 1102 1103', 'kill 1 800 901'):
            self.one(run_of({'a': ('one', told([0, 1]))}, ['0 0 a 0'], faults=[fault]), 'lost')

    def test_duplicated(self):
        self.one(run_of({'a': ('exact', told([0, 1]))}, ['0 0 a 0', '0 1 a 1', '0 2 a 1']), 'duplicated', '(1, [(0, 1), (0, 2)])')

    def test_duplicated_in_another_partition(self):
        found = checker.check(run_of({'a': ('exact', told([0]))}, ['0 0 a 0', '1 0 a 0']), WINDOW)
        self.assertEqual([f.split(':')[0] for f in found], ['duplicated', 'invented'])

    def test_reordered(self):
        self.one(run_of({'a': ('exact', told([None, None]))}, ['0 0 a 1', '0 1 a 0']), 'reordered', '(0, 1, 0)')

    def test_misplaced(self):
        found = checker.check(run_of({'a': ('all', told([1, 0]))}, ['0 0 a 0', '0 1 a 1']), WINDOW)
        self.assertEqual([f.split(':')[0] for f in found], ['misplaced'])
        self.assertIn('2, the first [(0, 1, [(0, 0)])', found[0])

    def test_misplaced_around_a_fault_is_no_excuse_for_all(self):
        found = checker.check(run_of({'a': ('all', told([1, 0]))}, ['0 0 a 0', '0 1 a 1'], faults=['kill 1 1000 1001']), WINDOW)
        self.assertEqual([f.split(':')[0] for f in found], ['misplaced'])

    def test_one_offset_for_two_records(self):
        found = checker.check(run_of({'a': ('all', told([0])), 'b': ('all', told([0]))}, ['0 0 a 0', '0 1 b 0']), WINDOW)
        self.assertEqual(sorted(f.split(':')[0] for f in found), ['misplaced', 'misplaced'])

    def test_invented(self):
        self.one(run_of({'a': ('all', told([0]))}, ['0 0 a 0', '0 1 a 7']), 'invented', "(0, 1, 'a', 7)")
        self.one(run_of({'a': ('all', told([0]))}, ['0 0 a 0', '0 1 z 0']), 'invented')

    def test_hole(self):
        found = checker.check(run_of({'a': ('all', told([0, 2]))}, ['0 0 a 0', '0 2 a 1'], reads={}), WINDOW)
        self.assertEqual([f.split(':')[0] for f in found], ['hole'])

    def test_unseen_in_between(self):
        self.one(run_of({'a': ('all', told([0, 1, 2]))}, ['0 0 a 0', '0 1 a 1', '0 2 a 2'], {'r': ['0 0 a 0', '0 2 a 2']}), 'unseen', '1 to 1')

    def test_unseen_at_the_end(self):
        self.one(run_of({'a': ('all', told([0, 1]))}, ['0 0 a 0', '0 1 a 1'], {'r': ['0 0 a 0']}), 'unseen', 'never came')

    def test_a_reader_that_saw_nothing(self):
        self.one(run_of({'a': ('all', told([0]))}, ['0 0 a 0'], {'r': []}), 'unseen', 'never came')

    def test_read_twice(self):
        self.one(run_of({'a': ('all', told([0]))}, ['0 0 a 0'], {'r': ['0 0 a 0', '0 0 a 0']}), 'read twice')

    def test_read_out_of_order(self):
        found = checker.check(run_of({'a': ('all', told([0, 1]))}, ['0 0 a 0', '0 1 a 1'], {'r': ['0 1 a 1', '0 0 a 0']}), WINDOW)
        self.assertEqual([f.split(':')[0] for f in found], ['unseen', 'read twice'])

    def test_read_what_is_another_record_now(self):
        self.one(run_of({'a': ('all', told([None, 0]))}, ['0 0 a 1'], {'r': ['0 0 a 0']}), 'read uncommitted', "('a', 1)")

    def test_read_what_is_gone(self):
        self.one(run_of({'a': ('all', told([0, None]))}, ['0 0 a 0'], {'r': ['0 0 a 0', '0 1 a 1']}), 'read uncommitted', 'nothing is now')

    def test_a_reader_heard_an_error(self):
        run = run_of({'a': ('all', told([0]))}, ['0 0 a 0'], errors={'r': ['offset out of range']})
        self.one(run, 'error', 'offset out of range')


class Replicas(unittest.TestCase):
    def found(self, end, **logs):
        return list(checker.replicas('t-0', end, {n: list(segments.batches(b''.join(l))) for n, l in logs.items()}))

    def test_equal(self):
        self.assertEqual(self.found(3, one=[batch(0), batch(1, 2)], two=[batch(0), batch(1, 2)]), [])

    def test_what_lies_beyond_the_mark_may_differ(self):
        self.assertEqual(self.found(1, one=[batch(0), batch(1, payload=b'y')], two=[batch(0), batch(1), batch(2)]), [])

    def test_other_bytes(self):
        found = self.found(2, one=[batch(0), batch(1)], two=[batch(0), batch(1, payload=b'y')])
        self.assertEqual(found, ['diverged: t-0: two and one differ from offset 1 on'])

    def test_another_epoch(self):
        self.assertEqual(len(self.found(1, one=[batch(0)], two=[batch(0, epoch=1)])), 1)

    def test_other_borders(self):
        self.assertEqual(len(self.found(2, one=[batch(0, 2)], two=[batch(0), batch(1)])), 1)

    def test_too_short(self):
        self.assertEqual(self.found(2, one=[batch(0), batch(1)], two=[batch(0)]), ['diverged: t-0: two: ends at 1, and 2 was committed'])

    def test_a_gap(self):
        found = self.found(3, one=[batch(0), batch(1), batch(2)], two=[batch(0), batch(2)])
        self.assertIn('diverged: t-0: two: a batch begins at 2 where 1 was due', found)


class Segments(unittest.TestCase):
    def test_zeroes_and_a_torn_end(self):
        data = batch(0) + batch(1, 3)
        self.assertEqual([(b, n) for b, n, _ in segments.batches(data + bytes(5000))], [(0, 1), (1, 4)])
        self.assertEqual([b for b, _, _ in segments.batches(data + batch(4)[:40])], [0, 1])
        self.assertEqual([b for b, _, _ in segments.batches(data + batch(4)[:-1])], [0, 1])

    def test_damage(self):
        broken = bytearray(batch(0))
        broken[16] = 1
        with self.assertRaises(segments.Damaged):
            list(segments.batches(bytes(broken)))
        short = bytearray(batch(0))
        struct.pack_into('>i', short, 8, 3)
        with self.assertRaises(segments.Damaged):
            list(segments.batches(bytes(short)))

    def test_files_in_order(self):
        with tempfile.TemporaryDirectory() as d:
            for name, data in (('00000000000000000002.log', batch(2)), ('00000000000000000000.log', batch(0, 2)), ('other', b'?')):
                (pathlib.Path(d) / name).write_bytes(data)
            self.assertEqual([b for b, _, _ in segments.read(d)], [0, 2])


class Histories(unittest.TestCase):
    def test_a_directory(self):
        with tempfile.TemporaryDirectory() as d:
            d = pathlib.Path(d)
            (d / 'runs').write_text('a t exact\nb u one\n')
            (d / 'faults').write_text('kill 1 5 6\n')
            (d / 'a.sent').write_text('sent 0 0 1\nacked 0 0 0 2\nsent 0 1 3\nacked 0 1')  # the last line is not whole
            (d / 't.r1.read').write_text('read 0 0 4 a 0\nerror something\n')
            (d / 't.final').write_text('read 0 0 9 a 0\n')
            runs = history.load(d)
            self.assertEqual(sorted(runs), ['t', 'u'])
            t = runs['t']
            self.assertEqual([r.number for r in t.producers['a'].acked()], [0])
            self.assertEqual(t.faults, [history.Fault('kill', 1, 5, 6)])
            self.assertEqual(t.errors['t.r1'], ['something'])
            self.assertEqual(checker.check(t, WINDOW), ["error: t: t.r1: 1, the first ['something']"])

    def test_comments_are_skipped(self):
        p = history.parse_producer('a', 'all', ['# sent 0 0 1', 'sent 0 0 1', '# acked', 'acked 0 0 0 2'])
        self.assertEqual([r.offset for r in p.acked()], [0])

    def test_errors_of_the_last_look(self):
        with tempfile.TemporaryDirectory() as d:
            d = pathlib.Path(d)
            (d / 'runs').write_text('a t all\n')
            (d / 't.final').write_text('error it is gone\n')
            self.assertEqual(checker.check(history.load(d)['t'], WINDOW), ["error: t: t.final: 1, the first ['it is gone']"])
            (d / 'runs').write_text('a t\n')
            with self.assertRaises(history.Malformed):
                history.load(d)

    def test_by_hand(self):
        def judge(*args):
            r = subprocess.run([sys.executable, checker.__file__, *args], capture_output=True, text=True, check=False, timeout=30)
            return r.returncode, r.stdout.splitlines()
        with tempfile.TemporaryDirectory() as d:
            d = pathlib.Path(d)
            for name, data in (('one', batch(0)), ('two', batch(0, epoch=1))):
                (d / name).mkdir()
                (d / name / '00000000000000000000.log').write_bytes(data)
            (d / 'runs').write_text('a t all\n')
            (d / 'a.sent').write_text('sent 0 0 1\nacked 0 0 0 2\n')
            (d / 't.final').write_text('read 0 0 9 a 0\n')
            code, out = judge(str(d))
            self.assertEqual((code, out[-1]), (0, '0 violations'))
            code, out = judge(str(d), '--replica', f't-0=1={d / "one"},{d / "two"}')
            self.assertEqual((code, out[-1]), (1, '1 violations'))
            (d / 't.final').write_text('')
            code, out = judge(str(d))
            self.assertEqual((code, out[-2:]), (1, ['lost: t: acknowledged records of a: 1, the first [0]', '1 violations']))

    def test_histories_that_prove_nothing_are_refused(self):
        for lines in (['acked 0 0 0 1'], ['sent 0 0 1', 'sent 0 0 1'], ['sent 0 0 1', 'acked 1 0 0 1'], ['sent 0 0 1', 'acked 0 0 0 1', 'acked 0 0 0 1'],
                      ['sent 0'], ['sent 0 x 1'], ['told 0 0 1'], ['sent 0 0 1', 'acked 0 0 1'], ['']):
            with self.assertRaises(history.Malformed, msg=lines):
                history.parse_producer('a', 'all', lines)
        with self.assertRaises(history.Malformed):
            history.parse_producer('a', 'some', [])
        for line in ('read 0 0 1 a', 'seen 0 0 1 a 0', 'read 0 0 1 a x', ''):
            with self.assertRaises(history.Malformed, msg=line):
                history.parse_reader('r', [line])
        for line in ('kill 1 5', 'kill one 5 6', ''):
            with self.assertRaises(history.Malformed, msg=line):
                history.parse_faults([line])

    def test_pauses(self):
        lines = [f'sent 0 {n} 1' for n in range(6)] + [f'acked 0 {n} {n} {t}' for n, t in enumerate((90, 110, 350, 360, 800, 810))]
        final = [f'0 {n} a {n}' for n in range(6)]
        for fault, pause in (('kill 1 100 400', [440]), ('kill 1 100 105', [20]), ('kill 1 95 355', [240]), ('kill 1 5000 5001', []), ('kill 1 1 2', [])):
            found = checker.pauses(run_of({'a': ('all', lines)}, final, faults=[fault]))
            self.assertEqual(found, [('kill', ms) for ms in pause], fault)
        self.assertEqual(checker.spread([]), 'none')
        self.assertEqual(checker.spread([5, 1, 3]), 'median 3, 95th percentile 5, longest 5 ms')

    def test_groups(self):
        """One member, then another; what each line of a history brings about."""
        clean = ['assigned 0 1', 'got 0 0 2 a', 'got 0 1 3 a', 'committed 0 2 4', 'revoked 0 5']
        after = ['assigned 0 6', 'got 0 2 7 a']
        looks = ['stands 0 -1 0 1', 'stands 0 2 5 6', 'stands 0 3 8 9']
        records = {(0, 0), (0, 1), (0, 2)}

        def judged(first, second, watch, wanted=records):
            group = group_history.Group('g')
            for name, lines in (('a', first), ('b', second), ('w', watch)):
                group_history.take(group, name, ''.join(f'{line}\n' for line in lines) + 'got 0 9')  # the last line is not whole
            return [text.split(':')[1].split(' ')[1] for text in group_history.check(group, wanted)]

        self.assertEqual(judged(clean, after, looks), [])
        self.assertEqual(judged(clean, ['assigned 0 3', 'got 0 1 5 a', *after], looks), [])  # it asked before the commit
        self.assertEqual(judged(clean, ['assigned 0 6', 'got 0 1 7 a', 'got 0 2 8 a'], looks), ['b'])
        self.assertEqual(judged(clean, after, looks, records | {(0, 3), (1, 0)}), ['2'])
        self.assertEqual(judged(clean, after, ['stands 0 1 5 6']), ['the'])             # less than was committed
        self.assertEqual(judged(clean, after, [*looks, 'stands 0 2 10 11']), ['the'])    # less than was seen
        self.assertEqual(judged([*clean, 'error of a kind'], after, looks), ['a'])
        back = ['assigned 0 1', 'got 0 0 2 a', 'got 0 1 3 a', 'committed 0 2 4', 'committed 0 1 4.5', 'revoked 0 5']  # by the client itself
        self.assertEqual(judged(back, ['assigned 0 6', 'got 0 1 7 a', 'got 0 2 8 a'], ['stands 0 2 4 4', 'stands 0 1 5 6']), [])
        self.assertEqual(judged(back, after, ['stands 0 2 4.2 4.3', 'stands 0 1 4.4 6']), [])
        self.assertEqual(judged(back, after, ['stands 0 1 4.7 4.8', 'stands 0 0 5 6']), ['the'])
        # A loss is one whatever was committed at that offset before: told and seen within the look before, told long before it, told once more much later.
        lost = ['assigned 0 1', 'committed 0 1 3.6', 'got 0 0 3.7 a', 'got 0 1 3.8 a', 'committed 0 2 4', 'revoked 0 5']
        self.assertEqual(judged(lost, after, ['stands 0 2 3.5 4.2', 'stands 0 1 5 6']), ['the'])
        self.assertEqual(judged(lost, after, ['stands 0 2 4.5 4.6', 'stands 0 1 5 6']), ['the'])
        self.assertEqual(judged([*lost, f'committed 0 1 {group_history.ANSWER_MS + 7}'], after, ['stands 0 1 5 6', f'stands 0 1 {group_history.ANSWER_MS + 8} {group_history.ANSWER_MS + 9}']),
                         ['the'])
        self.assertEqual(judged(lost[:4], ['assigned 0 6', 'got 0 1 7 a', 'got 0 2 8 a'], ['stands 0 2 4.5 4.6', 'stands 0 1 5 6']), ['the'])  # seen, told to nobody
        steps = group_history.Steps([(5, 1), (2, 7)])
        self.assertEqual((steps.before(6), steps.before(2)), ((5, 1), (float('-inf'), -1)))


if __name__ == '__main__':
    unittest.main()
