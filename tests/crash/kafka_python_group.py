# SPDX-License-Identifier: Apache-2.0
"""A member of a group as crash_group is one, with kafka-python as it comes, for the Python that has it. It does not tell what
was committed. Arguments: BOOT GROUP TOPIC OUT
"""
import logging
import select
import sys
import time

from kafka import ConsumerRebalanceListener, KafkaConsumer

POLL_MS = 200


class Told(ConsumerRebalanceListener):
    def __init__(self, out):
        self.out = out

    def say(self, what, partitions):
        for p in partitions:
            self.out.write(f'{what} {p.partition} {time.monotonic() * 1000:.3f}\n')
        self.out.flush()

    def on_partitions_assigned(self, assigned):
        self.say('assigned', assigned)

    def on_partitions_revoked(self, revoked):
        self.say('revoked', revoked)


def main():
    boot, group, topic, path = sys.argv[1:]
    logging.getLogger('kafka').addHandler(logging.NullHandler())
    with open(path, 'a', encoding='ascii') as out:
        consumer = KafkaConsumer(bootstrap_servers=boot.split(','), group_id=group, auto_offset_reset='earliest')
        consumer.subscribe([topic], listener=Told(out))
        while not select.select([sys.stdin], [], [], 0)[0]:
            for records in consumer.poll(timeout_ms=POLL_MS).values():
                for r in records:
                    out.write(f'got {r.partition} {r.offset} {time.monotonic() * 1000:.3f} {r.value.decode()}\n')
            out.flush()
        consumer.close()


if __name__ == '__main__':
    main()
