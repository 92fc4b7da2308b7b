# SPDX-License-Identifier: Apache-2.0
"""Disks that fail, are slow or full."""
import json
import os
import signal
import subprocess

import wire
from cases import case, healthy
from clients import Skip
from world import BOOT, expect, lines, sh, used_below, wait_until


def health(w):
    return sh('ip', 'netns', 'exec', w.ns_broker, 'curl', '-s', '-m', 30, 'http://127.0.0.1:9644/healthz').stdout.strip()


def traced(w, *args):
    return ['ip', 'netns', 'exec', w.ns_broker, str(w.tools / 'control/tool/tidemark'), 'trace', *args]


@case
def a_slow_request_is_traced(w):
    """Behind a slow disk: its stages add up, and the disk is named. Nothing is left behind a trace that was left."""
    module, fault = w.tools / 'tests/crash/disk_fault.so', w.dir / 'fault'
    path = w.dir / 'in'
    path.write_text(lines(1))
    w.topic('late', ack_durability='device')
    w.topic('other', ack_durability='device')
    w.stop()
    if 'libasan' in sh('ldd', w.build / 'control/daemon/tidemarkd').stdout:
        raise Skip('a sanitizer wants to be loaded first')
    w.env = {'LD_PRELOAD': str(module), 'TIDE_DISK_FAULT': str(fault)}

    def begun(*args):
        mark = w.log.read_text().count('a trace of late has begun')
        p = subprocess.Popen(traced(w, '--topic', 'late', *args), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        wait_until(60, lambda: w.log.read_text().count('a trace of late has begun') > mark or p.poll() is not None, 'no trace begins')
        expect(p.poll() is None, p.poll() is not None and p.stderr.read())
        return p

    try:
        w.start()
        w.produce('late', path, '-X', 'acks=all')  # the first write makes files
        fault.write_text('slow')
        p = begun('--slower-than', '250ms', '--count', '1', '--json')
        second = sh(*traced(w, '--topic', 'other'), check=False)
        expect(second.returncode == 1 and 'another trace is running' in second.stderr, second.stderr)
        w.produce('other', path, '-X', 'acks=all')
        w.produce('late', path, '-X', 'acks=all')
        out, err = p.communicate(timeout=60)
        expect(p.returncode == 0 and 'leads 1 of its 1 partitions' in err, err)
        r = json.loads(out)
        expect((r['topic'], r['partition'], r['acks'], r['end'], r['followers']) == ('late', 0, -1, 2, []), out)
        expect(list(r['stages_us']) == ['tcp', 'queue', 'parse', 'home', 'append', 'watermark', 'respond', 'transmit'], out)
        expect(abs(sum(r['stages_us'].values()) - r['took_us']) < 0.1 and r['took_us'] >= 250000, f'the stages do not add up: {out}')
        expect(r['slowest'] == 'watermark' and r['cause'].startswith('disk') and r['stages_us']['watermark'] >= 250000, out)
        appended = sum(r['stages_us'][s] for s in ('tcp', 'queue', 'parse', 'home', 'append'))
        expect(appended - 0.1 <= r['write_begun_us'] < r['write_done_us'] <= appended + r['stages_us']['watermark'] + 0.1, out)
        expect(r['write_done_us'] - r['write_begun_us'] >= 250000, out)
        expect(r['write_done_us'] <= r['high_watermark_us'] + 0.1 <= r['took_us'] + 0.2, out)
        fault.unlink()
        p = begun()
        p.kill()  # nobody asks any more: it ends by itself
        p.wait()
        wait_until(60, lambda: w.log.read_text().count('the trace has ended') == 2, 'a trace that was left does not end')
        p = begun('--slower-than', '0us', '--count', '2')  # and there can be another one, of whatever is produced
        w.produce('late', path, '-X', 'acks=all')
        w.produce('late', path, '-X', 'acks=0')
        out, err = p.communicate(timeout=60)
        expect(p.returncode == 0 and '2 requests' in err and 'acks=-1: ' in out and 'acks=0: ' in out and '<- slowest' in out, out + err)
        p = begun('--slower-than', '10s')
        p.send_signal(signal.SIGINT)
        out, err = p.communicate(timeout=60)
        expect(p.returncode == 0 and '0 requests' in err and out == '', out + err)
        none = sh(*traced(w, '--topic', 'nothing'), check=False)
        expect(none.returncode == 1 and 'there is no such topic' in none.stderr, none.stderr)
        p = begun()
        w.client(w.tools / 'control/tool/tidemark', 'topic', 'delete', '--bootstrap', BOOT, '--topic', 'late')
        err = p.communicate(timeout=60)[1]
        expect(p.returncode == 1 and 'the topic was deleted' in err, err)
        w.topic('late', ack_durability='device')
        p = begun('--slower-than', '0us')
        w.produce('late', path, '-X', 'acks=all')
        w.stop()  # a clean one, though somebody traces
        err = p.communicate(timeout=60)[1]
        expect(p.returncode == 1 and '/trace' in err, err)
    finally:
        fault.unlink(missing_ok=True)
        w.env = {}
        if w.alive():
            w.kill()
    absent = sh(*traced(w, '--topic', 'late'), check=False)
    expect(absent.returncode == 1 and 'connect' in absent.stderr, absent.stderr)
    w.start()
    healthy(w)


@case
def a_log_whose_writes_fail_comes_back(w):
    """P11, P9: it is fenced, and served again when the disk is well, with no hand needed; nobody else notices."""
    module, fault = w.tools / 'tests/crash/disk_fault.so', w.dir / 'fault'
    sent = lines(2000)
    path = w.dir / 'in'
    path.write_text(sent)
    w.topic('ill')
    w.stop()
    w.env = {'LD_PRELOAD': str(module), 'TIDE_DISK_FAULT': str(fault)}
    if 'libasan' in sh('ldd', w.build / 'control/daemon/tidemarkd').stdout:
        raise Skip('a sanitizer wants to be loaded first')
    try:
        w.start(auto_create_topics_enable='false')  # or the producer makes it again as soon as it is deleted
        before = w.total('tidemark_replica_failures_total')
        idempotent = ('-X', 'enable.idempotence=true', '-X', 'message.timeout.ms=120000')
        w.produce('ill', path, *idempotent)
        fault.touch()
        producer = w.client_start('kcat', '-b', BOOT, '-P', '-t', 'ill', '-l', path, *idempotent)
        wait_until(60, lambda: w.total('tidemark_replica_failures_total') > before + 1, 'no failure was noticed')
        expect(w.alive() and producer.poll() is None, 'the broker or the producer has gone')
        fault.unlink()
        _, err = producer.communicate(timeout=150)
        expect(producer.returncode == 0, f'the producer gave up: {err[-500:]}')
        wait_until(60, lambda: health(w) == 'ok', 'not well again')
        m = w.metrics()
        expect(m['tidemark_replicas_failed'] == 0 and m['tidemark_replica_reopens_total'] >= 2, f'{m}')
        expect(w.consume('ill') == sent * 2, 'records are missing, doubled or out of order')
        expect('its log has failed' in w.log.read_text() and 'ill-0 is served again' in w.log.read_text(), 'nothing was said of it')
        # Its topic can be deleted while it is out.
        fault.touch()
        producer = w.client_start('kcat', '-b', BOOT, '-P', '-t', 'ill', '-l', path, '-X', 'message.timeout.ms=15000')
        wait_until(60, lambda: w.metrics()['tidemark_replicas_failed'] == 1, 'no failure was noticed')
        w.client(w.tools / 'control/tool/tidemark', 'topic', 'delete', '--bootstrap', BOOT, '--topic', 'ill')
        wait_until(60, lambda: not list(w.data.glob('ill-*')), 'the directory of a deleted topic is left')
        producer.communicate(timeout=60)
    finally:
        fault.unlink(missing_ok=True)
        w.env, w.settings = {}, {}
        if w.alive():
            w.kill()
    w.start()
    healthy(w)


@case
def a_log_that_cannot_be_opened_comes_back(w):
    sent = lines(100)
    path = w.dir / 'in'
    path.write_text(sent)
    for topic in ('shut', 'doomed'):
        w.topic(topic)
        w.produce(topic, path, '-X', 'acks=all')
    w.stop()
    for topic in ('shut', 'doomed'):
        epochs = w.data / f'{topic}-0/leader-epoch-checkpoint'
        epochs.rename(w.dir / f'{topic}.epochs')
        epochs.symlink_to(epochs)  # ELOOP
    w.start()
    wait_until(60, lambda: health(w) == 'a replica has failed', 'what failed is not told')
    expect('shut-0 could not be opened' in w.log.read_text(), 'nothing was said of it')
    healthy(w)
    w.client(w.tools / 'control/tool/tidemark', 'topic', 'delete', '--bootstrap', BOOT, '--topic', 'doomed')
    wait_until(60, lambda: not list(w.data.glob('doomed-*')), 'the directory of a deleted topic is left')
    epochs = w.data / 'shut-0/leader-epoch-checkpoint'
    epochs.unlink()
    (w.dir / 'shut.epochs').rename(epochs)
    wait_until(60, lambda: health(w) == 'ok', 'not well again')
    expect(w.consume('shut') == sent, 'differs')


@case
def a_full_disk_refuses_and_recovers(w):
    """On a real file system of 48 MiB: refused before anything is written, reads go on, and it works again when there is space."""
    image, mount, path, ballast = w.dir / 'small.img', w.dir / 'small', w.dir / 'in', w.dir / 'small/ballast'
    with open(image, 'wb') as f:
        f.truncate(48 << 20)
    mount.mkdir()
    r = sh('mkfs.ext4', '-q', '-F', '-m', 0, image, check=False)
    if r.returncode == 0:
        r = sh('mount', '-o', 'loop', image, mount, check=False)
    if r.returncode != 0:
        raise Skip(f'no small file system can be made here: {r.stderr.strip()[-200:]}')
    w.stop()
    try:
        with open(ballast, 'wb') as f:
            os.posix_fallocate(f.fileno(), 0, 8 << 20)
        w.start(log_dirs=mount / 'data', log_segment_bytes=4 << 20, log_preallocate_bytes=1 << 20)
        w.topic('full')
        text = lines(20000, 'x' * 40)
        path.write_text(text)
        sent = 0
        quick = ('-X', 'acks=all', '-X', 'enable.idempotence=true', '-X', 'message.timeout.ms=8000', '-X', 'retries=1000')
        while (r := w.produce('full', path, *quick, check=False)).returncode == 0 and sent < 100:
            sent += 1
        expect(5 < sent < 60, f'{sent} MiB went to a disk of 48')
        expect(w.alive(), 'the broker is gone')
        m = w.metrics()
        expect(m['tidemark_replicas_failed'] == 0 and m['tidemark_replica_failures_total'] == 0, 'a full disk is no failure of a log')
        expect(health(w) == 'ok', health(w))
        got = w.consume('full')
        expect(got.startswith(text * sent), 'what was acknowledged is not there while the disk is full')
        s = w.connect()
        errors = []  # what was a megabyte too much may have room for half of one
        while len(errors) < 5 and (not errors or errors[-1] == 0):
            errors.append(wire.produce_result(wire.ask(s, wire.produce('full', wire.batch([b'z' * 500000]))), 'full')[0])
        s.close()
        expect(errors[-1] == 56, f'a full disk is answered with {errors}')
        before = w.consume('full')
        expect(before.startswith(text * sent), 'what was acknowledged is not there after a refusal')
        ballast.unlink()
        # in order: without idempotence what is refused may come behind what was not
        w.produce('full', path, '-X', 'acks=all', '-X', 'enable.idempotence=true', '-X', 'message.timeout.ms=30000')
        got = w.consume('full')
        expect(got.startswith(before) and got.endswith(text), f'what was written afterwards is not there: {len(before)} bytes, then {len(got)}')
        w.kill()
        w.start()
        expect(w.consume('full') == got, 'differs after a kill')
    finally:
        if w.alive():
            w.kill()
        w.settings = {}
        sh('umount', mount, check=False)
    w.start()
    healthy(w)


@case
def fifty_small_topics_stay_small(w):
    """Behind a few records 256 KiB are zeroed, whatever log.preallocate.bytes is."""
    path = w.dir / 'in'
    path.write_text(lines(10))
    for i in range(50):
        w.topic(f'small{i}')
    for i in range(50):
        w.produce(f'small{i}', path, '-X', 'acks=all')
    used = used_below(w.data.glob('small*-0'))
    expect(used <= 50 * ((256 << 10) + 100000), f'fifty small topics use {used >> 20} MiB')
    expect(all(not (d / 'next.prepared').exists() for d in w.data.glob('small*-0')), 'a small topic has its next segment already')
    w.stop()
    used = used_below(w.data.glob('small*-0'))
    expect(used < 50 * 100000, f'and {used >> 10} KiB after a clean stop')
    w.start()
