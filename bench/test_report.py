# SPDX-License-Identifier: Apache-2.0
"""What the report and bench/compare read out of results, on results that are made up."""
import copy
import json
import pathlib
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import unittest

HERE = pathlib.Path(__file__).resolve().parent
sys.path.insert(0, str(HERE))
import report  # noqa: E402
import results  # noqa: E402
import scenarios  # noqa: E402


def hist(values):
    """As tidemark-load writes it; nanoseconds, each a step of its own."""
    values = sorted(values)
    found = {'count': len(values), 'min': values[0] if values else 0, 'max': values[-1] if values else 0, 'mean': sum(values) / max(1, len(values))}
    for q in (50, 75, 90, 95, 99, 99.9, 99.99, 99.999):
        found[f'p{q}'] = values[max(0, -(-len(values) * q // 100).__int__() - 1)] if values else 0
    found['counts'] = [[v, values.count(v)] for v in sorted(set(values))]
    return found


def result(scenario, broker, us, **more):
    h = hist([us * 1000 + i % 100 * 10 for i in range(2000)])
    none = hist([])
    return {'tool': 'tidemark-load', 'commit': 'abc', 'label': broker, 'options': {'rate': 1000, 'batch.records': 1, 'acks': 'all', 'seed': 1},
            'valid': True, 'sustained': True, 'reasons': [], 'records_per_s': {'intended': 1000, 'achieved': 990},
            'counts': {'due': 2000, 'late': 0, 'acked': 2000, 'resent': 0, 'missing': 0, 'duplicates': 0}, 'errors': {}, 'latency': {'produce': h, 'e2e': h, 'queue': none, 'lag': none},
            'machine': {'cpus': 2, 'cpu': 'X', 'memory_bytes': 1, 'architecture': 'a', 'system': 'Linux', 'kernel': '6', 'clocksource': 'tsc', 'load_before': [1, 1, 1]},
            'interval_s': 1, 'series': [{'due': 1000, 'acked': 1000, 'produce': h, 'e2e': h}] * 2, 'scenario': scenario, 'broker': broker, 'rate': 1000,
            'kind': 'load', 'floor': [], **more}


def a_run(scale=1.0, ours=1.0):
    return [result('floor-echo', 'floor', 20 * scale, kind='echo'), result('floor-write', 'floor', 80 * scale, kind='write'),
            result('acks-all', 'tidemark', 150 * scale * ours, floor=['echo', 'write']), result('acks-all', 'kafka', 1500 * scale)]


class Reports(unittest.TestCase):
    def setUp(self):
        self.dir = pathlib.Path(tempfile.mkdtemp(prefix='tidemark-report-'))

    def tearDown(self):
        shutil.rmtree(self.dir)

    def put(self, name, found):
        where = self.dir / name / 'results'
        where.mkdir(parents=True)
        for i, r in enumerate(found):
            (where / f'{i}.json').write_text(json.dumps(r))
        return self.dir / name

    def compare(self, a, b):
        r = subprocess.run([sys.executable, HERE / 'compare', a, b], capture_output=True, text=True, check=False)
        return r.returncode, r.stdout

    def test_half_a_result_is_left_out(self):
        where = self.put('a', a_run())
        whole = (where / 'results/0.json').read_text()
        (where / 'results/9.json').write_text(whole[:len(whole) // 2])
        self.assertEqual(len(results.load(where)), 4)

    def test_how_late_the_machine_is_alone(self):
        alone = result('floor-write', 'floor', 100, kind='write', valid=False, reasons=['late: 5 of 2000'], counts={'due': 2000, 'late': 5})
        self.assertIn('0.25 %', report.reasons([alone]))
        alone['counts']['late'] = 0
        self.assertNotIn('<p>', report.reasons([alone]))

    def test_ratios(self):
        found = results.ratios(results.load(self.put('a', a_run())))
        self.assertAlmostEqual(found['acks-all p50 to floor'], 1.5, 1)
        self.assertAlmostEqual(found['acks-all 1000/s p50 kafka to tidemark'], 10, 0)
        run = a_run()
        run[0]['sustained'] = False  # a floor that was not sustained tells nothing, and neither does a sum with it
        self.assertEqual(list(results.ratios(run)), ['acks-all 1000/s p50 kafka to tidemark', 'acks-all 1000/s p99 kafka to tidemark'])
        run.append(result('floor-echo', 'floor', 20, kind='echo', round=2))
        self.assertAlmostEqual(results.ratios(run)['acks-all p50 to floor'], 1.5, 1)

    def test_a_slower_machine_agrees_and_a_slower_broker_does_not(self):
        a, slow, worse = self.put('a', a_run()), self.put('b', a_run(scale=3)), self.put('c', a_run(ours=1.5))
        self.assertEqual(self.compare(a, slow)[0], 0)
        status, text = self.compare(a, worse)
        self.assertEqual(status, 1, text)
        self.assertIn('DIFFERS', text)
        self.assertIn('The two runs do not agree: 4 of 4 ratios', text)  # 50 % and 99 %, to the floor and of Kafka
        self.assertEqual(self.compare(a, self.put('d', [result('other', 'tidemark', 5)]))[0], 2)
        status, text = self.compare(a, self.put('e', a_run()[:2]))  # figures are in both, but no ratio: that is no agreement
        self.assertEqual(status, 2)
        self.assertIn('nothing is said', text)
        self.assertIn('in one of them only', text)

    def test_the_page_says_whether_an_earlier_run_agrees(self):
        a, worse = results.load(self.put('a', a_run())), results.load(self.put('b', a_run(ours=1.3)))
        text = ' '.join(report.beside_earlier(a, results.load(self.put('c', a_run(scale=2)))))
        self.assertIn('The two runs agree: 4 ratios', text)
        self.assertNotIn('differs', text)
        self.assertNotIn('Another machine', text)
        worse[0]['machine'] = {**worse[0]['machine'], 'cpus': 64}
        worse[1]['valid'] = False
        text = ' '.join(report.beside_earlier(worse[:3] + [result('new', 'tidemark', 9, floor=['echo'])], a))
        self.assertIn('The two runs do not agree: 2 of 2 ratios are more than 20 % apart (p50: 1 of 1, p99: 1 of 1).', text)
        self.assertRegex(text, r'acks-all p50 to floor</td><td>1\.49</td><td>1\.9\d</td><td>30 %</td><td><span class=bad>differs')
        for told in ('0 of 4 then, 1 of 4 now', 'Another machine: 2 ×', 'In one of the two only: acks-all 1000/s p50 kafka to tidemark', 'new p50 to floor'):
            self.assertIn(told, text)

    def test_the_run_before_is_kept_and_compared(self):
        out = self.put('out', a_run())
        (out / 'index.html').write_text('old')
        (out / 'mine.txt').write_text('of somebody else')
        scenarios.make_room(out)
        self.assertEqual(sorted(x.name for x in out.iterdir()), ['before', 'mine.txt', 'results'])
        self.assertEqual(len(results.load(out / 'before')), 4)
        self.assertEqual(results.load(out), [])
        scenarios.make_room(out)  # nothing came of that run: the one before it stays
        self.assertEqual(len(results.load(out / 'before')), 4)
        for i, r in enumerate(a_run(ours=2)):
            (out / f'results/{i}.json').write_text(json.dumps(r))
        self.assertIn('The two runs do not agree', report.write(out).read_text())
        self.assertIn('The two runs agree', report.write(out, results.load(self.put('same', a_run(ours=2)))).read_text())
        scenarios.make_room(out)
        self.assertEqual(results.load(out / 'before')[2]['latency']['produce']['p50'] // 10**5, 3)
        self.assertNotIn('earlier run', report.write(self.put('alone', a_run())).read_text())

    def test_quantiles_without_samples_are_not_told(self):
        r = result('x', 'tidemark', 5)
        self.assertIsNotNone(results.value(r, 'p99'))
        self.assertIsNone(results.value(r, 'p99.9'))  # of 2000 samples two are beyond

    def test_the_most_that_was_sustained(self):
        def probe(broker, rate, good, number=1):
            r = result('most', broker, 5, search=True, sweep=True, sustained=good, round=number, rate=rate)
            r['records_per_s']['achieved'] = rate
            return r
        found = [probe('tidemark', 100, True), probe('tidemark', 900, True), probe('tidemark', 1000, False), probe('tidemark', 700, True, 2),
                 probe('tidemark', 5000, False, 2), probe('kafka', 100, True), probe('kafka', 900, False)]
        self.assertEqual(results.searched(found), {('most', 'tidemark'): 800, ('most', 'kafka'): 100})
        self.assertEqual(results.ratios(found), {'most sustained rate, tidemark to kafka': 8})

    def test_medians_of_rounds(self):
        rounds = [result('x', 'tidemark', us) for us in (5, 900, 6)]
        self.assertAlmostEqual(results.median(rounds, 'p50'), 6.5, 0)

    def test_scenarios_say_what_is_known(self):
        options = re.findall(r'^[A-Z]+\(\w+, "([^"]+)"', (HERE / 'load/options.def').read_text(), re.MULTILINE)
        settings = (HERE.parent / 'config/settings.def').read_text()
        paths = list((HERE / 'scenarios').glob('*.conf'))
        self.assertTrue(paths and 'record.bytes' in options)
        found = [s for p in paths for s in scenarios.read_scenarios(p)]  # which knows the lines run.*
        self.assertEqual(len(found), len({s.name for s in found}))
        for s in found:
            self.assertRegex(s.name, r'^[A-Za-z0-9._-]{1,200}$')  # a topic is named after it
            self.assertEqual([k for k in s.options if k not in options and not k.startswith('topic.config.')], [], s.name)
            self.assertEqual([k for k in s.settings if f'"{k}"' not in settings], [], s.name)
            self.assertTrue({s.kind, *s.floor} <= {'load', 'echo', 'write'}, s.name)

    def variants(self, text):
        path = self.dir / 'x.conf'
        path.write_text('# A sentence.\nrate=5\nacks=all\n' + text)
        return scenarios.read_scenarios(path)

    def test_variants(self):
        self.assertEqual([(s.name, s.change) for s in self.variants('')], [('x', None)])
        found = self.variants('run.vary.acks=0,1\nrun.vary.run.broker.core.idle=spin\nrun.vary.run.topic.ack.durability=memory\nrun.vary.rate=7\n')
        self.assertEqual([s.name for s in found], ['x', 'x-acks-0', 'x-acks-1', 'x-core.idle-spin', 'x-ack.durability-memory', 'x-rate-7'])
        self.assertEqual({s.of for s in found}, {'x'})
        self.assertEqual([s.options['acks'] for s in found], ['all', '0', '1', 'all', 'all', 'all'])
        self.assertEqual([s.settings for s in found], [{}, {}, {}, {'core.idle': 'spin'}, {}, {}])
        self.assertEqual(found[4].topic, {'topic.config.ack.durability': 'memory'})
        self.assertEqual([s.rates for s in found], [[5]] * 5 + [[7]])
        found = self.variants('run.cross.acks=0,1\nrun.cross.record.bytes=10,20\n')
        self.assertEqual([tuple(s.options[k] for k in ('acks', 'record.bytes')) for s in found], [('0', '10'), ('0', '20'), ('1', '10'), ('1', '20')])
        self.assertEqual(self.variants('run.drag.s=3,6\nrun.drag.ms=5/45,2.5/198\n')[0].drag, [(5, 45), (2.5, 198)])
        for wrong in ('run.drag.s=3,6\n', 'run.drag.ms=5/45\n', 'run.drag.s=3,6\nrun.drag.ms=5\n', 'run.drag.s=3,6\nrun.drag.ms=5/45,0/45\n',
                      'run.drag.s=3,6\nrun.drag.ms=5/251\n',  # which would be silence
                      'run.drag.s=3,6\nrun.drag.ms=5/45\nrun.kill.s=3\n', 'run.vary.run.nothing=1\n', 'run.vary.acks=0\nrun.floor=echo\n', 'run.vary.acks=0\nrun.cross.acks=0,1\n'):
            with self.assertRaises(scenarios.Failure):
                self.variants(wrong)

    def changed(self, change, us, cpu, number=1, of='abl'):
        return result(f'{of}-{len(change)}', 'tidemark', us, of=of, change=change, round=number, start_ms=len(change), brokers=[{'cpu_s': cpu}])

    def test_ablations_are_compared_round_by_round(self):
        spin = {'run.broker.core.idle': 'spin'}
        found = [self.changed({}, 100, 1), self.changed(spin, 50, 3), self.changed({}, 1000, 2, 2), self.changed(spin, 510, 8, 2), self.changed(spin, 1, 1, 3)]
        by = results.variants([result('other', 'tidemark', 5), *reversed(found)])['abl']
        base, rounds = by['tidemark', ()], by['tidemark', tuple(spin.items())]
        self.assertEqual((len(base), len(rounds)), (2, 3))
        self.assertAlmostEqual(results.beside(rounds, base, lambda r: results.value(r, 'p50')), 0.51, 1)
        self.assertAlmostEqual(results.beside(rounds, base, results.cpu_per_million), 3.5)  # 3 and 4; nothing is beside the third
        self.assertIsNone(results.beside(rounds, [], results.cpu_per_million))
        self.assertAlmostEqual(results.cpu_per_million(found[0]), 500)
        silent = self.changed({'acks': '0'}, 200, 1)
        silent['latency']['produce'] = hist([])  # then the base's time to the reader is what counts
        by['tidemark', (('acks', '0'),)] = [silent]
        base[1]['latency']['e2e'] = hist([400 * 1000] * 2000)
        text = report.changes_table(by)
        self.assertIn('<td>acks=0 · tidemark, due to read</td><td>200</td><td>0.501</td>', text)
        self.assertLess(text.index('as it is'), text.index('core.idle'))
        self.assertIn('<td>core.idle=spin · tidemark</td>', text)
        self.assertIn('<td>3.50</td>', text)
        self.assertIn('<td>3 of 3 valid</td>', text)
        self.assertIn('<td>as it is · tidemark</td>', text)

    def test_sizes_stand_across(self):
        def cell(acks, size, us, good=True):
            r = self.changed({'acks': acks, 'record.bytes': size}, us, 1, of='sizes')
            r['valid'] = good
            return r
        text = report.crossed_table(results.variants([cell('1', '10', 5), cell('1', '20', 6, False), cell('all', '10', 7), cell('all', '20', 8)])['sizes'])
        head, *rows = text.split('<tr>')[1:]
        self.assertRegex(head, 'record.bytes=10</th><th>record.bytes=20')
        self.assertEqual(len(rows), 2)
        self.assertRegex(rows[0], r'acks=1 · tidemark</td><td>5\.\d+ / 5\.\d+ \(990/s\)</td><td>6\..*class=bad')
        self.assertRegex(rows[1], r'acks=all · tidemark</td><td>7\.[^<]*</td><td>8\.[^<]*</td>')

    def test_stages_between_two_looks(self):
        def look(watermark, transmit, follower=0, restarted=1):
            told = {}
            for labels, (n, seconds) in {'stage_seconds|stage="watermark"': watermark, 'stage_seconds|stage="transmit"': transmit, 'stage_seconds|stage="produce"': (1, 1),
                                         'follower_stage_seconds|stage="send",follower="2"': (follower, follower * 1e-5)}.items():
                kind, label = labels.split('|')
                told[f'tidemark_{kind}_count{{{label}}}'], told[f'tidemark_{kind}_sum{{{label}}}'] = n / restarted, seconds / restarted
            return told
        found = results.stages([look((10, 1.0), (10, 0.1)), look((0, 0), (0, 0)), look((100, 9), (100, 9))],
                               [look((30, 1.004), (30, 0.1002), 5), look((10, 0.002), (10, 0.0002), 5), look((100, 9), (100, 9), restarted=10)])
        self.assertEqual(found['watermark'], {'count': 30, 'mean_us': 200.0})
        self.assertEqual(found['transmit'], {'count': 30, 'mean_us': round(400 / 30, 3)})
        self.assertEqual(found['send'], {'count': 10, 'mean_us': 10.0})
        self.assertNotIn('produce', found)  # nothing since
        self.assertEqual(results.stages([], []), {})

    def test_stages_are_parts_of_a_request(self):
        r = result('s', 'tidemark', 150, stages={'produce': {'count': 9, 'mean_us': 100}, 'watermark': {'count': 9, 'mean_us': 90}, 'append': {'count': 9, 'mean_us': 10},
                                                 'disk': {'count': 9, 'mean_us': 80}})
        parts = dict(results.bar(r))
        self.assertEqual((parts['watermark'], parts['append'], parts['tcp']), (90, 10, 0))
        self.assertAlmostEqual(sum(parts.values()), r['latency']['produce']['mean'] / 1e3)
        self.assertIsNone(results.bar(result('s', 'kafka', 150)))
        page = report.write(self.put('staged', [r, result('s', 'kafka', 1500)])).read_text()
        self.assertIn('<h2>Stages</h2>', page)
        self.assertRegex(page, r'<td>s · tidemark</td>(<td>[^<]*</td>)*<td>90\.0</td>')
        self.assertNotIn('<h2>Stages</h2>', report.write(self.put('unstaged', [result('s', 'kafka', 1500)])).read_text())

    def test_between_two_marks(self):
        r = result('slow', 'tidemark', 5)
        r['interval_s'] = 0.5
        r['series'] = [{'due': 10, 'acked': n, 'produce': hist([ms * 10**6] * 9)} for n, ms in ((10, 1), (0, 40), (0, 60), (20, 3), (10, 2))]
        self.assertEqual(results.between(r, 0.5, 1.5), (20, 0))
        self.assertEqual(results.between(r, 0.6, 2.0), (20, 20))  # a step that is cut by a mark belongs to nobody
        r['marks'] = [{'at_s': 0.5, 'text': 'a'}, {'at_s': 1.5, 'text': 'b<'}]
        text = report.phases(r)
        self.assertIn('<td>a – b&lt;</td><td>1.0</td><td>20</td><td>0</td><td>50.0</td><td>60.0</td></tr>', text)
        self.assertIn('<td>begin – a</td><td>0.5</td><td>10</td><td>10</td><td>1.00</td>', text)  # and what was before the first, and after the last
        self.assertIn('<td>b&lt; – end</td><td>1.0</td><td>20</td><td>30</td><td>2.50</td>', text)
        self.assertNotIn('ISR', text)
        r['marks'][0]['isr'] = [1, 2, 3]
        self.assertEqual([p['isr'] for p in results.phases(r)], [[1, 2, 3]] * 3)  # what was seen last
        r['marks'][1].update(isr=[1, 2], at_s=1.4)
        self.assertEqual([(p['isr'], p['due']) for p in results.phases(r)][1:], [([1, 2, 3], 10), ([1, 2], 20)])
        self.assertIn('<td>1, 2</td></tr>', report.phases(r))

    def test_the_page_has_it_all(self):
        found = a_run()
        found.append(result('kill', 'tidemark', 9, marks=[{'at_s': 1, 'text': "broker's end"}], valid=False, reasons=['late: <b>']))
        for rate in (10, 20):
            found.append(copy.deepcopy(result('knee', 'tidemark', rate, sweep=True)))
            found[-1]['rate'] = rate
        found += [self.changed({}, 100, 1), self.changed({'acks': '1'}, 50, 3)]
        page = report.write(self.put('a', found)).read_text()
        self.assertEqual(page.split('<h2>Raw data')[0].count('acks=1'), 1)  # in a table of its own, and not among the figures
        for text in ('<h2>abl</h2>', 'as it is', 'late: &lt;b&gt;', 'acks-all p50 to floor', 'id="0.json"', 'invalid', 'Longest wait'):
            self.assertIn(text, page)
        self.assertNotIn('late: <b>', page.split('id="4.json"')[0])


class Drags(unittest.TestCase):
    """A process that is made slow, and goes on whatever happens."""

    def setUp(self):
        self.process = subprocess.Popen(['sleep', '100'])
        self.number, self.helpers = 7, []

    def tearDown(self):
        self.process.kill()
        self.process.wait()

    def alive(self):
        return self.process.poll() is None

    def resume(self):
        self.process.send_signal(signal.SIGCONT)

    def stands(self):
        return pathlib.Path(f'/proc/{self.process.pid}/stat').read_text().rsplit(') ', 1)[1][0] == 'T'

    def soon(self, holds):
        until = time.monotonic() + 20
        while not holds():
            self.assertLess(time.monotonic(), until)
            time.sleep(0.001)

    def goes_on(self):
        """Not just now: it is not stopped again."""
        self.soon(lambda: not self.stands())
        for _ in range(100):
            self.assertFalse(self.stands())
            time.sleep(0.002)

    def begin(self, way=('10', '40'), **more):
        p = subprocess.Popen([sys.executable, HERE / 'drag.py', str(self.process.pid), *way], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, **more)
        self.soon(self.stands)
        return p

    def test_it_runs_and_stands_in_turn(self):
        with scenarios.dragged(self, self, (10, 40)) as told:
            for _ in range(4):
                self.soon(self.stands)
                self.soon(lambda: not self.stands())
        self.assertEqual(self.helpers, [])
        self.goes_on()
        self.assertGreaterEqual(told['stood_s'], 4 * 0.04)
        self.assertGreaterEqual(told['ran_s'], 3 * 0.01)
        self.assertTrue(0.04 <= told['longest_s'] <= told['stood_s'])
        self.assertEqual((told['run_ms'], told['stand_ms']), (10, 40))
        self.assertIn('stood for', report.how_slow({'dragged': [told]}))
        self.assertEqual(report.how_slow({}), '')

    def test_it_goes_on_after_an_error(self):
        with self.assertRaises(ZeroDivisionError), scenarios.dragged(self, self, (1, 250)):
            self.soon(self.stands)
            raise ZeroDivisionError
        self.goes_on()

    def test_it_goes_on_when_that_which_drags_is_killed(self):
        with self.assertRaises(scenarios.Failure), scenarios.dragged(self, self, (1, 250)):
            self.soon(self.stands)
            self.helpers[0].kill()
            self.helpers[0].wait()
            self.process.send_signal(signal.SIGSTOP)  # wherever it was killed
        self.goes_on()

    def test_it_goes_on_when_whoever_drags_it_dies(self):
        code = ('import subprocess, sys, time; subprocess.Popen(sys.argv[1:], stdin=subprocess.PIPE); time.sleep(100)')
        p = subprocess.Popen([sys.executable, '-c', code, sys.executable, HERE / 'drag.py', str(self.process.pid), '1', '250'], stdout=subprocess.DEVNULL)
        self.soon(self.stands)
        p.kill()
        p.wait()
        self.goes_on()

    def test_it_goes_on_after_a_signal(self):
        for s in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            p = self.begin()
            p.send_signal(s)
            self.assertIn('longest_s', p.communicate(timeout=20)[0])
            self.goes_on()

    def test_a_process_that_ended_is_left_alone(self):
        p = self.begin()
        self.process.kill()
        self.process.wait()
        self.assertIn('longest_s', p.communicate(timeout=20)[0])
        self.assertEqual(p.returncode, 0)

    def test_what_the_leader_says_becomes_marks(self):
        told = iter([(1, {1, 2, 7}, 1), None, (1, {1, 2}, 1), (1, {1, 2}, 1), (1, {1, 2, 7}, 1)])
        sync = scenarios.Sync(lambda: next(told), 7)
        self.assertEqual([sync.look() for _ in range(5)], [True, True, False, False, True])
        self.assertEqual([(m['text'], m['isr']) for m in sync.marks], [('seen out of sync', [1, 2]), ('seen in sync', [1, 2, 7])])


if __name__ == '__main__':
    unittest.main()
