# SPDX-License-Identifier: Apache-2.0
"""Results of scenarios as files, and what is read out of them: used by scenarios.py, report.py and compare."""
import json
import pathlib
import re
import statistics
import sys


def load(path):
    """Every result under a directory, or one file, sorted by name."""
    path = pathlib.Path(path)
    files = [path] if path.is_file() else sorted((path / 'results' if (path / 'results').is_dir() else path).glob('*.json'))
    found = []
    for f in files:
        try:
            r = json.loads(f.read_text())
        except json.JSONDecodeError as e:  # its writer was killed, or the disk was full
            print(f'{f}: not a whole result, left out: {e}', file=sys.stderr)
            continue
        r.setdefault('scenario', f.stem)
        r.setdefault('broker', r.get('label') or r['tool'])
        r.setdefault('rate', r['options']['rate'])
        r.setdefault('floor', [])
        r['path'] = f
        found.append(r)
    return found


def short(line):
    """The name of a scenario's line without what it is a line for."""
    return line.removeprefix('run.').removeprefix('broker.').removeprefix('topic.').removeprefix('config.')


def changed(r):
    return ', '.join(f'{short(k)}={v}' for k, v in r['change'].items()) or 'as it is'


def name(r):
    rate = f' {r["rate"]:g}/s' if r.get('sweep') else ''
    reader = f' (beside {r["reader"]["bytes"] / r["reader"]["seconds"] / 2**20:.0f} MiB/s read)' if 'reader' in r else ''
    return f'{r["scenario"]}{rate} · {r["broker"]}{reader}'


def measure(r):
    """What a scenario is judged by: due to answer, or due to read when nobody answers."""
    return 'produce' if r['latency']['produce']['count'] else 'e2e'


def value(r, quantile, what=None):
    """Microseconds, None when there are too few samples for it: at least ten beyond the quantile."""
    h = r['latency'][what or measure(r)]
    beyond = h['count'] * (1 - float(quantile[1:]) / 100) if quantile.startswith('p') else h['count']
    return h[quantile] / 1e3 if h['count'] and (beyond >= 10 or quantile == 'p50') else None


STAGES = ('tcp', 'queue', 'parse', 'home', 'append', 'watermark', 'respond', 'transmit')  # one after the other; together they are `produce`
ASIDE = ('disk_wait', 'disk', 'send', 'acknowledge')  # what the watermark waits for, side by side


def stages(before, after):
    """{stage: {'count', 'mean_us'}} of all brokers between two looks at their metrics; one that was started anew meanwhile, or is gone, is left out."""
    total = {}
    for old, new in zip(before, after):
        for key, count in new.items():
            found = re.fullmatch(r'tidemark_(?:follower_)?stage_seconds_count\{stage="(\w+)".*\}', key)
            if not found:
                continue
            sum_key = key.replace('_count{', '_sum{')
            more, seconds = count - old.get(key, 0), new[sum_key] - old.get(sum_key, 0)
            if more > 0 and seconds >= 0:
                t = total.setdefault(found[1], [0, 0])
                t[0], t[1] = t[0] + more, t[1] + seconds
    return {k: {'count': int(n), 'mean_us': round(1e6 * s / n, 3)} for k, (n, s) in total.items()}


def bar(r):
    """[(what, microseconds)] of a mean request: the broker's stages, and outside of it what is left to the answer. None: they are not known."""
    known = r.get('stages') or {}
    if not known.get('produce') or measure(r) != 'produce':
        return None
    parts = [(s, known[s]['mean_us'] if s in known else 0) for s in STAGES]
    return [*parts, ('client and wire', max(0, r['latency']['produce']['mean'] / 1e3 - sum(v for _, v in parts)))]


def curve(h):
    """[(quantile, ns)] at every step of a histogram, from its counts."""
    seen, points = 0, []
    for low, count in h['counts']:
        seen += count
        points.append((seen / h['count'], low))
    return points


def cpu_per_million(r):
    """Seconds of the brokers' processors per million records that were acknowledged."""
    cpu, acked = sum(b['cpu_s'] for b in r.get('brokers', [])), r['counts']['acked']
    return cpu / acked / r['options']['batch.records'] * 1e6 if cpu and acked else None


def groups(results):
    """Rounds of the same scenario, rate and broker, in the order of the first."""
    by = {}
    for r in results:
        by.setdefault((r['scenario'], r['broker'], r['rate']), []).append(r)
    return by


def median(rounds, quantile, what=None):
    values = [v for v in (value(r, quantile, what) for r in rounds) if v is not None]
    return statistics.median(values) if values else None


def floor_of(results, wanted, quantile):
    """The sum of floors that a scenario names; None when one was not measured."""
    total = 0
    for w in wanted:
        v = median([r for r in results if r.get('kind') == w], quantile)
        if v is None:
            return None
        total += v
    return total if wanted else None


def sustained(rounds):
    """The most records a second that were acknowledged in time and did not pile up; 0: none."""
    return max((r['records_per_s']['achieved'] for r in rounds if r['sustained']), default=0)


