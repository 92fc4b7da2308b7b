# SPDX-License-Identifier: Apache-2.0
"""What log directories hold, and what goes from them: several of them, deleted records, retention, compaction."""
import time

import wire
from cases import case
from world import BOOT, expect, lines, sh, wait_until


@case
def several_log_dirs(w):
    """Spread, found again after a kill, refused when one is missing; what belongs to no topic is set aside."""
    daemon, tool = w.build / 'control/daemon/tidemarkd', w.build / 'control/tool/tidemark'
    dirs = [w.data, w.dir / 'second', w.dir / 'third']

    def held(topic):
        return sorted((d.name, p.name) for d in dirs for p in d.glob(f'{topic}-[0-9]*') if '.' not in p.name)

    w.topic('first')
    first = lines(1000)
    path = w.dir / 'in'
    path.write_text(first)
    w.produce('first', path, '-X', 'acks=all')
    w.stop()
    w.start(log_dirs=','.join(map(str, dirs)))
    w.topic('spread', partitions=6)
    sent = lines(6000)
    path.write_text(sent)
    w.produce('spread', path, '-X', 'acks=all')
    where = held('spread')
    expect(len(where) == 6 and {d for d, _ in where} >= {'second', 'third'}, f'not spread: {where}')
    w.kill()
    stray = dirs[1] / 'nobody-0'
    stray.mkdir()
    (stray / 'partition.metadata').write_text('version: 0\ntopic_id: AQIDAAAAAAAAAAAAAAAAAA\n')
    w.start()
    expect(held('spread') == where, 'partitions moved')
    expect(sorted(w.consume('spread').splitlines()) == sorted(sent.splitlines()), 'records differ after the kill')
    expect(w.consume('first') == first, 'the older topic differs')
    expect(not stray.exists() and (dirs[1] / 'nobody-0.AQIDAAAAAAAAAAAAAAAAAA-stray').is_dir(), 'the stray directory was not set aside')
    expect('belongs to no topic' in w.log.read_text(), 'nothing was said of it')
    w.stop()
    for given, word in ((dirs[:2], 'is missing'), (dirs[1:], 'is missing' if (dirs[1] / 'log-directories').exists() else 'metadata log'),
                        ([dirs[0], dirs[0]], 'twice'), ([dirs[0], dirs[0] / 'inner'], 'inside')):
        r = sh('ip', 'netns', 'exec', w.ns_broker, daemon, '--config', w.config(log_dirs=','.join(map(str, given))), check=False, timeout=60)
        expect(r.returncode > 0 and word in r.stderr, f'{given}: {r.returncode} {r.stderr[-400:]}')
    w.start()
    w.client(tool, 'topic', 'delete', '--bootstrap', BOOT, '--topic', 'spread')
    wait_until(60, lambda: not [p for d in dirs for p in d.glob('spread-*')], 'files of a deleted topic are left')
    w.stop()
    known = w.data / 'log-directories'
    known.write_text(''.join(l for l in known.read_text().splitlines(True) if l.rstrip().endswith(str(w.data))))
    w.settings = {}
    w.start()
    expect(w.consume('first') == first, 'the older topic differs with one directory again')


@case
def records_are_deleted(w):
    sent = lines(3000).splitlines(keepends=True)
    path = w.dir / 'in'
    path.write_text(''.join(sent))
    w.topic('trimmed')
    w.produce('trimmed', path, '-X', 'acks=all')
    s = w.connect()

    def delete(offset, topic='trimmed', partition=0, **kw):
        return wire.delete_records_result(wire.ask(s, wire.delete_records(topic, offset, partition, **kw)), topic)

    expect(delete(1000) == (0, 1000), 'the first thousand')
    expect(delete(500) == (0, 1000), 'it does not fall')
    expect(delete(3001) == (1, -1), 'beyond the high watermark')
    expect(delete(-2) == (1, -1), 'a negative offset')
    expect(delete(5, topic='absent') == (3, -1), 'no such topic')
    expect(delete(5, partition=7) == (3, -1), 'no such partition')
    expect(w.consume('trimmed') == ''.join(sent[1000:]), 'what is left')
    w.kill()
    w.start()
    expect(w.consume('trimmed') == ''.join(sent[1000:]), 'what is left after a kill')
    s = w.connect()
    expect(delete(-1) == (0, 3000), 'all of it')
    expect(w.consume('trimmed') == '', 'nothing is left')
    w.produce('trimmed', path, '-X', 'acks=all')
    expect(w.consume('trimmed') == ''.join(sent), 'it goes on')


