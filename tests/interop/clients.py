# SPDX-License-Identifier: Apache-2.0
"""Clients of others, as they can be had on this machine."""
import pathlib
import shutil
import subprocess

ROOT = pathlib.Path(__file__).resolve().parents[2]


class Skip(Exception):
    pass


def debian_python():
    """A Python that has kafka-python."""
    p = '/usr/bin/python3'
    if subprocess.run([p, '-c', 'import kafka'], capture_output=True, check=False).returncode != 0:
        raise Skip('python3-kafka is not installed')
    return p


def kafkajs():
    """The directory that holds its node_modules."""
    where = ROOT / 'build' / 'node'
    if not shutil.which('node') or not shutil.which('npm'):
        raise Skip('there is no node')
    if not (where / 'node_modules' / 'kafkajs').is_dir():
        where.mkdir(parents=True, exist_ok=True)
        r = subprocess.run(['npm', 'install', '--prefix', str(where), '--no-package-lock', '--no-audit', '--no-fund', 'kafkajs@2.2.4'],
                           capture_output=True, text=True, timeout=300, check=False)
        if r.returncode != 0:
            raise Skip('kafkajs 2.2.4 cannot be had')
    return where
