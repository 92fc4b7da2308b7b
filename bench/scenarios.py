#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Scenarios (bench/scenarios/*.conf) against brokers in namespaces, with the floors and the report.

    bench/run.sh smoke|full [--only NAME]... [--rounds N] [--vdev af_xdp|af_packet] [--kafka auto|yes|no] [--out DIR]

smoke takes those with run.smoke=1. A scenario is what tidemark-load reads, and beside it:

    run.brokers   1 or 3
    run.kind      load, echo (through port and TCP, without a broker), or write (to the device, without a broker)
    run.rates     instead of one rate, several runs
    run.search    LOW,HIGH: the highest rate that is sustained, by doubling and then halving the step
    run.cold.mib  so much is written to another topic before; a reader goes through it from the beginning beside the load
    run.kill.s    the leader is killed so many seconds after the load has begun
    run.slow.s    AT,SECONDS: a follower stands still from then on for so long: it is silent
    run.drag.s    AT,SECONDS: a follower is slow from then on, for so long in each way that run.drag.ms has, and never silent
    run.drag.ms   RUN/STAND[,RUN/STAND]: it runs and stands still for so many milliseconds in turn (drag.py)
    run.trace     1: the requests are traced meanwhile (tidemark trace)
    run.floor     echo+write: what its latency is compared to
    run.kafka     kafka, kafka-flush or both with a comma: Apache Kafka stands in our place, too, as it comes or durable as ours is
    run.broker.X  a setting of our brokers, which are started anew with it (an ablation)
    run.topic.X   a setting of our topic that Kafka has not (an ablation; one that Kafka has, too, is topic.config.X)
    run.mtu       bytes of an IP packet on the data network, where it is not 1,500; AF_XDP takes 3,498, AF_PACKET 9,000
    run.vdev      af_xdp or af_packet: our port, whatever --vdev says
    run.client    kernel, or bypass: the load has our own TCP on its cable, and the client's kernel nothing
    run.vary.LINE VALUE[,VALUE]: the scenario once more with each of them in that line, which may be one of run.*, too. Several
                  such lines are changes one at a time beside the scenario as it is: settings of ours are ablations
    run.cross.LINE VALUE,VALUE: the scenario with each of them, and of several such lines with each combination