@case
def old_segments_go(w):
    w.stop()
    w.settings = {'log_retention_check_interval_ms': 300, 'log_segment_bytes': 1048576, 'message_max_bytes': 1000000,
                  'log_retention_bytes': 3000000}
    w.start()
    path = w.dir / 'in'
    path.write_text(lines(80000))
    for _ in range(8):
        w.produce('kept', path, '-X', 'acks=all')
    wait_until(60, lambda: w.total('tidemark_log_segments_removed_total') > 0, 'nothing was removed')
    left = None
    until = time.monotonic() + 60
    while left != (left := w.consume('kept').splitlines(keepends=True)) and time.monotonic() < until:
        time.sleep(1)  # several looks of the broker; until no more goes
    everything = lines(80000).splitlines(keepends=True) * 8
    expect(0 < len(left) < len(everything) and left == everything[-len(left):], 'what is left is not the end of what was sent')
    expect(sum(len(x) for x in left) > 1000000, 'too much was removed')
    w.kill()
    w.start()
    expect(w.consume('kept').splitlines(keepends=True) == left, 'differs after a kill')
    w.stop()
    w.settings = {}
    w.start()


@case
def old_values_are_compacted_away(w):
    w.stop()
    w.settings = {'log_cleanup_policy': 'compact', 'log_cleaner_backoff_ms': 300, 'log_segment_bytes': 1048576,
                  'message_max_bytes': 1000000, 'log_cleaner_min_cleanable_ratio': 0.1,
                  'log_cleaner_delete_retention_ms': 0}
    w.start()
    keys, rounds = 200, 100
    path = w.dir / 'in'
    latest = {}
    for codec in ('none', 'gzip', 'snappy', 'lz4', 'zstd'):
        out = []
        for r in range(rounds):
            for k in range(keys):
                latest[f'key{k}'] = f'{codec}-{r}-{k}-' + str(k * r % 977) * 30
                out.append(f'key{k}={latest[f"key{k}"]}\n')
        path.write_text(''.join(out))
        w.produce('table', path, '-K=', '-X', 'acks=all', '-X', f'compression.codec={codec}', '-X', 'enable.idempotence=true')
    gone = [f'key{k}' for k in range(0, keys, 2)]
    path.write_text(''.join(f'{k}=\n' for k in gone)) # tombstones
    w.produce('table', path, '-K=', '-Z', '-X', 'acks=all')
    for k in gone:
        del latest[k]
    filler = ''.join(f'filler{i % 50}={"x" * 900}\n' for i in range(2500)) # the tombstones are in a closed segment then
    path.write_text(filler)
    w.produce('table', path, '-K=', '-X', 'acks=all')

    def seen():
        rows = [x.split('=', 1) for x in w.consume('table', '-K=').splitlines() if x]
        table = {}
        for key, value in rows:
            table[key] = value
        return len(rows), {k: v for k, v in table.items() if not k.startswith('filler')}

    until = time.time() + 120
    while time.time() < until:
        count, table = seen()
        if count < keys * rounds and not any(k in table for k in gone):
            break
        time.sleep(0.5)
        w.produce('table', path, '-K=', '-X', 'acks=all') # what is dirty must be worth a round; tombstones go in the second
    expect(count < keys * rounds, f'{count} records are left, nothing was compacted')
    # Segments may be replaced while they are looked at.
    wait_until(60, lambda: sh(w.tools / 'control/tool/tidemark', 'log', 'verify', w.data / 'table-0', check=False).returncode == 0, 'the files are not whole', every=1)
    wrong = {k for k in latest.keys() | table.keys() if latest.get(k) != table.get(k)}
    expect(not wrong, f'not the newest value of every key: {sorted(wrong)[:5]}, {len(wrong)} in all')
    m = w.metrics()
    expect(m.get('tidemark_log_compactions_total{core="0"}', 0) > 0, 'no compaction came to its end')
    expect(m.get('tidemark_log_compaction_errors_total{core="0"}', 0) == 0, 'a compaction failed')
    w.kill()
    w.start()
    expect(seen()[1] == latest, 'differs after a kill')
    path.write_text('key1=again\n')
    w.produce('table', path, '-K=', '-X', 'acks=all')
    latest['key1'] = 'again'
    expect(seen()[1] == latest, 'what was appended behind it is missing')
    w.stop()
    w.settings = {}
    w.start()
