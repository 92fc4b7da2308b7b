#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Our TCP beside the kernel's, over the same veth in the same run: ratios, with the figures behind them.

    bench/run.sh tcp [--vdev af_packet|af_xdp] [--rounds N] [--megabytes N] [--loss PERCENT]

The kernel is the other end in every measurement. It stands in our place twice: with one MSS a packet, as our port sends
(offloads off), and with its offloads, where a veth carries 64 KiB at once and no packets exist. Rounds of all three
alternate; a rate is all bytes over all time (harmonic mean), a latency the median of the rounds.
"""
import argparse
import os
import pathlib
import statistics
import subprocess
import sys
import time

ROOT = pathlib.Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / 'tests/interop'))
from world import BROKER, World, sh  # noqa: E402

OFFLOADS = ('tx', 'tso', 'gso', 'gro')


class Bench:
    def __init__(self, args):
        self.args = args
        self.world = World(args.build, args.vdev)
        self.peer = self.world.build / 'bench/bench_tcp_peer'
        self.figures = {}

    def offloads(self, on):
        w = self.world
        for ns, dev in ((w.ns_broker, w.dev_broker), (w.ns_client, w.dev_client)):
            sh('ip', 'netns', 'exec', ns, 'ethtool', '-K', dev, *[x for o in OFFLOADS for x in (o, 'on' if on else 'off')], check=False)

    def start(self, *command):
        p = subprocess.Popen(['ip', 'netns', 'exec', self.world.ns_broker, *map(str, command)], stdout=subprocess.PIPE, text=True)
        if p.stdout.readline().strip() != 'ready':
            p.kill()
            raise SystemExit(f'{command[0]} did not start')
        return p

    def ours(self):
        self.offloads(False)
        return self.start(self.world.build / 'bench/bench_tcp_end', self.world.port(), f'{BROKER}/24', 300)

    def kernel(self, offloads):
        w = self.world
        self.offloads(offloads)
        sh('ip', '-n', w.ns_broker, 'addr', 'add', f'{BROKER}/24', 'dev', w.dev_broker)
        return self.start(self.peer, 'serve', BROKER)

    def stop(self, p):
        p.terminate()
        p.wait()
        sh('ip', '-n', self.world.ns_broker, 'addr', 'flush', 'dev', self.world.dev_broker)
        sh('ip', '-n', self.world.ns_client, 'neigh', 'flush', 'all', check=False)
        return p.stdout.read()

    def ask(self, *args):
        return [float(x) for x in self.world.client(self.peer, *args, timeout=300).stdout.split()]

    def note(self, what, who, value):
        self.figures.setdefault(what, {}).setdefault(who, []).append(value)

    def measure(self, who):
        mb, few = self.args.megabytes * 1000000, self.args.lossy_megabytes * 1000000
        self.ask('echo', BROKER, 100)
        self.note('receive, Mbit/s', who, 8e-6 * mb / self.ask('send', BROKER, mb)[0])
        self.note('send, Mbit/s', who, 8e-6 * mb / self.ask('receive', BROKER, mb)[0])
        median, tail = self.ask('echo', BROKER, self.args.requests)
        self.note('64 bytes there and back, median us', who, median)
        self.note('64 bytes there and back, 99th percentile us', who, tail)
        if who == 'kernel, offloads':
            return
        self.world.lossy(self.args.loss)
        try:
            self.note(f'send at {self.args.loss:g} % loss, Mbit/s', who, 8e-6 * few / self.ask('receive', BROKER, few)[0])
        finally:
            self.world.lossy(0)

    def run(self):
        for ns in (self.world.ns_broker, self.world.ns_client):
            sh('ip', 'netns', 'exec', ns, 'sysctl', '-qw', 'net.ipv4.tcp_congestion_control=cubic', check=False)
        for _ in range(self.args.rounds):
            for who, start in (('ours', self.ours), ('kernel', lambda: self.kernel(False)), ('kernel, offloads', lambda: self.kernel(True))):
                p = start()
                try:
                    time.sleep(0.3)
                    self.measure(who)
                finally:
                    told = self.stop(p)
                    if self.args.verbose and told:
                        print(told)

    def report(self):
        commit = sh('git', '-C', ROOT, 'describe', '--always', '--dirty', check=False).stdout.strip()
        print(f'TCP over one veth, {self.args.vdev}, {self.args.rounds} rounds, {os.cpu_count()} CPUs, commit {commit or "?"}, '
              f'kernel {os.uname().release.split("-")[0]}, load {os.getloadavg()[0]:.1f}')
        print(f'{"":45} {"ours":>9} {"kernel":>9} {"offloads":>9} {"ours/kernel":>12} {"spread of ours":>18}')
        for what, by in self.figures.items():
            middle = statistics.harmonic_mean if 'Mbit' in what else statistics.median
            m = {k: middle(v) for k, v in by.items()}
            third = f'{m["kernel, offloads"]:9.1f}' if 'kernel, offloads' in m else ' ' * 9
            spread = f'{min(by["ours"]):.1f}..{max(by["ours"]):.1f}'
            print(f'{what:45} {m["ours"]:9.1f} {m["kernel"]:9.1f} {third} {m["ours"] / m["kernel"]:12.2f} {spread:>18}')


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--build', default=str(ROOT / 'build'))
    parser.add_argument('--vdev', default='af_packet', choices=('af_packet', 'af_xdp'))
    parser.add_argument('--rounds', type=int, default=5)
    parser.add_argument('--megabytes', type=int, default=100)
    parser.add_argument('--lossy-megabytes', type=int, default=20)
    parser.add_argument('--loss', type=float, default=5)
    parser.add_argument('--requests', type=int, default=5000)
    parser.add_argument('--verbose', action='store_true')
    bench = Bench(parser.parse_args())
    try:
        bench.run()
        bench.report()
    finally:
        bench.world.close()


if __name__ == '__main__':
    main()