"""
import argparse
import contextlib
import itertools
import json
import os
import pathlib
import platform
import shutil
import subprocess
import sys
import time

ROOT = pathlib.Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / 'bench'))
sys.path.insert(0, str(ROOT / 'tests/crash'))
import report  # noqa: E402
import results  # noqa: E402
from cluster import CLIENT, DATA, METRICS, Cluster, Failure, expect, sh, wait_until  # noqa: E402
from kafka import Kafka, Skip  # noqa: E402

ECHO_PORT, WHOLE_S, SEARCH_RUNS, WARM_S = 7003, 60, 16, 10
FAULTS = {'kill.s', 'slow.s', 'drag.s'}
VDEVS = ('af_xdp', 'af_packet')
LOOK_S = 0.1  # between two looks at the ISR
STAND_MS = 250  # below data.self.timeout.ms, quorum.election.timeout.ms and every other time after which somebody is taken for silent
TICKS = os.sysconf('SC_CLK_TCK')
KAFKA_WAYS = {'kafka': {}, 'kafka-flush': {'topic.config.flush.messages': 1}}  # the second is durable as ours is


class Scenario:
    """What a file says, or a variant of it: `change` are the lines in which that differs; None: there are no variants."""

    def __init__(self, name, values, change=None):
        self.of, self.change = name, change
        self.name = '-'.join([name, *(f'{results.short(k)}-{v}' for k, v in (change or {}).items())])
        values = {**values, **(change or {})}
        self.run = {k[4:]: v for k, v in values.items() if k.startswith('run.')}
        self.options = {k: v for k, v in values.items() if not k.startswith('run.')}
        self.settings = {k[7:]: self.run.pop(k) for k in list(self.run) if k.startswith('broker.')}
        self.topic = {f'topic.config.{k[6:]}': self.run.pop(k) for k in list(self.run) if k.startswith('topic.')}
        unknown = set(self.run) - {'brokers', 'kind', 'smoke', 'rates', *FAULTS, 'drag.ms', 'trace', 'floor', 'client', 'search', 'cold.mib', 'kafka', 'mtu', 'vdev'}
        expect(not unknown, f'{self.name}: unknown {unknown}')
        expect(len(FAULTS & set(self.run)) + ('kafka' in self.run) <= 1, f'{self.name}: one fault at a time, and of our brokers')
        self.kind = self.run.get('kind', 'load')
        self.brokers = int(self.run.get('brokers', 1))
        self.mtu = int(self.run['mtu']) if 'mtu' in self.run else None
        self.vdev = self.run.get('vdev')
        expect(self.vdev in (None, *VDEVS), f'{self.name}: run.vdev is {" or ".join(VDEVS)}')
        self.place = (self.brokers, self.mtu or 0, self.vdev or '')  # those in the same one take turns in it
        self.rates = [float(x) for x in self.run['rates'].split(',')] if 'rates' in self.run else [float(self.options['rate'])]
        self.search = [float(x) for x in self.run['search'].split(',')] if 'search' in self.run else None
        self.floor = self.run['floor'].split('+') if 'floor' in self.run else []
        self.kafka = self.run['kafka'].split(',') if 'kafka' in self.run else []
        expect(set(self.kafka) <= set(KAFKA_WAYS), f'{self.name}: run.kafka is {" or ".join(KAFKA_WAYS)}')
        expect(('drag.s' in self.run) == ('drag.ms' in self.run), f'{self.name}: run.drag.s goes with run.drag.ms')
        self.drag = [tuple(float(x) for x in way.split('/')) for way in self.run['drag.ms'].split(',')] if 'drag.ms' in self.run else []
        expect(all(len(w) == 2 and w[0] > 0 and 0 < w[1] <= STAND_MS for w in self.drag),
               f'{self.name}: run.drag.ms is RUN/STAND, and who stands for more than {STAND_MS} ms is silent')


def read_scenarios(path):
    """Those of a file: as it is and with each change, or each combination."""
    lines = [x.strip() for x in path.read_text().splitlines()]
    values = dict(x.split('=', 1) for x in lines if x and not x.startswith('#'))
    vary, cross = ({k.removeprefix(f'run.{way}.'): values.pop(k).split(',') for k in list(values) if k.startswith(f'run.{way}.')} for way in ('vary', 'cross'))
    expect(not (vary and cross), f'{path}: run.vary or run.cross')
    expect(not ((vary or cross) and {'run.rates', 'run.search', 'run.floor'} & set(values)), f'{path}: a variant has one rate, and no floor')
    if cross:
        return [Scenario(path.stem, values, dict(zip(cross, x))) for x in itertools.product(*cross.values())]
    return [Scenario(path.stem, values, {} if vary else None)] + [Scenario(path.stem, values, {k: x}) for k, v in vary.items() for x in v]


def cpu_seconds(pid):
    fields = pathlib.Path(f'/proc/{pid}/stat').read_text().rsplit(') ', 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / TICKS


def mark(text, isr=()):
    """Now. `isr` when it was seen."""
    return {'at': time.monotonic(), 'text': text, **({'isr': sorted(isr)} if isr else {})}


class Sync:
    """Whether a follower is in the ISR, and a mark whenever that is another."""

    def __init__(self, ask, number):
        self.ask, self.number, self.now, self.marks = ask, number, True, []

    def look(self):
        told = self.ask()
        if told and (self.number in told[1]) != self.now:
            self.now = not self.now
            self.marks.append(mark('seen in sync' if self.now else 'seen out of sync', told[1]))
        return self.now

    def watch(self, seconds):
        until = time.monotonic() + seconds
        while time.monotonic() < until:
            self.look()
            time.sleep(max(0, min(LOOK_S, until - time.monotonic())))


@contextlib.contextmanager
def dragged(cluster, follower, way):
    """It is slow inside of this. Gives what drag.py tells at the end; whatever happens, the follower goes on."""
    told = dict(zip(('run_ms', 'stand_ms'), way))
    p = subprocess.Popen([sys.executable, str(ROOT / 'bench/drag.py'), str(follower.process.pid), *(str(x) for x in way)],
                         stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    cluster.helpers.append(p)
    try:
        yield told
        expect(p.poll() is None, f'broker {follower.number} was not slow all the time')
    finally:
        try:
            text, _ = p.communicate(timeout=10)
            cluster.helpers.remove(p)
        finally:
            if follower.alive():
                follower.resume()
    told.update(json.loads(text))


def make_room(out):
    """The results of the run before this one become its `before`. What else is in a directory that we did not make stays."""
    if any((out / 'results').glob('*.json')):
        shutil.rmtree(out / 'before', ignore_errors=True)
        (out / 'before').mkdir()
        (out / 'results').rename(out / 'before/results')
    shutil.rmtree(out / 'results', ignore_errors=True)
    for x in itertools.chain(*(out.glob(x) for x in ('index.html', '*.png', '*.trace', '*.reader.json'))):
        x.unlink()
    (out / 'results').mkdir(parents=True)


class Bench:
    def __init__(self, args):
        self.args = args
        self.out = pathlib.Path(args.out)
        make_room(self.out)
        self.tool, self.write_tool, self.echo_tool = (args.build / f'bench/{x}' for x in ('load/tidemark-load', 'bench_floor_write', 'bench_tcp_end'))
        self.failed = 0

    # ---- one run ----------------------------------------------------------------------------------------------------

    @staticmethod
    def topic(s, rate, number, broker):
        return f'{s.name}-{rate:.0f}-{broker}-{number}'

    def load(self, cluster, s, rate, number, broker, processes, more=()):
        """Runs it, adds what only we know, and keeps it."""
        sweep = len(s.rates) > 1 or s.search is not None
        stem = f'{s.name}{f"-{rate:.0f}" if sweep else ""}.{broker}.{number}'
        path = self.out / 'results' / f'{stem}.json'
        topic = self.topic(s, rate, number, broker)
        options = {**s.options, 'rate': f'{rate:g}', 'label': broker, 'json': path, 'hdr': path.with_suffix('.hdr'), **dict(more)}
        if s.kind == 'load':
            options.update(bootstrap=cluster.boot, topic=topic, create='yes')
        if s.run.get('client') == 'bypass':
            options.update(transport=f'vdev:net_af_packet0,iface={cluster.short}c',
                           address=f'{DATA}.{CLIENT}/24')
        cold = 'cold.mib' in s.run and s.kind == 'load'
        if cold:
            self.fill(cluster, s, topic)
        command = [str(self.write_tool if s.kind == 'write' else self.tool)] + [x for k, v in options.items() for x in (f'--{k}', str(v))]
        before = [cpu_seconds(p.pid) for p in processes]
        stages = [b.metrics() for b in cluster.brokers] if broker == 'tidemark' else []
        p = subprocess.Popen(['ip', 'netns', 'exec', cluster.ns_client, *command], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        cluster.helpers.append(p)
        reader = self.read_cold(cluster, s, f'{stem}.reader', topic) if cold else None
        tracer = self.trace(cluster, stem, topic) if 'trace' in s.run else None
        fault = self.fault(cluster, s, topic)
        text, _ = p.communicate(timeout=600)
        cluster.helpers.remove(p)
        if reader:
            reader.communicate(timeout=600)
            cluster.helpers.remove(reader)
        if tracer:
            expect(tracer.poll() is None, f'{stem}: nobody traced')
            tracer.terminate()
            tracer.wait()
            cluster.helpers.remove(tracer)
            expect((self.out / f'{stem}.trace').stat().st_size, f'{stem}: nothing was traced')
        if p.returncode not in (0, 3):
            path.unlink(missing_ok=True)
            raise Failure(f'{stem}: {text[-800:]}')
        found = json.loads(path.read_text())
        found.update(scenario=s.name, of=s.of, change=s.change, broker=broker, kind=s.kind, rate=rate, sweep=sweep, search=s.search is not None, floor=s.floor, round=number,
                     wire=f'veth and bridge, {cluster.vdev}{f", mtu {s.mtu}" if s.mtu else ""}', settings=self.told_settings(cluster, broker, more) if s.kind == 'load' else {})
        found['brokers'] = [{'cpu_s': round(cpu_seconds(q.pid) - b, 3)} for q, b in zip(processes, before) if q.poll() is None]
        found['stages'] = results.stages(stages, [b.metrics() for b in cluster.brokers] if stages else [])
        if reader:
            told = json.loads((self.out / f'{stem}.reader.json').read_text())
            found['reader'] = {'bytes': told['counts']['bytes'], 'seconds': told['elapsed_s']}
        for m in fault.get('marks', []):
            m['at_s'] = round(m.pop('at') - found['start_monotonic_ns'] / 1e9, 3)
        found.update(fault)
        path.write_text(json.dumps(found, separators=(',', ':')))
        self.say(found)
        return found

    def say(self, r):
        h = r['latency']['produce' if r['latency']['produce']['count'] else 'e2e']
        flags = ('' if r['valid'] else f'  INVALID {r["reasons"][0].split(":")[0]}') + ('' if r['sustained'] else '  not sustained')
        print(f'{r["scenario"]:48} {r["broker"]:12} {r["rate"]:9g}/s {h["p50"] / 1e3:10.1f} {h["p99"] / 1e3:10.1f} {h["max"] / 1e3:12.1f}{flags}', flush=True)

    def told_settings(self, cluster, broker, more):
        ours = {} if broker != 'tidemark' else {'core.idle': 'wait', 'ack.durability': 'device', **cluster.settings}
        return {**ours, **{k.removeprefix('topic.config.'): v for k, v in more}}

    COLD = {'record.bytes': 10000, 'batch.records': 10, 'lag.share': 1, 'warmup.s': 0}

    def cold_command(self, cluster, topic, **options):
        options = {**self.COLD, 'bootstrap': cluster.boot, 'topic': f'{topic}-cold', **{k.replace('_', '.'): v for k, v in options.items()}}
        return ['ip', 'netns', 'exec', cluster.ns_client, str(self.tool)] + [x for k, v in options.items() for x in (f'--{k}', str(v))]

    def fill(self, cluster, s, topic):
        rate = float(s.run['cold.mib']) * 2 ** 20 / self.COLD['record.bytes'] / 5
        command = self.cold_command(cluster, topic, create='yes', consume='no', rate=rate, duration_s=5, drain_s=120, queue_max=10 ** 6)
        r = subprocess.run(command, capture_output=True, text=True, check=False, timeout=300)
        expect(r.returncode in (0, 3), f'the cold topic is not filled: {r.stdout[-500:]}{r.stderr[-300:]}')

    def read_cold(self, cluster, s, stem, topic):
        """It begins with the load, more or less, and reads as fast as it is given."""
        seconds = float(s.options.get('warmup.s', 2)) + float(s.options.get('duration.s', 10))
        path = self.out / f'{stem}.json'  # beside the results: there is no latency in it
        p = subprocess.Popen(self.cold_command(cluster, topic, produce='no', **{'from': 'beginning'}, duration_s=seconds, json=path),
                             stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        cluster.helpers.append(p)
        return p

    def trace(self, cluster, stem, topic):
        """A topic must be there to be traced. What is slow is kept beside the results."""
        b = cluster.brokers[0]
        wait_until('the topic has a leader', WHOLE_S, lambda: self.seen(cluster, topic))
        with open(self.out / f'{stem}.trace', 'wb') as out:
            p = subprocess.Popen(['ip', 'netns', 'exec', b.ns, str(self.args.build / 'control/tool/tidemark'), 'trace', '--topic', topic, '--slower-than', '200us',
                                  '--json', '--control', f'{b.management}:{METRICS}'], stdout=out, stderr=subprocess.DEVNULL)
        cluster.helpers.append(p)
        return p

    @staticmethod
    def seen(cluster, topic, boot=None):
        """(leader, ISR, controller) of its first partition that has a leader. Asked of all topics: a question for one would make it, before the
        load does with its settings."""
        r = cluster.client('kcat', '-b', boot or cluster.boot, '-L', '-J', '-m', 5, check=False, timeout=20)
        told = json.loads(r.stdout) if r.returncode == 0 else {'topics': []}
        return next(((p['leader'], {i['id'] for i in p['isrs']}, told['controllerid'])
                     for t in told['topics'] if t['topic'] == topic for p in t['partitions'] if p['leader'] > 0), None)

    def fault(self, cluster, s, topic):
        """What is done to the brokers during the load, with its marks."""
        way = next((w for line, w in (('kill.s', self.kill_leader), ('slow.s', self.slow_follower), ('drag.s', self.drag_follower)) if line in s.run), None)
        if way is None:
            return {}
        wait_until('the topic has a leader', WHOLE_S, lambda: self.seen(cluster, topic))
        return way(cluster, s, topic)

    def kill_leader(self, cluster, s, topic):
        time.sleep(float(s.run['kill.s']))
        leader = cluster.brokers[self.seen(cluster, topic)[0] - 1]
        marks = [mark(f'broker {leader.number} killed')]
        leader.kill()
        return {'marks': marks}

    def a_follower(self, cluster, topic):
        """(it, what the leader says of it, the ISR). One that is not the controller, too, whose silence would be another thing to see."""
        leader, isr, controller = self.seen(cluster, topic)
        follower = cluster.brokers[max(isr - {leader, controller}) - 1]
        boot = cluster.brokers[leader - 1].boot
        return follower, Sync(lambda: self.seen(cluster, topic, boot), follower.number), isr

    def slow_follower(self, cluster, s, topic):
        at_s, for_s = (float(x) for x in s.run['slow.s'].split(','))
        time.sleep(at_s)
        follower, sync, isr = self.a_follower(cluster, topic)
        begun = mark(f'broker {follower.number} stands still', isr)
        follower.pause()
        try:
            wait_until('the ISR is without who stands still', for_s, lambda: not sync.look())
            time.sleep(max(0, begun['at'] + for_s - time.monotonic()))
        finally:
            follower.resume()
        return {'marks': [begun, *self.until_in_sync(sync)]}

    def drag_follower(self, cluster, s, topic):
        """Whether it leaves the ISR is the leader's to say: what is seen is told, whatever it is."""
        at_s, for_s = (float(x) for x in s.run['drag.s'].split(','))
        time.sleep(at_s)
        follower, sync, isr = self.a_follower(cluster, topic)
        ways = []
        for way in s.drag:
            sync.marks.append(mark(f'broker {follower.number} runs {way[0]:g} ms of {sum(way):g}', isr if sync.now else isr - {follower.number}))
            with dragged(cluster, follower, way) as told:
                sync.watch(for_s)
            ways.append(told)
        return {'marks': self.until_in_sync(sync), 'dragged': ways}

    @staticmethod
    def until_in_sync(sync):
        sync.marks.append(mark('goes on'))
        wait_until('the ISR has it again', WHOLE_S, sync.look)
        return sync.marks

    # ---- floors and brokers -----------------------------------------------------------------------------------------------

    def echo(self, cluster, s, number):
        b = cluster.brokers[0]
        p = subprocess.Popen(['ip', 'netns', 'exec', b.ns, str(self.echo_tool), b.port(), f'{b.address}/24', '120'], stdout=subprocess.PIPE, text=True)
        cluster.helpers.append(p)
        try:
            expect(p.stdout.readline().strip() == 'ready', 'the echo did not start')
            for rate in s.rates:
                self.load(cluster, s, rate, number, 'floor', [p], {'bootstrap': f'{b.address}:{ECHO_PORT}'}.items())
        finally:
            p.terminate()
            p.wait()
            cluster.helpers.remove(p)

    def write(self, cluster, s, number):
        for rate in s.rates:
            self.load(cluster, s, rate, number, 'floor', [], {'dir': cluster.dir}.items())

    def against(self, cluster, s, number, broker, processes, more=()):
        bypass, device = s.run.get('client') == 'bypass', f'{cluster.short}c'
        if bypass:
            sh('ip', '-n', cluster.ns_client, 'addr', 'flush', 'dev', device)
        try:
            if s.search:
                self.search(cluster, s, number, broker, processes, more)
            for rate in s.rates if not s.search else ():
                self.load(cluster, s, rate, number, broker, processes, more)
        finally:
            if bypass:
                sh('ip', '-n', cluster.ns_client, 'addr', 'add', f'{DATA}.{CLIENT}/24', 'dev', device)

    def search(self, cluster, s, number, broker, processes, more):
        """A run that is late says nothing against the broker: what counts is what was left to answer at the end."""
        low, high = s.search
        good, bad, rate = None, None, low
        for _ in range(SEARCH_RUNS):
            sustained = self.load(cluster, s, rate, number, broker, processes, more)['sustained']
            self.forget(cluster, self.topic(s, rate, number, broker))
            if sustained:
                good = rate
            else:
                bad = rate
            if good is None or (bad is None and good >= high):
                break
            rate = min(good * 2, high) if bad is None else (good * bad) ** 0.5
            if bad is not None and bad / good < 1.1:
                break

    def forget(self, cluster, topic):
        """A search writes gigabytes in each run: those of the last one are gone before the next begins."""
        cluster.drop_topic(topic)
        wait_until(f'the files of {topic} are gone', 60, lambda: not any(f for x in ('data*', 'kafka/data*') for f in cluster.dir.glob(f'{x}/{topic}-*')), 0.2)

    def tidemark(self, cluster, chosen, number):
        cluster.start()
        for s in chosen:
            if cluster.settings != s.settings:
                self.again(cluster, s.settings)
            cluster.start([b for b in cluster.brokers if not b.alive()])
            self.against(cluster, s, number, 'tidemark', [b.process for b in cluster.brokers], s.topic.items())
        self.again(cluster, None)
        for b in cluster.brokers:
            shutil.rmtree(b.data)

    def again(self, cluster, settings):
        """Stops the brokers in good order; they start with these settings, if at all."""
        cluster.start([b for b in cluster.brokers if not b.alive()])
        cluster.stop()
        if settings is not None:
            cluster.settings = settings
            cluster.start()
            told = [x for b in cluster.brokers for x in b.said().splitlines() if 'the cluster goes by' in x]
            expect(not told, f'no ablation, run.topic.X is one: {told}')

    def kafka(self, cluster, chosen, number):
        chosen = [s for s in chosen if s.kafka]
        if self.args.kafka == 'no' or not chosen:
            return
        try:
            other = Kafka(cluster)
        except Skip as e:
            expect(self.args.kafka != 'yes', str(e))
            print(f'without Kafka: {e}')
            self.args.kafka = 'no'
            return
        try:
            other.start()
            self.warm(cluster)
            for s in chosen:
                for way in s.kafka:
                    self.against(cluster, s, number, way, [b.process for b in other.brokers], KAFKA_WAYS[way].items())
        finally:
            other.stop()

    def warm(self, cluster):
        """A JVM compiles what runs often."""
        r = cluster.client(self.tool, '--bootstrap', cluster.boot, '--topic', 'warm', '--create', 'yes', '--replication', len(cluster.brokers), '--rate', 2000,
                           '--warmup.s', 0, '--duration.s', WARM_S, '--lag.share', 1, '--queue.max', 10 ** 6, check=False)
        expect(r.returncode in (0, 3), f'Kafka takes no load: {r.stdout[-500:]}{r.stderr[-300:]}')

    def size(self, count, mtu, vdev, chosen, number):
        cluster = Cluster(self.args.build, count, vdev, mtu=mtu)
        try:
            for s in chosen:
                if s.kind != 'load':
                    {'echo': self.echo, 'write': self.write}[s.kind](cluster, s, number)
            chosen = [s for s in chosen if s.kind == 'load']
            if chosen:
                self.tidemark(cluster, chosen, number)
                self.kafka(cluster, chosen, number)
        finally:
            cluster.close()

    def go(self, chosen):
        print(f'{"microseconds":48} {"":12} {"rate":>11} {"50 %":>10} {"99 %":>10} {"most":>12}')
        for number in range(1, self.args.rounds + 1):
            for place in sorted({s.place for s in chosen}):
                count, mtu, vdev = place
                try:
                    self.size(count, mtu or None, vdev or self.args.vdev, [s for s in chosen if s.place == place], number)
                except (Failure, OSError, subprocess.SubprocessError) as e:  # a broker that has ended has no /proc any more
                    self.failed += 1
                    print(f'FAILED with {count} brokers: {e}', flush=True)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('what', choices=('smoke', 'full'))
    parser.add_argument('--build', type=pathlib.Path, default=ROOT / 'build')
    parser.add_argument('--out', default=str(ROOT / 'build/bench-report'), help='results of an earlier run there are kept as its `before`')
    parser.add_argument('--against', help='an earlier run that the report compares its ratios with, instead of the last one there')
    parser.add_argument('--only', action='append', help='a scenario by name')
    parser.add_argument('--rounds', type=int, default=1, help='all of it so many times, interleaved')
    parser.add_argument('--vdev', choices=VDEVS, default='af_xdp')
    parser.add_argument('--kafka', choices=('auto', 'yes', 'no'), default='auto')
    args = parser.parse_args()
    scenarios = [s for p in sorted((ROOT / 'bench/scenarios').glob('*.conf')) for s in read_scenarios(p)]
    chosen = [s for s in scenarios if ({s.name, s.of} & set(args.only) if args.only else args.what == 'full' or s.run.get('smoke') == '1')]
    if not chosen:
        raise SystemExit(f'no such scenario; there are: {", ".join(dict.fromkeys(s.of for s in scenarios))}')
    print(f'{platform.node()}: {os.cpu_count()} CPUs, load {os.getloadavg()[0]:.1f}, {args.vdev}')
    earlier = results.load(args.against) if args.against else None
    if earlier == []:
        raise SystemExit(f'{args.against}: there are no results')
    bench = Bench(args)
    bench.go(chosen)
    earlier = earlier or results.load(bench.out / 'before')
    page = report.write(args.out, earlier)
    if earlier:
        print(f'beside {args.against or "the run before"}: {results.verdict(results.agreement(earlier, results.load(bench.out))[0])}')
    print(f'report: {page}')
    return 1 if bench.failed else 0


if __name__ == '__main__':
    sys.exit(main())
