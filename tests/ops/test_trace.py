#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""`tidemark trace` against a broker's page that is served here.   test_trace.py TOOL"""
import http.server
import json
import re
import subprocess
import sys
import threading
import urllib.parse

TOOL = sys.argv[1]
US = 1000
BASE = 5_000_000_000
ZERO = 1_700_000_000_000_000_000  # wall time when the broker's clock was BASE


def head(led=2, partitions=3, lost=0, omitted=0, now=BASE):
    return f'trace {now} {ZERO + now - BASE} {led} {partitions} {lost} {omitted}\n'


def request(stamps, write=(0, 0), followers=(), mark=0, acks=-1, core=0, home=0, partition=1, end=43):
    """Times in microseconds since BASE; None: not seen."""
    def ns(us):
        return 0 if us is None else BASE + int(us * US)
    stamps = list(stamps) + [None] * (9 - len(stamps))
    text = f'request {partition} {end} {acks} {core} {home} ' + ' '.join(str(ns(s)) for s in stamps) + '\n'
    text += f'write {ns(write[0]) if write[0] else 0} {ns(write[1]) if write[1] else 0}\n'
    for broker, sent, acknowledged in followers:
        text += f'follower {broker} {ns(sent)} {ns(acknowledged)}\n'
    return text + f'mark {ns(mark) if mark else 0}\nend\n'


# received handed taken parsed at-home appended reached emitted transmitted
ROAD = (0, 3, 3.5, 5, 15, 20, 2520, 2530, 2550)


class Server:
    def __init__(self, pages):
        asked = []

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_POST(self):  # pylint: disable=invalid-name
                asked.append(urllib.parse.urlsplit(self.path))
                page = pages[min(len(asked), len(pages)) - 1]
                status, body = page if isinstance(page, tuple) else (200, page)
                self.send_response(status)
                self.send_header('Content-Length', str(len(body.encode())))
                self.end_headers()
                self.wfile.write(body.encode())

            def log_message(self, *args):  # pylint: disable=arguments-differ
                pass

        self.asked = asked
        self.server = http.server.HTTPServer(('127.0.0.1', 0), Handler)
        self.at = f'127.0.0.1:{self.server.server_port}'
        threading.Thread(target=self.server.serve_forever, daemon=True).start()


def trace(at, *args, topic='orders'):
    return subprocess.run([TOOL, 'trace', '--control', at, '--topic', topic, *args], capture_output=True, text=True, check=False, timeout=60)


def one(text, *args):
    """What is printed of one request."""
    r = trace(Server([head(), head() + text]).at, '--count', '1', *args)
    assert r.returncode == 0, r
    return r.stdout


def expect(got, wanted):
    assert got == wanted, f'{got!r} instead of {wanted!r}'


def named(**request_of):
    return one(request(**request_of)).splitlines()[0].split(', mostly ')[1]


def the_timeline():
    text = one(request(ROAD, write=(30, 400), followers=((2, 25, 90), (3, 26, 2500)), mark=2510, home=1))
    lines = [' '.join(l.split()) for l in text.splitlines()]
    expect(lines[0], '2023-11-14T22:13:20.000000Z orders-1, records before 43, acks=-1: 2.550 ms, mostly watermark: follower 3')
    expect(lines[1:-1], ['0.0 us received: core 0', '3.0 us 3.0 us tcp', '3.5 us 0.5 us queue', '5.0 us 1.5 us parse', '15.0 us 10.0 us home: core 1',
                         '20.0 us 5.0 us append', '25.0 us sent to 2', '26.0 us sent to 3', '30.0 us write begun', '90.0 us acknowledged by 2',
                         '400.0 us write done', '2500.0 us acknowledged by 3', '2510.0 us high watermark', '2520.0 us 2500.0 us watermark <- slowest',
                         '2530.0 us 10.0 us respond', '2550.0 us 20.0 us transmit'])
    # Behind its answer, of a follower that nobody waited for.
    text = one(request(ROAD, write=(30, 2500), followers=((2, 25, 9000),), acks=1))
    expect(' '.join(text.splitlines()[-2].split()), '9000.0 us acknowledged by 2')
    # acks=0 ends with the append.
    text = one(request(ROAD[:6], acks=0))
    assert 'acks=0: 20.0 us, mostly home' in text and 'watermark' not in text, text


