// SPDX-License-Identifier: Apache-2.0
// Produces with kafkajs. Arguments: MODULE_DIR BOOT TOPIC COUNT IDEMPOTENT
const [moduleDir, boot, topic, count, idempotent] = process.argv.slice(2);
process.env.KAFKAJS_NO_PARTITIONER_WARNING = '1';
const { Kafka, CompressionTypes, logLevel } = require(`${moduleDir}/node_modules/kafkajs`);

async function main() {
  const kafka = new Kafka({ clientId: 'interop', brokers: [boot], logLevel: logLevel.ERROR });
  const producer = kafka.producer({ idempotent: idempotent === 'true', maxInFlightRequests: 1 });
  await producer.connect();
  let next = 0;
  while (next < Number(count)) {
    const messages = [];
    for (let i = 0; i < 500 && next < Number(count); i++, next++) {
      messages.push({ key: `k${next}`, value: `kafkajs ${next}`, partition: 0 });
    }
    await producer.send({ topic, messages, compression: next % 1000 === 0 ? CompressionTypes.GZIP : CompressionTypes.None });
  }
  await producer.disconnect();
  console.log('good');
}

main().catch((e) => { console.error(e); process.exit(1); });
