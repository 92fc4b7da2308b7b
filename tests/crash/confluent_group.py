# SPDX-License-Identifier: Apache-2.0
"""A member of a group as crash_group is one, of the consumer protocol (KIP-848), with librdkafka's Python client. It does not tell what
was committed. Arguments: BOOT GROUP TOPIC OUT
"""
import select
import sys
import time

from confluent_kafka import Consumer

POLL_S = 0.2


def main():
    boot, group, topic, path = sys.argv[1:]
    with open(path, 'a', encoding='ascii') as out:
        def say(what, partitions):
            for p in partitions:
                out.write(f'{what} {p.partition} {time.monotonic() * 1000:.3f}\n')
            out.flush()

        def assigned(consumer, partitions):
            say('assigned', partitions)
            consumer.incremental_assign(partitions)

        def revoked(consumer, partitions):
            say('revoked', partitions)
            consumer.incremental_unassign(partitions)

        consumer = Consumer({'bootstrap.servers': boot, 'group.id': group, 'group.protocol': 'consumer', 'auto.offset.reset': 'earliest'})
        consumer.subscribe([topic], on_assign=assigned, on_revoke=revoked)
        while not select.select([sys.stdin], [], [], 0)[0]:
            r = consumer.poll(POLL_S)
            if r is not None and r.error() is not None:
                print(f'{group}: {r.error()}', file=sys.stderr)
            elif r is not None:
                out.write(f'got {r.partition()} {r.offset()} {time.monotonic() * 1000:.3f} {r.value().decode()}\n')
                out.flush()
        consumer.close()


if __name__ == '__main__':
    main()
