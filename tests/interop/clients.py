# SPDX-License-Identifier: Apache-2.0
"""Clients of others, as they can be had on this machine."""
import pathlib
import shutil
import subprocess

ROOT = pathlib.Path(__file__).resolve().parents[2]


class Skip(Exception):
    pass


def fetched(*command, seconds=300):
    """What the command said when it could not; None when it could. A network without an answer is one."""
    try:
        r = subprocess.run([str(c) for c in command], capture_output=True, text=True, timeout=seconds, check=False)
    except (OSError, subprocess.TimeoutExpired) as e:
        return str(e)
    return None if r.returncode == 0 else f'status {r.returncode}: {(r.stdout + r.stderr).strip()}'


def debian_python():
    """A Python that has kafka-python."""
    p = '/usr/bin/python3'
    if subprocess.run([p, '-c', 'import kafka'], capture_output=True, check=False).returncode != 0:
        raise Skip('python3-kafka is not installed')
    return p


def confluent():
    """A Python that has confluent-kafka with a librdkafka that speaks the consumer protocol (KIP-848)."""
    where = ROOT / 'build' / 'confluent'
    python = where / 'bin' / 'python3'
    if not python.exists() or subprocess.run([python, '-c', 'import confluent_kafka'], capture_output=True, check=False).returncode != 0:
        for command in (['python3', '-m', 'venv', where], [where / 'bin' / 'pip', 'install', '-q', 'confluent-kafka==2.12.2']):
            if fetched(*command) is not None:
                raise Skip('confluent-kafka 2.12.2 cannot be had')
    return python


def kafkajs():
    """The directory that holds its node_modules."""
    where = ROOT / 'build' / 'node'
    if not shutil.which('node') or not shutil.which('npm'):
        raise Skip('there is no node')
    if not (where / 'node_modules' / 'kafkajs').is_dir():
        where.mkdir(parents=True, exist_ok=True)
        if fetched('npm', 'install', '--prefix', where, '--no-package-lock', '--no-audit', '--no-fund', 'kafkajs@2.2.4') is not None:
            raise Skip('kafkajs 2.2.4 cannot be had')
    return where


def kafka_tools():
    """Class path of Kafka's published jars, fetched once by Maven; the version stands in kafka-tools/pom.xml."""
    if not shutil.which('java') or not shutil.which('mvn'):
        raise Skip("no java and mvn; with TIDE_JAVA=1 tests/run.sh installs them")
    path = ROOT / 'build' / 'kafka-tools.classpath'
    pom = pathlib.Path(__file__).with_name('kafka-tools') / 'pom.xml'
    if not path.exists() or path.stat().st_mtime < pom.stat().st_mtime:
        fresh = path.with_suffix('.new')
        said = fetched('mvn', '-B', '-q', '-f', pom, 'org.apache.maven.plugins:maven-dependency-plugin:3.6.1:build-classpath',
                       f'-Dmdep.outputFile={fresh}', seconds=600)
        if said is not None:
            raise Skip(f"Kafka's jars cannot be fetched: {said[-200:]}")
        fresh.rename(path)
    return path.read_text().strip()
