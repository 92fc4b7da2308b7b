#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""One self-contained page and its plots from a directory of results: report.py DIRECTORY [EARLIER]. Plots are drawn by gnuplot, which needs no
other library and has been the same for decades; without it the page has its tables only."""
import base64
import html
import math
import pathlib
import shutil
import statistics
import subprocess
import sys

import results

PALETTE = ('#1b6ca8', '#d1495b', '#3a7d44', '#b8860b', '#6a4c93', '#00798c', '#8d5524', '#444444', '#c44900', '#5b8e7d')
SIZE = '1000,560'
STYLE = '''body{font:15px/1.5 sans-serif;max-width:1060px;margin:2em auto;padding:0 1em;color:#222}table{border-collapse:collapse;margin:1em 0}
td,th{padding:3px 10px;border-bottom:1px solid #ddd;text-align:right}td:first-child,th:first-child{text-align:left}img{max-width:100%}
.bad{color:#b00020}.ok{color:#2d6a2d}code{background:#f3f3f3;padding:0 3px}h2{margin-top:2em}'''


def gnuplot(directory, stem, script, blocks):
    """A PNG by that name, or None. Each block is lines of data, named $d0, $d1, ..."""
    if not shutil.which('gnuplot') or not blocks:
        return None
    path = directory / f'{stem}.png'
    data = ''.join(f'$d{i} << EOD\n{b}\nEOD\n' for i, b in enumerate(blocks))
    head = f"set terminal pngcairo size {SIZE} font 'sans,11'\nset output '{path}'\nset grid lc rgb '#dddddd'\nset key outside below\n"
    r = subprocess.run(['gnuplot'], input=data + head + script, capture_output=True, text=True, check=False, timeout=60)
    if r.returncode != 0:
        print(f'gnuplot, {stem}: {r.stderr[-300:]}', file=sys.stderr)
        return None
    return path


def quoted(text):
    return "'" + text.replace("'", "''") + "'"


def percentiles(directory, found, what, stem):
    """Latency against 1 / (1 - quantile), both logarithmic: 99 % stands at 100, 99.9 % at 1000."""
    blocks, plots = [], []
    most = 100
    for r in found:
        h = r['latency'][what]
        if not h['count']:
            continue
        points = [(1 / (1 - q) if q < 1 else h['count'], v) for q, v in results.curve(h)]
        points = [(x, v) for x, v in points if x <= h['count'] / 2] or points[:1]
        most = max(most, points[-1][0])
        plots.append(f'$d{len(blocks)} using 1:($2/1e3) with lines lw 2 lc rgb {quoted(PALETTE[len(blocks) % len(PALETTE)])} title {quoted(results.name(r))}')
        blocks.append('\n'.join(f'{x} {v}' for x, v in points))
    tics = ', '.join(f"'{t}' {x}" for t, x in (('0', 1), ('50 %%', 2), ('90 %%', 10), ('99 %%', 100), ('99.9 %%', 1000), ('99.99 %%', 1e4), ('99.999 %%', 1e5)) if x <= most * 2)
    script = (f"set logscale xy\nset xtics ({tics})\nset xrange [1:{most}]\nset format y '%.0f'\nset ylabel 'microseconds'\nset encoding utf8\n"
              f"plot {', '.join(plots)}\n")
    return gnuplot(directory, stem, script, blocks)


def against_rate(directory, found, stem):
    blocks, plots = [], []
    for broker in dict.fromkeys(r['broker'] for r in found):
        rows = sorted((r for r in found if r['broker'] == broker), key=lambda r: r['rate'])
        for q in ('p50', 'p99'):
            points = [(r['records_per_s']['achieved'], v) for r in rows if (v := results.value(r, q))]
            if not points:
                continue
            colour = PALETTE[len(blocks) % len(PALETTE)]
            plots.append(f'$d{len(blocks)} using 1:2 with linespoints pt 7 lw 2 lc rgb {quoted(colour)} title {quoted(f"{broker} {q}")}')
            blocks.append('\n'.join(f'{x} {v}' for x, v in points))
    script = ("set logscale xy\nset xlabel 'records a second, acknowledged in time'\nset ylabel 'microseconds, due to answer'\nset format y '%.0f'\n"
              f"plot {', '.join(plots)}\n")
    return gnuplot(directory, stem, script, blocks)


def time_series(directory, r, stem):
    step = r['interval_s']
    rows = [(i * step, s) for i, s in enumerate(r['series'])]
    latency = '\n'.join(f'{t} {s["produce"]["p50"]} {s["produce"]["max"]}' for t, s in rows if s['produce']['count'])
    rate = '\n'.join(f'{t} {s["due"] / step} {s["acked"] / step}' for t, s in rows)
    if not latency:
        return None
    marks = ''.join(f"set arrow from {m['at_s']}, graph 0 to {m['at_s']}, graph 1 nohead lc rgb '#d1495b' dt 2\n"
                    f"set label {quoted(m['text'])} at {m['at_s']}, graph {0.94 - 0.08 * (i % 8)} offset 0.5,0 tc rgb '#d1495b'\n" for i, m in enumerate(r.get('marks', [])))
    script = ("set multiplot layout 2,1\nset key top right inside\n" + marks +
              "set logscale y\nset format y '%g'\nset ylabel 'ms, by when it was due'\n"
              "plot $d0 using 1:($3/1e6) with lines lw 2 lc rgb '#d1495b' title 'longest', $d0 using 1:($2/1e6) with lines lw 2 lc rgb '#1b6ca8' title 'median'\n"
              "unset logscale y\nset format y '%.0f'\nset ylabel 'requests a second'\nset xlabel 'seconds'\n"
              "plot $d1 using 1:2 with lines lw 1 lc rgb '#888888' title 'due', $d1 using 1:3 with lines lw 2 lc rgb '#3a7d44' title 'acknowledged'\n")
    return gnuplot(directory, stem, script, [latency, rate])


def stage_bars(directory, found, stem):
    """A bar of a run on top of the other, the parts of a mean request from left to right."""
    bars = [(r, results.bar(r)) for r in reversed(found)]
    bars = [(r, b) for r, b in bars if b]
    if not bars:
        return None
    block = '\n'.join(f'{i} ' + ' '.join(f'{v}' for _, v in b) for i, (_, b) in enumerate(bars))
    tics = ', '.join(f'{quoted(results.name(r).removesuffix(" · tidemark"))} {i}' for i, (r, _) in enumerate(bars))
    parts = [what for what, _ in bars[0][1]]
    # From 0 to the sum up to each part, the longest drawn first: nothing stays of it but what the others leave.
    plots = ', '.join(f"$d0 using (0.5*(sum [c=2:{n + 2}] column(c))):1:(0.5*(sum [c=2:{n + 2}] column(c))):(0.35) with boxxyerror fs solid 1 noborder "
                      f"lc rgb {quoted(PALETTE[n % len(PALETTE)])} title {quoted(parts[n])}" for n in reversed(range(len(parts))))
    script = (f"set ytics ({tics})\nset yrange [-0.6:{len(bars) - 0.4}]\nset xrange [0:*]\nset xlabel 'microseconds of a mean request'\nset grid x\nset encoding utf8\n"
              f"set key reverse Left\nplot {plots}\n")
    return gnuplot(directory, stem, script, [block])


def stage_table(found):
    rows = []
    for r in found:
        b = results.bar(r)
        if b:
            aside = [r['stages'].get(s, {}).get('mean_us') for s in results.ASIDE]
            rows.append([html.escape(results.name(r)), *(number(v) for _, v in b), *(number(v) for v in aside)])
    head = ('mean, us', *results.STAGES, 'client and wire', *(f'({s})' for s in results.ASIDE))
    return table([x.replace('_', ' ') for x in head], rows) if rows else ''


def staged(directory, found):
    text = stage_table(found)
    if not text:
        return []
    return ['<h2>Stages</h2>', '<p>Where a mean request is between the moment it was due and its answer. The broker takes the frame off its port and then: <b>tcp</b> '
            'hands its bytes over, <b>queue</b> waits for the request\'s turn on its connection, <b>parse</b>, <b>home</b> goes to the core that has the partition, <b>append</b> into the log\'s memory, '
            '<b>watermark</b> waits until enough replicas have it, <b>respond</b>, <b>transmit</b> until the port has the answer. What is left is the client\'s and the wire\'s. In brackets what the watermark waits for, which goes on side by side: '
            'a write for the one before (disk wait) and for the device (disk), a message for a follower\'s stream (send) and for its acknowledgement. Means, with the warm-up in them: quantiles of parts do not add up.</p>',
            text, picture(stage_bars(directory, found, 'stages'), 'parts of a mean request')]


def number(v, digits=3):
    if v is None:
        return '–'
    return f'{v:.{max(0, digits - 1 - math.floor(math.log10(abs(v))))}f}' if 0 < abs(v) < 10 ** digits else f'{v:.0f}'


def state(r):
    text = '<span class=ok>valid</span>' if r['valid'] else f'<span class=bad title="{html.escape("; ".join(r["reasons"]))}">invalid</span>'
    return text if r['sustained'] else text + ' <span class=bad>not sustained</span>'


def table(head, rows):
    """Cells are HTML."""
    return '<table>' + ''.join('<tr>' + ''.join(f'<{tag}>{c}</{tag}>' for c in row) + '</tr>' for tag, row in [('th', head), *(('td', r) for r in rows)]) + '</table>'


def median(values):
    values = [v for v in values if v]
    return statistics.median(values) if values else None


def changes_table(by):
    """A setting a row, beside the scenario as it is: {(broker, change): rounds}."""
    rows = []
    for (broker, change), rounds in by.items():
        base, measure = by.get((broker, ()), []), results.measure(rounds[0])
        cells = [f'{html.escape(results.changed(rounds[0]))} · {broker}' + (', due to read' if measure == 'e2e' else '')]
        for what in (lambda r, m=measure: results.value(r, 'p50', m), lambda r, m=measure: results.value(r, 'p99', m), results.cpu_per_million):
            ratio = results.beside(rounds, base, what) if change else None
            cells += [number(median(map(what, rounds))), number(ratio)]
        rows.append([*cells, number(median(r['records_per_s']['achieved'] for r in rounds)), state(rounds[0]) if len(rounds) == 1 else f'{sum(r["valid"] and r["sustained"] for r in rounds)} of {len(rounds)} valid'])
    return table(('', '50 %', 'to the base', '99 %', 'to the base', 'CPU s / million', 'to the base', 'in time', ''), rows)


def crossed_table(by):
    """The last of the lines goes across, the others down: 50 %, 99 % and records a second in time."""
    across = list(dict.fromkeys(change[-1] for _, change in by))
    rows = []
    for left in dict.fromkeys((broker, change[:-1]) for broker, change in by):
        cells = [html.escape(', '.join(f'{results.short(k)}={v}' for k, v in left[1]) + f' · {left[0]}')]
        for last in across:
            rounds = by.get((left[0], (*left[1], last)), [])
            p50, p99 = (number(results.median(rounds, q)) for q in ('p50', 'p99'))
            bad = any(not r['valid'] or not r['sustained'] for r in rounds)
            cells.append(f'{p50} / {p99} ({number(median(r["records_per_s"]["achieved"] for r in rounds))}/s)' + (' <span class=bad>*</span>' if bad else ''))
        rows.append(cells)
    return table(('50 % / 99 % (in time)', *(html.escape(f'{results.short(k)}={v}') for k, v in across)), rows)


def varied(found):
    page = []
    for scenario, by in results.variants(found).items():
        is_crossed = not any(change == () for _, change in by)
        page += [f'<h2>{html.escape(scenario)}</h2>', crossed_table(by) + '<p>*: invalid or not sustained</p>' if is_crossed else changes_table(by)]
    return page


def figures(found):
    rows = []
    for r in found:
        cells = [number(results.value(r, q)) for q in ('p50', 'p90', 'p99', 'p99.9', 'p99.99')] + [number(r['latency'][results.measure(r)]['max'] / 1e3)]
        cells += [number(results.value(r, 'p50', 'e2e')), number(results.value(r, 'p99', 'e2e'))]
        cells += [f'{r["records_per_s"]["intended"]:.0f}', f'{r["records_per_s"]["achieved"]:.0f}', number(results.cpu_per_million(r)), state(r)]
        rows.append(f'<tr><td>{html.escape(results.name(r))}</td>' + ''.join(f'<td>{c}</td>' for c in cells) + '</tr>')
    head = ''.join(f'<th>{h}</th>' for h in ('', '50 %', '90 %', '99 %', '99.9 %', '99.99 %', 'most', 'read, 50 %', 'read, 99 %', 'records/s due',
                                             'in time', 'CPU s / million', ''))
    return f'<table><tr>{head}</tr>{"".join(rows)}</table>'


def ratio_table(found):
    rows = []
    for what, v in results.ratios(found).items():
        rows.append(f'<tr><td>{html.escape(what)}</td><td>{v:.2f}</td></tr>')
    return f'<table><tr><th></th><th>ratio</th></tr>{"".join(rows)}</table>' if rows else '<p>No floor and no other broker were measured.</p>'


def searched_table(found):
    rows = [f'<tr><td>{html.escape(f"{s} · {b}")}</td><td>{v:.0f}</td></tr>' for (s, b), v in results.searched(found).items()]
    return f'<table><tr><th></th><th>most records a second that were sustained</th></tr>{"".join(rows)}</table>' if rows else ''


def phases(r):
    """Between one mark and the next. Who has no ISR in its marks was not asked for it."""
    found = results.phases(r)
    asked = any(p['isr'] for p in found)
    rows = [(html.escape(f'{p["from"]} – {p["to"]}'), f'{p["seconds"]:.1f}', p['due'], p['acked'], number(p['median']), number(p['longest']),
             *([', '.join(map(str, p['isr']))] if asked else [])) for p in found]
    return table(('', 'seconds', 'requests due', 'acknowledged', 'wait, ms: median of the steps', 'longest', *(['ISR'] if asked else [])), rows)


def how_slow(r):
    """What drag.py told: that nobody was silent is for the reader to see."""
    return ''.join(f'<p>It was to run {d["run_ms"]:g} ms and to stand {d["stand_ms"]:g} in turn. It ran {100 * d["ran_s"] / (d["ran_s"] + d["stood_s"]):.2g} % '
                   f'of the time, and stood for {1e3 * d["longest_s"]:.0f} ms at most.</p>' for d in r.get('dragged', []))


def told_machine(found):
    m = found[0]['machine']
    return f'{m["cpus"]} × {m["cpu"]}, kernel {m["kernel"]}'


def beside_earlier(found, earlier):
    """Ratios of this run and of one before it, and whether they agree."""
    compared, lone = results.agreement(earlier, found)
    rows = [(html.escape(what), f'{a:.2f}', f'{b:.2f}', f'{apart:.0f} %', '<span class=ok>agrees</span>' if agrees else '<span class=bad>differs</span>')
            for what, a, b, apart, agrees in compared]
    agree = compared and all(agrees for *_, agrees in compared)
    invalid = ', '.join(f'{sum(not r["valid"] or not r["sustained"] for r in x)} of {len(x)} {when}' for x, when in ((earlier, 'then'), (found, 'now')))
    others = '' if told_machine(earlier) == told_machine(found) else f' <span class=bad>Another machine: {html.escape(told_machine(earlier))}.</span>'
    commits = html.escape(', '.join(dict.fromkeys(x['commit'] for x in earlier)))
    return ['<h2>Beside an earlier run</h2>', f'<p class={"ok" if agree else "bad"}><b>{results.verdict(compared)}</b></p>',
            table(('', 'then', 'now', 'apart', ''), rows) if rows else '',
            f'<p>Commit {commits} then. Each ratio is taken within its run, of medians of its rounds that were sustained; apart is the larger by the smaller. '
            f'Invalid or not sustained: {invalid}.{others}</p>',
            f'<p>In one of the two only: {html.escape(", ".join(lone))}.</p>' if lone else '']


def picture(path, text):
    if path is None:
        return ''
    return f'<figure><img alt="{html.escape(text)}" src="data:image/png;base64,{base64.b64encode(path.read_bytes()).decode()}"><figcaption>{html.escape(text)}</figcaption></figure>'


def machine_lag(found):
    """How late the write floor was, which has no broker and no client beside it: the machine's own part."""
    alone = [r['counts'] for r in found if r.get('kind') == 'write']
    due, late = sum(c['due'] for c in alone), sum(c['late'] for c in alone)
    if not late:
        return ''
    return (f'<p>The write floor, one process that sleeps and writes with nothing beside it, was late with {100 * late / due:.2g} % of its requests. As much of the '
            'lateness below is this machine\'s, whatever runs on it.</p>')


