# SPDX-License-Identifier: Apache-2.0
"""The admin client of the distribution's kafka-python. Argument: BOOT."""
import sys

from kafka.admin import ConfigResource, ConfigResourceType, KafkaAdminClient, NewPartitions, NewTopic
from kafka.errors import (InvalidPartitionsError, InvalidReplicationFactorError, InvalidTopicError, TopicAlreadyExistsError,
                          UnknownTopicOrPartitionError)

admin = KafkaAdminClient(bootstrap_servers=sys.argv[1])


def refused(error, f, *args, **kw):
    try:
        f(*args, **kw)
    except error:
        return
    raise AssertionError(f'{error.__name__} did not come')


def settings(resource):
    [response] = admin.describe_configs([resource])
    [(code, _, _, _, entries)] = response.resources
    assert code == 0, code
    return {e[0]: e[1] for e in entries}


admin.create_topics([NewTopic('kpa', 2, 1, topic_configs={'retention.ms': '5000'}), NewTopic('kpb', -1, -1, replica_assignments={0: [1]})])
refused(TopicAlreadyExistsError, admin.create_topics, [NewTopic('kpa', 2, 1)])
refused(InvalidReplicationFactorError, admin.create_topics, [NewTopic('kpc', 1, 3)])
refused(InvalidTopicError, admin.create_topics, [NewTopic('k/c', 1, 1)])
admin.create_topics([NewTopic('kpd', 1, 1)], validate_only=True)
assert {'kpa', 'kpb'} <= set(admin.list_topics()) and 'kpd' not in admin.list_topics()
[described] = admin.describe_topics(['kpa'])
assert [(p['leader'], p['replicas'], p['isr'], p['offline_replicas']) for p in described['partitions']] == [(1, [1], [1], [])] * 2, described
admin.create_partitions({'kpa': NewPartitions(4)})
refused(InvalidPartitionsError, admin.create_partitions, {'kpa': NewPartitions(4)})
refused(UnknownTopicOrPartitionError, admin.create_partitions, {'kpz': NewPartitions(4)})
assert len(admin.describe_topics(['kpa'])[0]['partitions']) == 4
topic = ConfigResource(ConfigResourceType.TOPIC, 'kpa')
assert settings(topic)['retention.ms'] == '5000'
admin.alter_configs([ConfigResource(ConfigResourceType.TOPIC, 'kpa', configs={'segment.ms': '9000'})])
now = settings(topic)
assert now['segment.ms'] == '9000' and now['retention.ms'] == '604800000', now
assert settings(ConfigResource(ConfigResourceType.BROKER, '1'))['num.partitions'] == '1'
cluster = admin.describe_cluster()
assert cluster['controller_id'] == 1 and [b['node_id'] for b in cluster['brokers']] == [1], cluster
admin.delete_topics(['kpa', 'kpb'])
refused(UnknownTopicOrPartitionError, admin.delete_topics, ['kpa'])
print('good')
