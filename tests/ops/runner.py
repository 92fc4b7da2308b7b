#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""A broker as the service manager starts it. runner.py --build DIR [--only NAME] [--list]"""
import argparse
import contextlib
import json
import os
import pathlib
import re
import resource
import socket
import subprocess
import sys
import time
import traceback

HERE = pathlib.Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent / 'interop'))
sys.path.insert(1, str(HERE.parent / 'crash'))
from threads import stopped_thread  # noqa: E402
from world import BOOT, Failure, ROOT, World, expect, sh  # noqa: E402

UID = 64999  # of nobody who is here
KINDS = ('af_packet', 'af_xdp')
UNIT = ROOT / 'config' / 'tidemark.service'
CASES = []


def case(f):
    CASES.append(f)
    return f


def drop_in(kind):
    """Capabilities and address families that the drop-in of this kind of port adds."""
    text = (ROOT / 'config' / 'tidemark.service.d' / f'{kind}.conf').read_text()
    bounding, ambient = (re.search(rf'^{n}=(.*)$', text, re.M).group(1).split() for n in ('CapabilityBoundingSet', 'AmbientCapabilities'))
    expect(bounding == ambient, f'{kind}.conf: what is bounding is not what is ambient')
    return [c.removeprefix('CAP_').lower() for c in ambient]