def reasons(found):
    rows = [f'<li><b>{html.escape(results.name(r))}</b>: {html.escape(x)}</li>' for r in found for x in r['reasons']]
    return f'<h2>What must not be believed</h2>{machine_lag(found)}<ul>{"".join(rows)}</ul>' if rows else ''


def circumstances(found):
    r = found[0]
    m = r['machine']
    loads = [x['machine']['load_before'][0] for x in found]
    rows = [('machine', f'{m["cpus"]} × {m["cpu"]}, {m["memory_bytes"] / 2**30:.1f} GiB, {m["architecture"]}'), ('kernel', f'{m["system"]} {m["kernel"]}, clock {m["clocksource"]}'),
            ('commit', ', '.join(dict.fromkeys(x['commit'] for x in found))), ('load of the machine before', f'{min(loads):.1f} to {max(loads):.1f}'),
            ('wire', r.get('wire', '')), ('seed', r['options']['seed'])]
    rows += [(f'settings of {b}', html.escape(', '.join(f'{k}={v}' for k, v in s.items()))) for b, s in {x['broker']: x.get('settings', {}) for x in found}.items() if s]
    return '<table>' + ''.join(f'<tr><td>{k}</td><td style="text-align:left">{v}</td></tr>' for k, v in rows) + '</table>'


