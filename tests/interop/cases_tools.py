# SPDX-License-Identifier: Apache-2.0
"""The load generator, Kafka's own tools, and groups of unmodified clients."""
import json
import os
import pathlib

import members
from cases import case, case_of_each_port
from clients import kafka_tools
from world import BOOT, CLIENT, expect, lines, sh

HERE = pathlib.Path(__file__).resolve().parent


# ---- the load generator ------------------------------------------------------------------------------------------------

def load_run(w, *args, status=0):
    """One run of tidemark-load: what it wrote. Whether it was late is the machine's affair and never judged here."""
    path = w.dir / 'load.json'
    path.unlink(missing_ok=True)
    r = w.client(w.tools / 'bench/load/tidemark-load', '--bootstrap', BOOT, '--lag.share', 1, '--warmup.s', 0.5, '--duration.s', 1.5, '--rate', 400,
                 '--json', path, *args, check=False)
    expect(r.returncode == status, f'tidemark-load {args}: status {r.returncode}\n{r.stdout}{r.stderr}')
    return json.loads(path.read_text()) if path.exists() else r.stderr


def expect_load(found, **wanted):
    counts = {**found['counts'], 'valid': found['valid'], 'measured': found['latency']['e2e']['count']}
    for name, value in {'valid': True, 'not_sent': 0, 'failed': 0, 'unanswered': 0, 'missing': 0, 'damaged': 0, 'malformed': 0, 'foreign': 0,
                        'duplicates': 0, 'disorder': 0, 'lost': 0, **wanted}.items():
        expect(counts[name] == value, f'{name} is {counts[name]} instead of {value}: {found["counts"]}, {found["reasons"]}, {found["errors"]}')


@case
def the_load_generator_counts_what_it_sends(w):
    for acks in ('0', '1', 'all'):
        found = load_run(w, '--topic', f'load-{acks}', '--create', 'yes', '--partitions', 2, '--acks', acks, '--hdr', w.dir / 'load.hdr')
        expect_load(found, due=800, sent=800, resent=0, acked=800, records=800, measured=600)
        expect(found['latency']['produce']['count'] == (0 if acks == '0' else 600), found['latency']['produce']['count'])
        expect(sum(n for _, n in found['latency']['e2e']['counts']) == 600, 'a histogram without its counts')
        expect(sum(i['due'] for i in found['series']) == 800, 'a series without its requests')
        lines = (w.dir / 'load.hdr').read_text().splitlines()
        expect(lines[0].startswith('#[') and any(x.startswith('Tag=e2e,0.000,') for x in lines), lines[:5])
    found = load_run(w, '--topic', 'load-many', '--create', 'yes', '--partitions', 3, '--producers', 6, '--threads', 2, '--batch.records', 4,
                     '--record.bytes', 1000, '--idempotent', 'yes', '--arrivals', 'exponential')
    n = found['counts']['due']
    expect(100 < n < 300, f'{n} requests are due')
    expect_load(found, acked=n, records=4 * n)


@case
def the_load_generator_tells_what_went_wrong(w):
    found = load_run(w, '--topic', 'load-all', '--rate', 50000, '--outstanding.max', 1, '--consume', 'no', status=3)
    expect(not found['valid'] and any(r.startswith('not sent: ') for r in found['reasons']), found['reasons'])
    expect(found['counts']['acked'] + found['counts']['not_sent'] == found['counts']['due'] == 100000, found['counts'])
    expect('there is no such topic' in load_run(w, '--topic', 'load-none', status=1), 'a topic that is not there')
    expect('fewer partitions' in load_run(w, '--topic', 'load-all', '--partitions', 3, status=1), 'a partition that is not there')
    expect("'31' is not a whole number from 32" in load_run(w, '--record.bytes', 31, status=2), 'a record that is too small')
    found = load_run(w, '--topic', 'load-all', '--record.bytes', 1000000, '--batch.records', 2, '--rate', 20, '--consume', 'no', status=3)
    expect(found['errors'] == {'MESSAGE_TOO_LARGE': 20} and found['counts']['failed'] == 20, found['errors'])