def memory_can_be_locked():
    """As LimitMEMLOCK=infinity. Where root may not raise the limit, IPC_LOCK has to stand in for it."""
    try:
        resource.setrlimit(resource.RLIMIT_MEMLOCK, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
    except (ValueError, OSError):
        return False
    return True


STAND_IN = [] if memory_can_be_locked() else ['ipc_lock']


def as_service(w, caps):
    """The broker runs as a user of its own with these capabilities and no others, as systemd would start it."""
    caps = caps + STAND_IN
    text = ',' + ','.join(f'+{c}' for c in caps) if caps else ''
    w.wrapper = ['setpriv', '--reuid', UID, '--regid', UID, '--clear-groups', f'--inh-caps=-all{text}', f'--bounding-set=-all{text}',
                 f'--ambient-caps=-all{text}', '--no-new-privs']
    w.wrapper = [str(a) for a in w.wrapper]
    w.data.mkdir(exist_ok=True)
    for path in (w.dir, w.data, *w.data.rglob('*')):
        os.chown(path, UID, UID)


@contextlib.contextmanager
def world(build, kind):
    w = World(build, vdev=kind)
    try:
        if kind == 'af_xdp':
            sh('ip', '-n', w.ns_broker, 'addr', 'add', '10.78.0.1/24', 'dev', w.dev_broker)
        yield w
    finally:
        w.close()


def client(w, *args, **kw):
    return sh('ip', 'netns', 'exec', w.ns_client, 'timeout', 60, *args, timeout=90, **kw).stdout


def goes_round(w, topic):
    sent = ''.join(f'record {i}\n' for i in range(500))
    client(w, 'kcat', '-b', BOOT, '-P', '-t', topic, '-X', 'acks=all', input=sent)
    got = client(w, 'kcat', '-b', BOOT, '-C', '-t', topic, '-o', 'beginning', '-e', '-q')
    expect(got == sent, f'{len(got)} of {len(sent)} bytes came back')


def release(w):
    """ExecStartPre=+ of the drop-in."""
    sh('ip', 'netns', 'exec', w.ns_broker, w.build / 'control/daemon/tidemarkd', '--config', w.config(), '--release')


def stops(w):
    """Cleanly, and the interface is as before."""
    w.stop()
    link = sh('ip', '-n', w.ns_broker, '-d', 'link', 'show', w.dev_broker).stdout
    expect('xdp' not in link, f'an XDP program stays attached:\n{link}')
    expect('promiscuity 0' in link, f'the interface stays promiscuous:\n{link}')


# ---- capabilities -------------------------------------------------------------------------------------------------------------

@case
def the_capabilities_of_the_drop_ins_suffice(build):
    for kind in KINDS:
        with world(build, kind) as w:
            as_service(w, drop_in(kind))
            w.start()
            status = pathlib.Path(f'/proc/{w.process.pid}/status').read_text()
            expect(re.search(rf'^Uid:\s+{UID}\s+{UID}', status, re.M), status)
            expect(bin(int(re.search(r'^CapBnd:\s+(\w+)', status, re.M).group(1), 16)).count('1') == len(drop_in(kind) + STAND_IN), status)
            goes_round(w, 'as-a-user')
            stops(w)
            w.start()
            goes_round(w, 'once-more')
            w.kill()  # the next one takes the port over, by what the drop-in has done before
            if kind == 'af_xdp':
                try:
                    w.start()
                except Failure as e:
                    expect('XDP program' in str(e), str(e))
                else:
                    raise Failure('it starts without --release, too')
                w.process = None
                release(w)
            w.start()
            goes_round(w, 'after-a-kill')
            stops(w)


@case
def a_system_that_is_read_only_suffices(build):
    """What the unit protects: everything but the state directory, /sys and /proc/sys among it."""
    for kind in KINDS:
        with world(build, kind) as w:
            as_service(w, drop_in(kind))
            protect = (f'mount --make-rprivate / && mount --bind {w.dir} {w.dir} && mount -t tmpfs none /tmp && mount --bind /proc/sys /proc/sys && '
                       'for at in / /sys /proc/sys; do mount -o remount,bind,ro $at; done && ! touch /var/tmp/x 2>/dev/null && exec "$@"')
            w.wrapper = ['unshare', '--mount', 'sh', '-c', protect, 'sh', *w.wrapper]
            w.start()
            goes_round(w, 'read-only')
            stops(w)


@case
def each_capability_of_the_drop_ins_is_needed(build):
    for kind in KINDS:
        caps = drop_in(kind)
        for without in caps:
            with world(build, kind) as w:
                as_service(w, [c for c in caps if c != without])
                try:
                    w.start()
                    goes_round(w, 'with-less')
                    stops(w)
                except (Failure, subprocess.CalledProcessError):
                    continue
                raise Failure(f'{kind}: does without {without}, too')


# ---- what the service manager is told -----------------------------------------------------------------------------------------

class Manager:
    """Where the service manager listens."""

    def __init__(self, w, watchdog_us):
        self.path = w.dir / 'notify'
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.socket.bind(str(self.path))
        os.chmod(self.path, 0o777)
        w.env = {'NOTIFY_SOCKET': str(self.path), 'WATCHDOG_USEC': str(watchdog_us)}

    def hears(self, seconds):
        """The next word, or None."""
        self.socket.settimeout(seconds)
        try:
            return self.socket.recv(4096).decode()
        except TimeoutError:
            return None

    def hears_no_more(self):
        """Takes the words that were on their way, and that control says before it has noticed."""
        until = time.monotonic() + 30
        while self.hears(1) is not None:
            expect(time.monotonic() < until, 'it says more and more')

    def hears_until(self, begin):
        said = []
        while not said or not said[-1].startswith(begin):
            said.append(self.hears(60))
            expect(said[-1] is not None, f'no {begin}: {said}')
        return said


@case
def the_manager_hears_of_start_progress_and_stop(build):
    with world(build, 'af_packet') as w:
        manager = Manager(w, 1000000)
        w.start()
        expect(any(s.startswith('READY=1') for s in manager.hears_until('READY=1')), 'not ready')
        for _ in range(3):
            manager.hears_until('WATCHDOG=1')
        with stopped_thread(w.process.pid, 'worker'):
            manager.hears_no_more()
            health = sh('ip', 'netns', 'exec', w.ns_broker, 'curl', '-s', '-m', 5, 'http://127.0.0.1:9644/healthz').stdout
            expect(health != '', 'control does not turn, so this proves nothing')
            expect(manager.hears(2) is None, 'a broker with a core that stands still is vouched for')
        manager.hears_until('WATCHDOG=1')
        w.stop()
        manager.hears_until('STOPPING=1')


@case
def a_manager_that_does_not_watch_hears_no_watchdog(build):
    with world(build, 'af_packet') as w:
        for env in ({'WATCHDOG_PID': '1'}, {'WATCHDOG_USEC': '0'}, {'WATCHDOG_USEC': 'x'}):
            manager = Manager(w, 400000)
            w.env.update(env)
            w.start()
            manager.hears_until('READY=1')
            expect(manager.hears(0.5) is None, f'{env}: it is told, nevertheless')
            w.stop()
            manager.path.unlink()


# ---- the doctor ---------------------------------------------------------------------------------------------------------------

def doctor(w, **settings):
    """Findings that keep a broker from starting, or harm."""
    r = sh('ip', 'netns', 'exec', w.ns_broker, w.tools / 'control/tool/tidemark', 'doctor', '--json', '--config', w.config(**settings), check=False)
    bad = [f for f in json.loads(r.stdout)['findings'] if f['needed'] or f['verdict'] == 'harmful']
    expect((r.returncode != 0) == bool(bad), f'status {r.returncode}: {r.stdout}')
    return [f['item'] for f in bad]


def does_not_start(w, **settings):
    try:
        w.start(**settings)
    except Failure:
        w.process = None
        return True
    w.stop()
    return False


LISTENER = 'import socket, sys; s = socket.socket(); s.bind(("127.0.0.1", 9644)); s.listen(); print(flush=True); sys.stdin.read()'


@case
def what_the_doctor_says_the_broker_does(build):
    for kind in KINDS:
        with world(build, kind) as w:
            w.data.mkdir()
            expect(doctor(w) == [], f'{kind}: {doctor(w)}')
            w.start()
            expect(doctor(w) == [], f'{kind}, while a broker runs: {doctor(w)}')
            w.stop()
            expect(doctor(w, data_mtu=9000) == ['mtu'], doctor(w, data_mtu=9000))
            listener = subprocess.Popen(['ip', 'netns', 'exec', w.ns_broker, sys.executable, '-c', LISTENER], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
            try:
                listener.stdout.readline()
                expect(doctor(w) == ['control.address'], doctor(w))
                expect(does_not_start(w), 'it starts with a port that is taken')
            finally:
                listener.stdin.close()
                listener.wait()
            gone = w.dir / 'gone'
            expect(doctor(w, log_dirs=gone) == ['log.dirs'], doctor(w, log_dirs=gone))
            sh('ip', '-n', w.ns_broker, 'link', 'set', w.dev_broker, 'down')
            expect(doctor(w) == ['link'], doctor(w))


@case
def hugepages_are_reserved_and_given_back(build):
    """host-setup.sh on this very machine, with what is harmless."""
    pages = pathlib.Path('/sys/kernel/mm/hugepages/hugepages-2048kB/nr_hugepages')
    state = pathlib.Path('/run/tidemark-host-setup.state')
    if not pages.exists() or state.exists() or not os.access(pages, os.W_OK):
        return
    with world(build, 'af_packet') as w:
        before = pages.read_text()
        free = int((pages.parent / 'free_hugepages').read_text())
        config = w.config(dpdk_hugepages='on', dpdk_memory_mb=2 * (free + 16))
        setup = ['bash', ROOT / 'config/host-setup.sh', '--config', config]
        sh(*setup)
        expect(pages.read_text() == before, 'print changes something')
        try:
            said = sh(*setup, '--apply', check=False)
            if said.returncode == 0:
                expect(int(pages.read_text()) == int(before) + 16, said.stdout)
                expect('nr_hugepages: ' not in sh(*setup, '--apply').stdout, 'a second time it does more')
        finally:
            sh(*setup, '--undo')
        expect(pages.read_text() == before, f'{before} before, {pages.read_text()} after')
        expect(not state.exists(), 'the state is still there')


# ---- what runs the cases -------------------------------------------------------------------------------------------------------

def main():
    p = argparse.ArgumentParser()
    p.add_argument('--build', default=str(ROOT / 'build'))
    p.add_argument('--tools', help='the same')
    p.add_argument('--only')
    p.add_argument('--list', action='store_true')
    args = p.parse_args()
    passed = failed = 0
    for f in CASES:
        if args.list:
            print(f.__name__)
        elif args.only in (None, f.__name__):
            begin = time.monotonic()
            try:
                f(args.build)
                passed += 1
                print(f'ok     {f.__name__} ({time.monotonic() - begin:.1f} s)', flush=True)
            except (Failure, subprocess.SubprocessError, OSError, AttributeError) as e:
                failed += 1
                print(f'FAILED {f.__name__}; again: sudo {HERE / "runner.py"} --build {args.build} --only {f.__name__}', flush=True)
                print(traceback.format_exc(), getattr(e, 'stderr', None) or '', flush=True)
    if not args.list:
        print(f'{passed} passed, {failed} failed')
    return 1 if failed else 0


if __name__ == '__main__':
    sys.exit(main())
