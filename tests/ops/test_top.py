#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""`tidemark top` against a page that is served here.   test_top.py TOOL"""
import http.server
import subprocess
import sys
import threading

TOOL = sys.argv[1]

# The second page is two seconds of the broker's later.
COMMON = '''# HELP tidemark_ready whatever
# TYPE tidemark_ready gauge
tidemark_ready 1
tidemark_is_controller 1
tidemark_sessions 12
tidemark_requests_in_progress 3
tidemark_partitions_led 8
tidemark_partitions_under_replicated 2
tidemark_replicas_serving 9
tidemark_replicas_failed 0
tidemark_followers 16
tidemark_follower_lag_records 40
tidemark_pool_size{pool="request",core="0"} 200
tidemark_pool_free{pool="request",core="0"} 150
tidemark_pool_size{pool="request",core="1"} 200
tidemark_pool_free{pool="request",core="1"} 50
tidemark_pool_size{pool="mail",core="0"} 100
tidemark_pool_free{pool="mail",core="0"} 100
tidemark_stage_seconds{stage="watermark",quantile="0.5"} 0.000083500
tidemark_stage_seconds{stage="watermark",quantile="0.99"} 0.001250000
tidemark_stage_seconds{stage="watermark",quantile="1"} 2.500000000
tidemark_follower_stage_seconds{stage="acknowledge",follower="3",quantile="0.5"} 0.000070000
tidemark_turn_seconds{core="0",quantile="0.5"} 0.000004000
tidemark_turn_longest_seconds{core="0"} 0.001500000
tidemark_turn_longest_frames_in{core="0"} 64
tidemark_turn_longest_requests{core="0"} 7
tidemark_turn_longest_jobs{core="0"} 0
not a sample
'''
FIRST = COMMON + '''tidemark_uptime_seconds 100.5
tidemark_requests_total{core="0"} 1000
tidemark_requests_total{core="1"} 500
tidemark_produce_bytes_total{core="0"} 0
tidemark_stage_seconds_count{stage="watermark"} 1000
tidemark_stage_seconds_count{stage="home"} 0
tidemark_follower_stage_seconds_count{stage="acknowledge",follower="3"} 100
tidemark_turn_seconds_count{core="0"} 5000
'''
SECOND = COMMON + '''tidemark_uptime_seconds 102.5
tidemark_requests_total{core="0"} 3000
tidemark_requests_total{core="1"} 900
tidemark_produce_bytes_total{core="0"} 50000000
tidemark_stage_seconds_count{stage="watermark"} 1300
tidemark_stage_seconds_count{stage="home"} 0
tidemark_follower_stage_seconds_count{stage="acknowledge",follower="3"} 300
tidemark_turn_seconds_count{core="0"} 65000
'''


class Server:
    def __init__(self, pages, status=200):
        asked = []

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self):  # pylint: disable=invalid-name
                asked.append(self.path)
                body = pages[min(len(asked), len(pages)) - 1].encode()
                self.send_response(status)
                self.send_header('Content-Length', str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *args):  # pylint: disable=arguments-differ
                pass

        self.asked = asked
        self.server = http.server.HTTPServer(('127.0.0.1', 0), Handler)
        self.at = f'127.0.0.1:{self.server.server_port}'
        threading.Thread(target=self.server.serve_forever, daemon=True).start()


def top(at, *args):
    return subprocess.run([TOOL, 'top', '--control', at, '--interval', '100', *args], capture_output=True, text=True, check=False, timeout=60)


def line(text, begin):
    found = [' '.join(l.split()) for l in text.splitlines() if l.split() and ' '.join(l.split()).startswith(begin)]
    assert len(found) == 1, f'{begin}: {found} in\n{text}'
    return found[0]


def expect(got, wanted):
    assert got == wanted, f'{got!r} instead of {wanted!r}'


def main():
    s = Server([FIRST, SECOND])
    r = top(s.at, '--once')
    assert r.returncode == 0 and r.stderr == '', r
    expect(s.asked, ['/metrics', '/metrics'])
    assert '\033' not in r.stdout, 'a terminal is written to'
    expect(line(r.stdout, s.at), f'{s.at} ready, controller, 12 connections, 3 requests in progress')
    expect(line(r.stdout, 'leads'), 'leads 8 partitions, 2 without all in sync; serves 9 replicas, 0 failed; feeds 16 followers, the furthest 40 records behind')
    expect(line(r.stdout, 'per second'), 'per second requests 1200 records in 0 bytes in 25.0M bytes out 0')
    expect(line(r.stdout, 'watermark'), 'watermark 150 83.5 us 1.2 ms 2.5 s')
    expect(line(r.stdout, 'home'), 'home 0 - - -')
    expect(line(r.stdout, '3: acknowledge'), '3: acknowledge 100 70.0 us - -')
    expect(line(r.stdout, '0 '), '0 30.0k 4.0 us - 1.5 ms frames_in 64 requests 7')
    expect(line(r.stdout, 'pools'), 'pools, free request 25 %, mail 100 %')

    r = top(Server([SECOND, FIRST]).at, '--once')  # it was started again between the two: no rates
    expect(line(r.stdout, 'per second'), 'per second requests - records in - bytes in - bytes out -')
    for server in (Server(['hello\n']), Server([FIRST], status=503)):
        r = top(server.at, '--once')
        assert r.returncode == 1 and 'no page of a broker' in r.stderr and r.stdout == '', r
    r = top('127.0.0.1:1', '--once')
    assert r.returncode == 1 and '127.0.0.1:1' in r.stderr, r
    expect(top('127.0.0.1:1', '--interval', '5').returncode, 2)
    s = Server([FIRST, SECOND, 'gone\n'])
    r = top(s.at)  # goes on until the page does not come any more
    assert r.returncode == 1 and r.stdout.count('\033[H\033[2J') == 2, r


main()
