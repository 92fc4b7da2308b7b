// SPDX-License-Identifier: Apache-2.0
// The admin client of kafkajs. Arguments: MODULE_DIR BOOT
const [moduleDir, boot] = process.argv.slice(2);
const assert = require('assert');
const { Kafka, ConfigResourceTypes, logLevel } = require(`${moduleDir}/node_modules/kafkajs`);

async function refused(type, promise) {
  try {
    await promise;
  } catch (e) {
    const all = [e, e.cause, e.originalError, ...(e.errors || [])].filter((x) => x);
    assert(all.some((x) => x.type === type), `${type} expected: ${all.map((x) => x.type || x.message)}`);
    return;
  }
  assert.fail(`${type} did not come`);
}

async function main() {
  const kafka = new Kafka({ clientId: 'interop', brokers: [boot], logLevel: logLevel.NOTHING, retry: { retries: 1 } });
  const admin = kafka.admin();
  await admin.connect();
  assert(await admin.createTopics({ topics: [{ topic: 'jsa', numPartitions: 2, replicationFactor: 1, configEntries: [{ name: 'retention.ms', value: '5000' }] }] }));
  assert.strictEqual(await admin.createTopics({ topics: [{ topic: 'jsa', numPartitions: 2 }] }), false);
  await refused('INVALID_REPLICATION_FACTOR', admin.createTopics({ topics: [{ topic: 'jsb', numPartitions: 1, replicationFactor: 3 }] }));
  await refused('INVALID_TOPIC_EXCEPTION', admin.createTopics({ topics: [{ topic: 'j/b', numPartitions: 1, replicationFactor: 1 }] }));
  await admin.createPartitions({ topicPartitions: [{ topic: 'jsa', count: 3 }] });
  await refused('INVALID_PARTITIONS', admin.createPartitions({ topicPartitions: [{ topic: 'jsa', count: 3 }] }));
  const { topics: [topic] } = await admin.fetchTopicMetadata({ topics: ['jsa'] });
  assert.deepStrictEqual(topic.partitions.map((p) => [p.partitionId, p.leader, p.replicas, p.isr, p.offlineReplicas]).sort(),
    [[0, 1, [1], [1], []], [1, 1, [1], [1], []], [2, 1, [1], [1], []]]);
  const resource = { type: ConfigResourceTypes.TOPIC, name: 'jsa' };
  const settings = async () => {
    const { resources: [{ configEntries }] } = await admin.describeConfigs({ resources: [resource], includeSynonyms: true });
    return Object.fromEntries(configEntries.map((c) => [c.configName, c]));
  };
  assert.strictEqual((await settings())['retention.ms'].configValue, '5000');
  await admin.alterConfigs({ resources: [{ ...resource, configEntries: [{ name: 'segment.ms', value: '9000' }] }] });
  const now = await settings();
  assert.strictEqual(now['segment.ms'].configValue, '9000');
  assert.strictEqual(now['retention.ms'].configSource, 5);
  await admin.alterPartitionReassignments({ topics: [{ topic: 'jsa', partitionAssignment: [{ partition: 0, replicas: [1] }] }] });
  assert.deepStrictEqual((await admin.listPartitionReassignments({})).topics, []);
  const cluster = await admin.describeCluster();
  assert.strictEqual(cluster.controller, 1);
  assert.deepStrictEqual(cluster.brokers.map((b) => b.nodeId), [1]);
  await admin.deleteTopics({ topics: ['jsa'] });
  await assert.rejects(admin.deleteTopics({ topics: ['jsa'] }), /does not host this topic/);
  await admin.disconnect();
  console.log('good');
}

main().catch((e) => { console.error(e); process.exit(1); });
