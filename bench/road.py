#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Instructions, copies and writes on the road of a record, counted; the table is road.json.

    bench/run.sh road                      counts, and prints the table beside the one that is kept
    bench/run.sh road --write              and keeps it
    bench/run.sh road --check              ends with an error when a count is more than 10 % from the kept one
    bench/run.sh road --where SCENARIO     the functions in which the most instructions are
    bench/run.sh road --by SCENARIO        the same with what they call; --count N, --of follower

Counts are per request that was answered, a follower's of one follower. Without valgrind, or in a build with sanitizers or without optimization, there is
nothing to count (status 77).
"""
import argparse
import collections
import concurrent.futures
import json
import pathlib
import re
import shutil
import subprocess
import sys
import tempfile

ROOT = pathlib.Path(__file__).resolve().parents[1]
TABLE = ROOT / 'bench/road.json'
TOLERANCE = 0.10
SKIPPED = 77
# Valgrind counts each byte of a `rep movsb` or `rep stosb` as an instruction, and a processor does not.
NO_REP = 'glibc.cpu.x86_rep_movsb_threshold=0x40000000:glibc.cpu.x86_rep_stosb_threshold=0x40000000'
# Packets are counted where they are full: in where a producer sends 16 KiB, out where a consumer reads them.
PACKET = {'in': ('produce-16-KiB', 'frames-in', ('net_input', 'tcp_input')),
          'out': ('fetch-16-KiB', 'frames-out', ('tcp_output', 'net_output', 'net_take_tx'))}


class Profile:
    """What callgrind collected: instructions in each function, alone and with what it calls."""

    def __init__(self, path):
        self.own = collections.Counter()
        self.all = collections.Counter()
        names, function, callee = {}, None, None

        def name(text):
            found = re.match(r'\((\d+)\)(?: (.*))?', text)
            if found.group(2) is not None:
                names[found.group(1)] = found.group(2)
            return names[found.group(1)]

        for line in open(path):
            if line.startswith('fn='):
                function = name(line[3:])
            elif line.startswith('cfn='):
                callee = name(line[4:])
            elif line[0] in '0123456789+-*':
                cost = int((line.split() + ['0'])[1])
                if callee:
                    self.all[callee] += cost
                    callee = None
                else:
                    self.own[function] += cost
        self.total = sum(self.own.values())

    def with_callees(self, function):
        """Link-time optimization may have made a copy of it, with another name; one that it put in line nobody can tell."""
        return sum(cost for name, cost in self.all.items() if re.fullmatch(rf'{function}(\.(lto_priv|constprop|isra)\.\d+)*', name))


class Road:
    def __init__(self, build):
        self.build = pathlib.Path(build)
        self.program = self.build / 'bench/bench_road'
        options = {o['name']: o['value'] for o in json.loads((self.build / 'meson-info/intro-buildoptions.json').read_text())}
        self.why_not = None
        if not shutil.which('valgrind'):
            self.why_not = 'valgrind is not installed'
        elif options['b_sanitize'] != 'none':
            self.why_not = 'the build has sanitizers'
        elif str(options['optimization']) != '2':
            self.why_not = f'the build has optimization {options["optimization"]}, and the table is of 2'
        elif 'avx2' not in pathlib.Path('/proc/cpuinfo').read_text().split():
            self.why_not = 'the processor has no AVX2: memcpy and the CRC are others than in the table'

    def told(self, program, scenario, before=()):
        p = subprocess.run([*before, program, scenario], capture_output=True, text=True, timeout=600)
        if p.returncode != 0:
            raise SystemExit(f'{program.name} {scenario}: ended with {p.returncode}\n{p.stderr[-2000:]}')
        return {n: int(v) for n, v in (line.split() for line in p.stdout.splitlines())}

    def scenarios(self):
        return subprocess.run([self.program], capture_output=True, text=True, check=True).stdout.split()

    def profile(self, scenario, who):
        with tempfile.NamedTemporaryFile(prefix='tidemark-road-') as out:
            self.told(self.program, scenario, ('env', f'GLIBC_TUNABLES={NO_REP}', 'valgrind', '--tool=callgrind', f'--callgrind-out-file={out.name}', f'--toggle-collect=road_{who}'))
            return Profile(out.name)

    def count(self, scenario):
        """The row of a scenario, and the packets that are counted in it."""
        told = self.told(self.build / 'bench/bench_road_copies', scenario)
        requests, row, packets = told['requests'], {}, {}
        for who in ('leader', 'follower'):
            brokers = told['followers'] if who == 'follower' else 1
            if brokers == 0:
                continue
            profile = self.profile(scenario, who)
            if profile.total == 0:
                raise SystemExit(f'callgrind saw nothing of road_{who} in {scenario}')
            row[who] = {'instructions': round(profile.total / requests / brokers)}
            for name in ('turns', 'frames-in', 'frames-out', 'writes', 'copies'):
                row[who][name] = round(told[f'{who}-{name}'] / requests / brokers, 3)
            if told['bytes']:
                row[who]['copied-per-byte'] = round(told[f'{who}-copied'] / told['bytes'] / brokers, 3)
            for way, (where, frames, functions) in PACKET.items():
                if where == scenario and who == 'leader':
                    packets[way] = {'instructions': round(sum(profile.with_callees(f) for f in functions) / told[f'leader-{frames}'])}
        return row, packets

    def all(self):
        """Two at a time; names of scenarios and of what is counted are the keys."""
        table = {}
        with concurrent.futures.ThreadPoolExecutor(2) as pool:
            names = self.scenarios()
            for name, (row, packets) in zip(names, pool.map(self.count, names)):
                table[name] = row
                for way, packet in packets.items():
                    table[f'packet-{way}'] = {'tcp': packet}
        return table


def flat(table):
    return {f'{scenario}, {who}: {name}': value for scenario, row in table.items() for who, counts in row.items() for name, value in counts.items()}


# What README and the table's text promise: more is too much, however near it is to the kept count.
MOST = {'produce-acks-1-clients-16, leader: instructions': 6000, 'produce-acks-1-clients-16, leader: copied-per-byte': 1.1}


def differs(now, kept):
    return abs(now - kept) > TOLERANCE * kept


def compare(now, kept):
    """Prints both; returns what is too far apart."""
    now, kept = flat(now), flat(kept)
    far = [name for name in {**kept, **now} if name not in now or name not in kept or differs(now[name], kept[name]) or now[name] > MOST.get(name, now[name])]
    for name in {**kept, **now}:
        text = f'{name:62} {now.get(name, "-"):>10} {kept.get(name, "-"):>10}'
        print(text + ('   *' if name in far else ''))
    return far


def where(road, scenario, who, by, count):
    profile = road.profile(scenario, who)
    told = road.told(road.program, scenario)
    requests = told['requests'] * (told['followers'] if who == 'follower' else 1)
    if requests == 0:
        raise SystemExit(f'{scenario} has no {who}')
    print(f'{scenario}, {who}: {profile.total / requests:.0f} instructions per request')
    for name, cost in (profile.all if by else profile.own).most_common(count):
        print(f'{cost / requests:10.0f} {100 * cost / profile.total:5.1f} %  {name}')


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--build', default=str(ROOT / 'build'))
    parser.add_argument('--write', action='store_true')
    parser.add_argument('--check', action='store_true')
    parser.add_argument('--where', metavar='SCENARIO')
    parser.add_argument('--by', metavar='SCENARIO')
    parser.add_argument('--count', type=int, default=10, help='so many functions')
    parser.add_argument('--of', default='leader', choices=('leader', 'follower'))
    a = parser.parse_args()
    road = Road(a.build)
    if road.why_not:
        print(f'nothing is counted: {road.why_not}')
        return SKIPPED
    if a.where or a.by:
        where(road, a.where or a.by, a.of, a.by is not None, a.count)
        return 0
    now = road.all()
    kept = json.loads(TABLE.read_text()) if TABLE.exists() else {}
    far = compare(now, kept)
    if a.write:
        TABLE.write_text(json.dumps(now, indent=1) + '\n')
    elif far and a.check:
        print(f'{len(far)} counts are more than {TOLERANCE:.0%} from bench/road.json. Is that meant? bench/run.sh road --write, and say why in the commit.')
        return 1
    return 0


if __name__ == '__main__':
    sys.exit(main())