def raw(found):
    parts = []
    for r in found:
        name = r['path'].name
        text = r['path'].read_text().replace('</', '<\\/')
        parts.append(f'<li><a href="results/{name}">{name}</a> ({", ".join(html.escape(f"{k}={v}") for k, v in r["options"].items() if k in ("acks", "rate", "record.bytes", "batch.records", "partitions", "producers", "arrivals"))})'
                     f'<script type="application/json" id="{name}">{text}</script></li>')
    return ''.join(parts)


def write(directory, earlier=None):
    """`earlier` are results; without them, those that the directory keeps of the run before."""
    directory = pathlib.Path(directory)
    found = results.load(directory)
    if earlier is None and (directory / 'before').is_dir():
        earlier = results.load(directory / 'before')
    if not found:
        raise SystemExit(f'{directory}: there are no results')
    alone = [r for r in found if not r.get('change')]  # variants have tables of their own
    plain = [r for r in alone if not r.get('sweep') and not r.get('marks') and r.get('round', 1) == 1]
    sweep = [r for r in found if r.get('sweep')]
    faults = [r for r in found if r.get('marks')]
    page = [f'<!doctype html><meta charset="utf-8"><title>Tidemark, measured</title><style>{STYLE}</style><h1>Tidemark, measured</h1>',
            '<p>Latency in microseconds from the moment a request was <i>due</i> on a schedule that was fixed ahead, so a stall counts for everyone '
            'who would have sent in it. A run that could not keep its schedule is marked invalid, with the reason below.</p>', circumstances(found),
            *(['<h2>Figures</h2>', figures(alone)] if alone else []), '<h2>Ratios within this run</h2>',
            '<p>To the floor: what the same bytes take there and back through the same port and TCP without a broker, and what the device takes for them.</p>', ratio_table(found),
            *(beside_earlier(found, earlier) if earlier else []), reasons(found), '<h2>Percentiles</h2>', picture(percentiles(directory, plain, 'produce', 'percentiles'), 'due to answer'),
            picture(percentiles(directory, plain, 'e2e', 'percentiles-read'), 'due to read')]
    page += staged(directory, [r for r in alone if not r.get('marks') and not r.get('search') and r.get('round', 1) == 1])
    if sweep:
        page += ['<h2>Latency against rate</h2>', searched_table(found)]
        for i, scenario in enumerate(dict.fromkeys(r['scenario'] for r in sweep)):
            page.append(picture(against_rate(directory, [r for r in sweep if r['scenario'] == scenario], f'rate-{i}'), f'{scenario}: each point is a run of its own'))
    page += varied(found)
    for i, r in enumerate(faults):
        page += [f'<h2>{html.escape(results.name(r))}</h2>', f'<p>Longest wait of a request: {r["latency"]["produce"]["max"] / 1e6:.0f} ms. '
                 f'{r["counts"]["resent"]} sent again, {r["counts"]["missing"]} acknowledged and not read, {r["counts"]["duplicates"]} records read twice.</p>', phases(r), how_slow(r),
                 picture(time_series(directory, r, f'series-{i}'), 'around the fault; latency stands where the request was due')]
    page += ['<h2>Raw data</h2><p>As JSON (also inside of this page) and, beside each, as HdrHistogram log (.hdr).</p><ul>', raw(found), '</ul>']
    (directory / 'index.html').write_text('\n'.join(page), encoding='utf-8')
    return directory / 'index.html'


if __name__ == '__main__':
    if len(sys.argv) not in (2, 3):
        raise SystemExit(__doc__)
    print(write(sys.argv[1], results.load(sys.argv[2]) if len(sys.argv) == 3 else None))
