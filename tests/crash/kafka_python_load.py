# SPDX-License-Identifier: Apache-2.0
"""As crash_load, with kafka-python, acks='all' and retries=10 (it does not retry by itself), for the Python that has it.

Arguments: BOOT TOPIC PARTITIONS NAME RATE OUT
"""
import logging
import select
import sys
import threading
import time

from kafka import KafkaProducer

TICK_S = 0.02
FLUSH_S = 90


class Load:
    def __init__(self, boot, topic, partitions, name, path):
        self.topic, self.partitions, self.name = topic, partitions, name
        self.out, self.lock = open(path, 'a', encoding='ascii'), threading.Lock()
        self.acknowledged = self.failed = 0
        self.producer = KafkaProducer(bootstrap_servers=boot.split(','), acks='all', retries=10)

    def say(self, *words):
        self.out.write(' '.join(str(w) for w in words) + f' {time.monotonic() * 1000:.3f}\n')

    def on_ack(self, number, told):
        with self.lock:
            self.acknowledged += 1
            self.say('acked', told.partition, number, told.offset)

    def on_error(self, partition, number, error):
        with self.lock:
            self.failed += 1
            self.say('failed', partition, number, type(error).__name__)
            if self.failed == 1:
                print(repr(error), file=sys.stderr)

    def send(self, number):
        partition = number % self.partitions
        with self.lock:
            self.say('sent', partition, number)
        try:
            future = self.producer.send(self.topic, value=f'{self.name} {number}'.encode(), partition=partition)
        except Exception as e:  # pylint: disable=broad-except
            self.on_error(partition, number, e)
            return
        future.add_callback(lambda told: self.on_ack(number, told))
        future.add_errback(lambda error: self.on_error(partition, number, error))


def main():
    boot, topic, partitions, name, rate, path = sys.argv[1:]
    logging.getLogger('kafka').addHandler(logging.NullHandler())  # nobody reads standard error meanwhile
    load = Load(boot, topic, int(partitions), name, path)
    begin, number = time.monotonic(), 0
    while not select.select([sys.stdin], [], [], TICK_S)[0]:
        while number < (time.monotonic() - begin) * float(rate):
            load.send(number)
            number += 1
    load.producer.flush(FLUSH_S)
    load.producer.close()
    load.out.close()
    print(number, load.acknowledged, load.failed)


if __name__ == '__main__':
    main()
