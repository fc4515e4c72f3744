// A Kafka producer that sends any bytes as key, value and headers, to a partition of its choice: kcat cannot. Produce version 7 with one record batch of version 2
// (https://kafka.apache.org/protocol), to the one broker of a test. Also what an operator does to a topic: CreatePartitions and DeleteRecords version 0.
import net from 'node:net';

import { once, within } from './harness.mjs';

const PRODUCE = { key: 0, version: 7 };
const CREATE_PARTITIONS = { key: 37, version: 0 };
const CREATE_TOPICS = { key: 19, version: 2 };
const DELETE_TOPICS = { key: 20, version: 1 };
const DELETE_RECORDS = { key: 21, version: 0 };
const ACKS_ALL = -1;
const TIMEOUT = 30_000;

const CRC32C = Uint32Array.from({ length: 256 }, (_, n) => {
  for (let k = 0; k < 8; k++) n = n & 1 ? (n >>> 1) ^ 0x82f63b78 : n >>> 1;
  return n;
});
const crc32c = (bytes) => (bytes.reduce((crc, byte) => CRC32C[(crc ^ byte) & 0xff] ^ (crc >>> 8), 0xffffffff) ^ 0xffffffff) >>> 0;

const int = (size, value) => {
  const out = Buffer.alloc(size);
  if (size === 8) out.writeBigInt64BE(BigInt(value));
  else out.writeIntBE(value, 0, size);
  return out;
};
const int8 = (n) => int(1, n), int16 = (n) => int(2, n), int32 = (n) => int(4, n), int64 = (n) => int(8, n);
const string = (text) => Buffer.concat([int16(Buffer.byteLength(text)), Buffer.from(text)]);
const array = (items) => Buffer.concat([int32(items.length), ...items]);

// Zigzag and base 128.
function varint(value) {
  let rest = BigInt(value) >= 0n ? BigInt(value) << 1n : (-BigInt(value) << 1n) - 1n;
  const out = [];
  for (; rest > 127n; rest >>= 7n) out.push(Number(rest & 127n) | 128);
  return Buffer.from([...out, Number(rest)]);
}
const sized = (bytes) => (bytes === null ? varint(-1) : Buffer.concat([varint(bytes.length), bytes]));

// The partition of a key as Kafka's default partitioner has it, and the broker: murmur2.
export function partitionOf(key, count) {
  const bytes = Buffer.from(key), M = 0x5bd1e995;
  let h = 0x9747b28c ^ bytes.length, at = 0;
  for (; at + 4 <= bytes.length; at += 4) {
    let k = Math.imul(bytes.readInt32LE(at), M);
    k = Math.imul(k ^ (k >>> 24), M);
    h = Math.imul(h, M) ^ k;
  }
  const rest = bytes.subarray(at);
  if (rest.length > 0) h = Math.imul(rest.reduce((value, byte, i) => value ^ (byte << (8 * i)), h), M);
  h = Math.imul(h ^ (h >>> 13), M);
  return ((h ^ (h >>> 15)) & 0x7fffffff) % count;
}

// Text, bytes or null as bytes or null.
export const bytesOf = (value) => (value === null ? null : Buffer.from(value));

function recordOf({ key = null, value = null, headers = [] }, index) {
  const fields = headers.map(([name, text]) => Buffer.concat([sized(Buffer.from(name)), sized(bytesOf(text))]));
  return sized(Buffer.concat([int8(0), varint(0), varint(index), sized(bytesOf(key)), sized(bytesOf(value)), varint(fields.length), ...fields]));
}

function batchOf(records, timestamp) {
  const producer = [int64(-1), int16(-1), int32(-1)]; // none
  const body = Buffer.concat([int16(0), int32(records.length - 1), int64(timestamp), int64(timestamp), ...producer, array(records.map(recordOf))]);
  const head = Buffer.concat([int32(-1), int8(2), Buffer.alloc(4)]);
  head.writeUInt32BE(crc32c(body), 5);
  return Buffer.concat([int64(0), int32(head.length + body.length), head, body]);
}

async function answerTo(socket) {
  let got = Buffer.alloc(0);
  for await (const chunk of socket) {
    got = Buffer.concat([got, chunk]);
    if (got.length >= 4 && got.length >= 4 + got.readInt32BE(0)) return got.subarray(4);
  }
  throw new Error('Kafka has closed the connection');
}

// The answer's body, on a connection of its own.
async function ask(brokers, { key, version }, body) {
  const [host, port] = brokers.split(',')[0].split(':');
  const request = Buffer.concat([int16(key), int16(version), int32(1), string('test'), body]);
  const socket = net.connect(Number(port), host);
  try {
    await once(socket, 'connect', TIMEOUT);
    socket.write(Buffer.concat([int32(request.length), request]));
    return (await within(TIMEOUT, 'Kafka answers', answerTo(socket))).subarray(4); // behind the correlation
  } finally {
    socket.destroy();
  }
}

// Appends records { key, value, headers: [[NAME, VALUE], ...] }, all at once; texts, bytes or null. Resolves with the offset of the first.
export async function produce(brokers, topic, partition, records, timestamp = Date.now()) {
  const batch = batchOf(records, timestamp);
  const data = array([Buffer.concat([int32(partition), int32(batch.length), batch])]);
  const answer = await ask(brokers, PRODUCE, Buffer.concat([int16(-1), int16(ACKS_ALL), int32(TIMEOUT), array([Buffer.concat([string(topic), data])])]));
  // One topic with its name, one partition: index, error, offset.
  const at = 4 + 2 + topic.length + 4 + 4;
  const error = answer.readInt16BE(at);
  if (error !== 0) throw new Error(`Kafka refuses the records: error ${error}`);
  return Number(answer.readBigInt64BE(at + 2));
}

// The error of the only topic of an answer, behind the throttle and its name.
function judge(answer, topic, what) {
  const error = answer.readInt16BE(4 + 4 + 2 + topic.length);
  if (error !== 0) throw new Error(`Kafka refuses ${what}: error ${error}`);
}

// The topic has `count` partitions from now on.
export async function addPartitions(brokers, topic, count) {
  const more = Buffer.concat([string(topic), int32(count), int32(-1)]); // Kafka places them
  judge(await ask(brokers, CREATE_PARTITIONS, Buffer.concat([array([more]), int32(TIMEOUT), int8(0)])), topic, `${count} partitions`);
}

export async function createTopic(brokers, topic, partitions, replicas) {
  const made = Buffer.concat([string(topic), int32(partitions), int16(replicas), array([]), array([])]);
  judge(await ask(brokers, CREATE_TOPICS, Buffer.concat([array([made]), int32(TIMEOUT), int8(0)])), topic, `the topic ${topic}`);
}

export async function deleteTopic(brokers, topic) {
  judge(await ask(brokers, DELETE_TOPICS, Buffer.concat([array([string(topic)]), int32(TIMEOUT)])), topic, `to delete the topic ${topic}`);
}

// Deletes all records that the partition has now; what comes goes on with its offsets. Resolves with the first offset that is left.
export async function deleteRecords(brokers, topic, partition) {
  const upTo = array([Buffer.concat([int32(partition), int64(-1)])]);
  const answer = await ask(brokers, DELETE_RECORDS, Buffer.concat([array([Buffer.concat([string(topic), upTo])]), int32(TIMEOUT)]));
  const at = 4 + 4 + 2 + topic.length + 4 + 4; // behind the throttle, one topic with its name, one partition
  const error = answer.readInt16BE(at + 8);
  if (error !== 0) throw new Error(`Kafka does not delete the records: error ${error}`);
  return Number(answer.readBigInt64BE(at));
}