@case_of_each_port
def the_load_generator_on_our_own_tcp(w):
    """The same stack at both ends: the client's cable is its port, of which the client's kernel knows nothing."""
    w.topic('load-bypass')
    sh('ip', '-n', w.ns_client, 'addr', 'flush', 'dev', w.dev_client)
    try:
        found = load_run(w, '--topic', 'load-bypass', '--address', f'{CLIENT}/24', '--transport',
                         f'vdev:net_af_packet0,iface={w.dev_client}')
    finally:
        sh('ip', '-n', w.ns_client, 'addr', 'add', f'{CLIENT}/24', 'dev', w.dev_client)
    expect_load(found, due=800, acked=800, records=800, measured=600)


# ---- Kafka's own tools ----------------------------------------------------------------------------------------------------------

@case
def kafkas_own_dump_tool_reads_closed_files(w):
    """Segments, indexes, time indexes, a producer snapshot by kafka.tools.DumpLogSegments; leader epochs by the class that reads them."""
    jars = kafka_tools()

    def java(*args):
        r = sh('java', '-Xmx256m', '-cp', jars, *args, check=False, timeout=180)
        expect(r.returncode == 0 and 'Exception' not in r.stderr, f'{args[0]}: {r.stdout[-300:]} {r.stderr[-700:]}')
        return r.stdout

    path = w.dir / 'in'
    w.topic('dumped', segment_bytes=1 << 20, index_interval_bytes=2000)
    sent = ''
    for i, codec in enumerate(('none', 'gzip', 'snappy', 'lz4', 'zstd')):
        more = ''.join(f'{codec} {n} {os.urandom(200).hex()}\n' for n in range(6000))
        path.write_text(more)
        w.produce('dumped', path, '-z', codec, '-X', 'enable.idempotence=true', '-X', 'batch.num.messages=50')
        sent += more
        if i == 2:
            w.kill()  # another leader epoch
            w.start()
    w.stop()
    there = w.data / 'dumped-0'
    logs = sorted(there.glob('*.log'))
    expect(len(logs) > 4, f'{len(logs)} segments')
    dump = java('kafka.tools.DumpLogSegments', '--print-data-log', '--files', ','.join(map(str, logs)))
    payloads = [l.split(' payload: ', 1)[1] for l in dump.splitlines() if ' payload: ' in l]
    expect(payloads == sent.splitlines(), f'{len(payloads)} records come out of {len(sent.splitlines())}')
    expect('isvalid: false' not in dump and dump.count('isvalid: true') >= 300, 'a batch is not valid')
    for suffix in ('index', 'timeindex'):
        files = sorted(there.glob(f'*.{suffix}'))
        expect(len(files) == len(logs), f'{len(files)} {suffix} files')
        text = java('kafka.tools.DumpLogSegments', '--verify-index-only', '--files', ','.join(map(str, files)))
        for word in ('Mismatches', 'Out of order', 'not found', 'Non-increasing', 'bigger than'):
            expect(word.lower() not in text.lower(), f'{suffix}: {text[-500:]}')
        text = java('kafka.tools.DumpLogSegments', '--index-sanity-check', '--files', ','.join(map(str, files)))
        expect(text.count('passed sanity check') == len(files), text[-500:])
        text = java('kafka.tools.DumpLogSegments', '--files', ','.join(map(str, files)))
        expect(sum(l.startswith(('offset: ', 'timestamp: ')) for l in text.splitlines()) >= 2 * len(files), f'{suffix}: hardly any entry: {text[:300]}')
    snapshots = sorted(there.glob('*.snapshot'))
    expect(snapshots, 'no producer snapshot')
    text = java('kafka.tools.DumpLogSegments', '--files', str(snapshots[-1]))
    found = [l for l in text.splitlines() if l.startswith('producerId: ')]
    newest = {l.split()[1]: l for l in found}  # several batches of each, in order: the tool's own reader keeps the last one as well
    expect(len(newest) == 5 and len(found) <= 25 and all('producerEpoch: 0' in l and 'lastSequence: 5999' in l for l in newest.values()), text[-800:])
    epochs = [tuple(map(int, l.split())) for l in (there / 'leader-epoch-checkpoint').read_text().splitlines()[2:]]
    expect(len(epochs) == 2 and epochs[1][1] == 18000, f'{epochs}')
    if 'jdk.compiler' in sh('java', '--list-modules').stdout:
        text = java(str(HERE / 'kafka-tools/LeaderEpochs.java'), str(there / 'leader-epoch-checkpoint'))
        expect([tuple(map(int, l.split())) for l in text.splitlines()] == epochs, text)
    w.start()
    expect(w.consume('dumped') == sent, 'differs')


for group_case in members.cases:
    case(group_case)