def searched(results):
    """{(scenario, broker): records a second} of the searches for the highest rate: of several rounds their median."""
    by = {}
    for r in results:
        if r.get('search'):
            by.setdefault((r['scenario'], r['broker']), {}).setdefault(r.get('round', 1), []).append(r)
    return {k: statistics.median(sustained(runs) for runs in rounds.values()) for k, rounds in by.items()}


def variants(results):
    """{scenario: {(broker, change): rounds}} of those that have variants, as they ran; a change is a tuple of (line, value)."""
    by = {}
    for r in sorted(results, key=lambda r: r.get('start_ms', 0)):
        if r.get('change') is not None:
            by.setdefault(r['of'], {}).setdefault((r['broker'], tuple(r['change'].items())), []).append(r)
    return by


def beside(rounds, base, what):
    """The median over the rounds of the ratio to the base of the same round; what(result) is a number or None."""
    bases = {b.get('round', 1): what(b) for b in base}
    found = [what(r) / bases[r.get('round', 1)] for r in rounds if what(r) and bases.get(r.get('round', 1))]
    return statistics.median(found) if found else None


def steps(r, at_s, until_s):
    """Those of the time series that lie wholly between."""
    step = r['interval_s']
    return [s for i, s in enumerate(r['series']) if i * step >= at_s and (i + 1) * step <= until_s]


def between(r, at_s, until_s):
    """(due, acknowledged) requests."""
    inside = steps(r, at_s, until_s)
    return sum(s['due'] for s in inside), sum(s['acked'] for s in inside)


def phases(r):
    """What became of what was due before the first mark, between two and after the last: a list of dictionaries. A step of the time series
    that is cut by a mark belongs to nobody."""
    marks, step, found = r['marks'], r['interval_s'], []
    isr = marks[0].get('isr')
    begin = {'at_s': 0, 'text': 'begin'}
    for a, b in zip([begin, *marks], [*marks, {'at_s': len(r['series']) * step, 'text': 'end'}]):
        isr = a.get('isr', isr)
        inside = steps(r, a['at_s'], b['at_s'])
        waits = [s['produce'] for s in inside if s['produce']['count']]
        due, acked = between(r, a['at_s'], b['at_s'])
        found.append({'from': a['text'], 'to': b['text'], 'seconds': b['at_s'] - a['at_s'], 'isr': isr, 'due': due, 'acked': acked,
                      'median': statistics.median(w['p50'] for w in waits) / 1e6 if waits else None,
                      'longest': max(w['max'] for w in waits) / 1e6 if waits else None})
    return found


WITHIN = 20  # percent


def agreement(a, b, within=WITHIN):
    """([(what, ratio of a, of b, percent apart, whether they agree)], what only one of them has)."""
    a, b = ratios(a), ratios(b)
    found = []
    for what in (x for x in a if x in b):
        apart = (max(a[what], b[what]) / min(a[what], b[what]) - 1) * 100
        found.append((what, a[what], b[what], apart, apart <= within))
    return found, [x for x in [*a, *b] if (x in a) != (x in b)]


def verdict(compared, within=WITHIN):
    """The sentence at the end of a comparison."""
    if not compared:
        return 'No ratio is in both runs: nothing is said about whether they agree.'
    by = {what: [agrees for name, *_, agrees in compared if what in name.split()] for what in ('p50', 'p99')}
    if not all(agrees for *_, agrees in compared):
        return (f'The two runs do not agree: {sum(not agrees for *_, agrees in compared)} of {len(compared)} ratios are more than {within:g} % apart '
                f'({", ".join(f"{what}: {x.count(False)} of {len(x)}" for what, x in by.items())}).')
    return f'The two runs agree: {len(compared)} ratios, none of them more than {within:g} % apart.'


def ratios(results):
    """{what: ratio} of medians within one run: to the floor a scenario names, and of another broker to ours in the same scenario. A round that
    was not sustained has the latencies of a queue that grew, and no part in it."""
    found = {}
    kept = [r for r in results if r['sustained']]
    by = groups(kept)
    for (scenario, broker, rate), rounds in by.items():
        for q in ('p50', 'p99'):
            ours, floor = median(rounds, q), floor_of(kept, rounds[0]['floor'], q)
            if broker == 'tidemark' and ours and floor:
                found[f'{scenario} {q} to floor'] = ours / floor
            base = by.get((scenario, 'tidemark', rate)) if not rounds[0].get('search') else None
            base = median(base, q) if base and broker != 'tidemark' else None
            if base and ours:
                found[f'{scenario} {rate:g}/s {q} {broker} to tidemark'] = ours / base
    best = searched(results)
    for (scenario, broker), rate in best.items():
        if broker != 'tidemark' and rate and best.get((scenario, 'tidemark')):
            found[f'{scenario} sustained rate, tidemark to {broker}'] = best[(scenario, 'tidemark')] / rate
    return found
