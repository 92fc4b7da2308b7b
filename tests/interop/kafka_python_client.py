# SPDX-License-Identifier: Apache-2.0
"""Runs with the distribution's python3 and its kafka-python. Arguments: BOOT TOPIC COUNT CODEC ACKS MODE."""
import sys

from kafka import KafkaConsumer, KafkaProducer, TopicPartition

boot, topic, count, codec, acks, mode = sys.argv[1:7]
count = int(count)


def value(i):
    if mode == 'sizes':
        return bytes([i % 251]) * [1, 10, 100, 1000, 10000, 100000, 500000, 1000000][i % 8]
    return b'value %d of kafka-python' % i


extra = {} if mode == 'default' else {'acks': 'all' if acks == 'all' else int(acks),
                                      'compression_type': None if codec == 'none' else codec, 'max_request_size': 1048576 * 2,
                                      'retries': 5}
producer = KafkaProducer(bootstrap_servers=boot, **extra)
futures = [producer.send(topic, key=b'k%d' % i if mode != 'sizes' else None, value=value(i), partition=0,
                         headers=[('h', b'%d' % i), ('empty', b'')], timestamp_ms=1700000000000 + i) for i in range(count)]
producer.flush(60)
if acks != '0' or mode == 'default':
    for i, f in enumerate(futures):
        m = f.get(30)
        assert m.offset == i, (m.offset, i)
producer.close()

consumer = KafkaConsumer(bootstrap_servers=boot, auto_offset_reset='earliest', consumer_timeout_ms=15000,
                         fetch_max_bytes=8 << 20, max_partition_fetch_bytes=4 << 20)
tp = TopicPartition(topic, 0)
consumer.assign([tp])
consumer.seek_to_beginning(tp)
n = 0
for m in consumer:
    assert m.offset == n, (m.offset, n)
    assert m.value == value(n), n
    assert m.key == (b'k%d' % n if mode != 'sizes' else None)
    assert m.timestamp == 1700000000000 + n
    assert m.headers == [('h', b'%d' % n), ('empty', b'')]
    n += 1
    if n == count:
        break
assert n == count, n
assert consumer.end_offsets([tp])[tp] == count
assert consumer.beginning_offsets([tp])[tp] == 0
if mode != 'sizes':
    found = consumer.offsets_for_times({tp: 1700000000000 + count // 2})[tp]
    assert found.offset == count // 2, found
print('good')
