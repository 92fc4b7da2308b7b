// SPDX-License-Identifier: Apache-2.0
// As crash_load, with kafkajs as it comes (acks=all is its default). Arguments: MODULE_DIR BOOT TOPIC PARTITIONS NAME RATE OUT
//
// Each partition has calls of its own, one at a time: kafkajs forgets a part of a call whose partition moved to a broker that
// had already answered another part of it.
const fs = require('fs');
const [moduleDir, boot, topic, partitions, name, rate, path] = process.argv.slice(2);
process.env.KAFKAJS_NO_PARTITIONER_WARNING = '1';
const { Kafka, logLevel } = require(`${moduleDir}/node_modules/kafkajs`);

const TICK_MS = 20;
const out = fs.createWriteStream(path, { flags: 'a' });
const nowMs = () => (Number(process.hrtime.bigint()) / 1e6).toFixed(3);
const count = Number(partitions);
let ended = false;
let next = 0;
let acknowledged = 0;
let failed = 0;

async function send(producer, partition, numbers) {
  const messages = numbers.map((n) => ({ value: `${name} ${n}`, partition }));
  numbers.forEach((n) => out.write(`sent ${partition} ${n} ${nowMs()}\n`));
  try {
    const [told] = await producer.send({ topic, messages });
    numbers.forEach((n, i) => out.write(`acked ${partition} ${n} ${BigInt(told.baseOffset) + BigInt(i)} ${nowMs()}\n`));
    acknowledged += numbers.length;
  } catch (e) {
    numbers.forEach((n) => out.write(`failed ${partition} ${n} ${e.name} ${nowMs()}\n`));
    if (failed === 0) console.error(`${e}`);
    failed += numbers.length;
  }
}

// Numbers partition, partition + count and so on, as they become due.
async function feed(producer, partition, begin) {
  let number = partition;
  while (!ended) {
    const due = (Number(nowMs()) - begin) * Number(rate) / 1000;
    const numbers = [];
    for (; number < due; number += count) numbers.push(number);
    if (numbers.length) await send(producer, partition, numbers);
    next = Math.max(next, number);
    await new Promise((done) => setTimeout(done, TICK_MS));
  }
}

async function main() {
  const producer = new Kafka({ brokers: boot.split(','), logLevel: logLevel.NOTHING }).producer();
  await producer.connect();
  process.stdin.resume();
  process.stdin.on('end', () => { ended = true; });
  const begin = Number(nowMs());
  await Promise.all([...Array(count).keys()].map((p) => feed(producer, p, begin)));
  await producer.disconnect();
  await new Promise((done) => out.end(done));
  console.log(`${next} ${acknowledged} ${failed}`);
}

main().catch((e) => { console.error(e); process.exit(1); });
