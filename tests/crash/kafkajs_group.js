// SPDX-License-Identifier: Apache-2.0
// A member of a group as crash_group is one, with kafkajs as it comes. Arguments: MODULE_DIR BOOT GROUP TOPIC OUT
const fs = require('fs');
const [moduleDir, boot, groupId, topic, path] = process.argv.slice(2);
const { Kafka, logLevel } = require(`${moduleDir}/node_modules/kafkajs`);

// What was delivered is in the file before it can be committed, however the process ends.
const fd = fs.openSync(path, 'a');
const out = { write: (line) => fs.writeSync(fd, line) };
const nowMs = () => (Number(process.hrtime.bigint()) / 1e6).toFixed(3);
let held = [];

async function main() {
  const consumer = new Kafka({ brokers: boot.split(','), logLevel: logLevel.NOTHING }).consumer({ groupId });
  const { GROUP_JOIN, COMMIT_OFFSETS, CRASH } = consumer.events;
  consumer.on(GROUP_JOIN, ({ payload }) => {
    held.forEach((p) => out.write(`revoked ${p} ${nowMs()}\n`));
    held = payload.memberAssignment[topic] || [];
    held.forEach((p) => out.write(`assigned ${p} ${nowMs()}\n`));
  });
  consumer.on(COMMIT_OFFSETS, ({ payload }) => payload.topics.forEach((t) => t.partitions.forEach((p) => {
    out.write(`committed ${p.partition} ${p.offset} ${nowMs()}\n`);
  })));
  // Of a broker that is away it tries again; what it does not, an application would have to.
  consumer.on(CRASH, ({ payload }) => out.write(`${payload.restart ? '#' : 'error'} ${payload.error}\n`));
  await consumer.connect();
  await consumer.subscribe({ topic, fromBeginning: true });
  await consumer.run({ eachMessage: async ({ partition, message }) => {
    out.write(`got ${partition} ${message.offset} ${nowMs()} ${message.value}\n`);
  } });
  await new Promise((done) => { process.stdin.resume(); process.stdin.on('end', done); });
  await consumer.disconnect();
}

main().then(() => process.exit(0), (e) => { console.error(e); process.exit(1); });