def the_slowest_is_named():
    expect(named(stamps=(0, 3000, 3001, 3002, 3002, 3003, 3500, 3501, 3502)), 'tcp')
    expect(named(stamps=(0, 1, 1, 2, 2, 3, 500, 501, 1502)), 'transmit')
    expect(named(stamps=ROAD, write=(30, 2400), acks=1), 'watermark: disk')
    expect(named(stamps=ROAD, write=(1900, 2400), acks=1), 'watermark: disk, behind the write before')
    expect(named(stamps=ROAD, write=(30, 2400), followers=((2, 25, 2450),), acks=1), 'watermark: disk')  # nobody waits for followers
    expect(named(stamps=ROAD, write=(30, 2400), followers=((2, 25, 90),)), 'watermark: disk')
    expect(named(stamps=ROAD, write=(30, 400), followers=((2, 25, 90), (3, 26, None))), 'watermark: follower 3, which did not acknowledge')
    expect(named(stamps=ROAD, write=(30, 400), followers=((2, 25, 90), (3, 26, 9000))), 'watermark: follower 3, which did not acknowledge')
    expect(named(stamps=ROAD, write=(30, 400), followers=((2, 25, 90),)), 'watermark: waking core 0')
    expect(named(stamps=ROAD, write=(30, 2400), followers=((2, 25, 90), (3, 26, None))), 'watermark: disk')  # it is out of sync: nobody waits


def as_json():
    r = json.loads(one(request(ROAD, write=(30, 400), followers=((2, 25, 90), (3, 26, None)), mark=2510, home=1), '--json'))
    expect(sum(r['stages_us'].values()), r['took_us'])
    expect((r['topic'], r['partition'], r['end'], r['acks'], r['core'], r['home'], r['received']), ('orders', 1, 43, -1, 0, 1, '2023-11-14T22:13:20.000000Z'))
    expect((r['slowest'], r['cause'], r['stages_us']['watermark']), ('watermark', 'follower 3, which did not acknowledge', 2500.0))
    expect(r['followers'], [{'broker': 2, 'sent_us': 25.0, 'acknowledged_us': 90.0}, {'broker': 3, 'sent_us': 26.0, 'acknowledged_us': None}])
    expect((r['write_begun_us'], r['write_done_us'], r['high_watermark_us']), (30.0, 400.0, 2510.0))
    assert 'cause' not in json.loads(one(request(ROAD[:6], acks=0), '--json'))


def questions():
    s = Server([(503, 'the last trace has not ended yet\n'), head(), head() + request(ROAD) + request(ROAD, end=44), head() + request(ROAD, end=45), head(lost=7, omitted=9)])
    r = trace(s.at, '--count', '3', '--slower-than', '250us', topic='a b&c')
    assert r.returncode == 0, r
    expect(re.findall(r'records before (\d+),', r.stdout), ['43', '44', '45'])
    begin = urllib.parse.parse_qs(s.asked[1].query)
    expect((s.asked[1].path, begin['topic'], begin['slower_ns']), ('/trace', ['a b&c'], ['250000']))
    ids = {urllib.parse.parse_qs(a.query)['id'][0] for a in s.asked}
    expect((len(s.asked), len(ids)), (5, 1))
    expect(['end=1' in a.query for a in s.asked], [False] * 4 + [True])
    assert 'leads 2 of its 3 partitions' in r.stderr and '3 requests; 9 more came too fast to be shown; 7 events found no place' in r.stderr, r.stderr
    r = trace(Server([head(), head() + request(ROAD) * 5]).at, '--count', '2')  # not more than wanted
    expect(r.stdout.count('mostly'), 2)
    r = trace(Server([head(), head() + request(ROAD)]).at, '--for', '1')
    assert r.returncode == 0 and r.stdout.count('mostly') >= 1, r


def refusals():
    r = trace(Server([(404, 'there is no such topic\n')]).at)
    assert r.returncode == 1 and r.stderr == 'tidemark: the broker refuses: there is no such topic\n' and r.stdout == '', r
    r = trace(Server([head(), (410, 'the topic was deleted\n')]).at)
    assert r.returncode == 1 and 'the topic was deleted' in r.stderr, r
    r = trace(Server(['hello\n']).at)
    assert r.returncode == 1 and 'no page of a broker' in r.stderr, r
    r = trace('127.0.0.1:1')
    assert r.returncode == 1 and '127.0.0.1:1' in r.stderr, r
    for text in ('request 1\n', request(ROAD).replace('end\n', ''), request([None] * 9), 'request 1 2 3 4 5 6 7\n'):  # what makes no sense is not shown
        r = trace(Server([head(), text + head()]).at, '--for', '1')
        assert r.returncode == 0 and r.stdout == '', r
    many = request(ROAD, followers=[(n, 25, 26) for n in range(40)])
    assert one(many).count('sent to') == 16
    for wrong in (('--slower-than', '1'), ('--slower-than', '-1ms'), ('--slower-than', 'x'), ('--count', '0'), ('--for', '1x'), ('more',)):
        expect(trace('127.0.0.1:1', *wrong).returncode, 2)
    expect(subprocess.run([TOOL, 'trace'], capture_output=True, check=False).returncode, 2)


the_timeline()
the_slowest_is_named()
as_json()
questions()
refusals()
