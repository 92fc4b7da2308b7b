# SPDX-License-Identifier: Apache-2.0
"""Apache Kafka's own brokers, from the jars that its project publishes, in the namespaces of a Cluster: same wire, same directory."""
import os
import pathlib
import subprocess
import sys

ROOT = pathlib.Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / 'tests/interop'))
sys.path.insert(0, str(ROOT / 'tests/crash'))
from clients import Skip, kafka_tools  # noqa: E402, F401  pylint: disable=unused-import
from cluster import PORT, Failure, expect, sh, wait_until  # noqa: E402

CONTROLLER = 9093
HEAP = '768m'


class KafkaBroker:
    """Broker and voter in one process, as its quick start has it, in broker N's namespace. The kernel has the data address."""

    def __init__(self, kafka, broker):
        self.kafka, self.broker = kafka, broker
        self.log = kafka.dir / f'kafka{broker.number}.log'
        self.process = None

    def config(self):
        b, k = self.broker, self.kafka
        values = {'node.id': b.number, 'process.roles': 'broker,controller', 'log.dirs': k.dir / f'data{b.number}',
                  'listeners': f'PLAINTEXT://{b.boot},CONTROLLER://{b.management}:{CONTROLLER}', 'controller.listener.names': 'CONTROLLER',
                  'advertised.listeners': f'PLAINTEXT://{b.boot}',
                  'listener.security.protocol.map': 'PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT', 'inter.broker.listener.name': 'PLAINTEXT',
                  'controller.quorum.voters': ','.join(f'{o.number}@{o.management}:{CONTROLLER}' for o in k.cluster.brokers),
                  'log.segment.delete.delay.ms': 1000,  # of topics that are deleted
                  'offsets.topic.replication.factor': 1, 'transaction.state.log.replication.factor': 1, 'transaction.state.log.min.isr': 1}
        path = k.dir / f'kafka{b.number}.properties'
        path.write_text(''.join(f'{n}={v}\n' for n, v in values.items()))
        return path

    def start(self):
        java = ['java', f'-Xmx{HEAP}', f'-Xms{HEAP}', '-XX:+UseG1GC', '-cp', self.kafka.classpath]
        config = self.config()
        sh(*java[:1], '-cp', self.kafka.classpath, 'kafka.tools.StorageTool', 'format', '-t', self.kafka.cluster.id, '-c', config, timeout=120)
        with open(self.log, 'ab') as log:
            self.process = subprocess.Popen(['ip', 'netns', 'exec', self.broker.ns, *java, 'kafka.Kafka', str(config)], stdout=log, stderr=log,
                                            stdin=subprocess.DEVNULL, env={**os.environ, 'LANG': 'C.UTF-8'})

    def stop(self):
        if self.process is not None and self.process.poll() is None:
            self.process.kill()
            self.process.wait()


class Kafka:
    def __init__(self, cluster):
        self.cluster = cluster
        self.classpath = kafka_tools()  # Skip when they cannot be had
        self.dir = cluster.dir / 'kafka'
        self.dir.mkdir()
        self.brokers = [KafkaBroker(self, b) for b in cluster.brokers]
        for b in cluster.brokers:  # its port is gone, and the kernel answers there
            sh('ip', '-n', b.ns, 'addr', 'replace', f'{b.address}/24', 'dev', b.device('data'))
            sh('ip', '-n', b.ns, 'link', 'set', b.device('data'), 'xdp', 'off')
            b.leave_to_us(False)
            # And it may leave to the wire what it can: it sends 64 KiB at once, whatever the size of a packet.
            sh('ip', 'netns', 'exec', cluster.ns_net, 'ethtool', '-K', b.device('data') + 'p', 'tx', 'on')
            sh('ip', 'netns', 'exec', b.ns, 'ethtool', '-K', b.device('data'), 'tx', 'on')

    def start(self):
        for b in self.brokers:
            b.start()
        wait_until('Kafka serves', 120, self.ready, 0.5)

    def ready(self):
        for b in self.brokers:
            expect(b.process.poll() is None, f'Kafka {b.broker.number} ended:\n{b.log.read_text(errors="replace")[-2000:]}')
        r = self.cluster.client('kcat', '-b', self.cluster.boot, '-L', '-m', 3, check=False, timeout=20)
        return r.returncode == 0 and f' {len(self.brokers)} brokers' in r.stdout and str(PORT) in r.stdout

    def stop(self):
        for b in self.brokers:
            b.stop()


__all__ = ['Kafka', 'Skip', 'Failure']
