#!/usr/bin/env node
// What a cluster of real servers does on this machine: latency from node to node, messages from clients to committed rows, memory of a node while Kafka is away.
//
//   node test/bench/cluster.mjs [--messages 200000] [--latency-seconds 10] [--outage-seconds 60] [--only latency,rows,sink,outage]
//
// Starts scripts/run_cluster.sh (Redis, Kafka, PostgreSQL, three nodes, no nginx) and runs itself in it. Everything shares the machine's cores, this program too, so figures are of all together.
import { execFile, spawnSync } from 'node:child_process';
import { createRequire } from 'node:module';
import path from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { parseArgs, promisify } from 'node:util';

const FILE = fileURLToPath(import.meta.url);
const HERE = path.dirname(FILE);
const SCRIPT = path.join(HERE, '..', '..', 'scripts', 'run_cluster.sh');
const DEADLINE_MS = 300_000;
const SENDERS = 8;
const PAYLOAD_BYTES = 100;
const HIGH_WATER = 256 << 10; // bytes that may wait in one sender's socket
const SINK_RECORDS = 300_000;
const PARTS = ['latency', 'rows', 'sink', 'outage'];
const run = promisify(execFile);

function readOptions() {
  const { values } = parseArgs({
    options: {
      messages: { type: 'string', default: '200000' },
      'latency-seconds': { type: 'string', default: '10' },
      'outage-seconds': { type: 'string', default: '60' },
      only: { type: 'string', default: PARTS.join(',') },
    },
  });
  const count = (name) => {
    const n = Number(values[name]);
    if (!Number.isInteger(n) || n < 1) throw new Error(`--${name} ${values[name]}: allowed is a whole number from 1`);
    return n;
  };
  const only = values.only.split(',');
  const unknown = only.find((part) => !PARTS.includes(part));
  if (unknown !== undefined) throw new Error(`--only ${unknown}: allowed are ${PARTS.join(', ')}`);
  return { messages: count('messages'), latency: count('latency-seconds'), outage: count('outage-seconds'), only };
}

// ---- inside the cluster ----

const nodes = (process.env.RT_NODES ?? '').split(' ');

async function connect(WebSocket, node, channel) {
  const socket = new WebSocket(`${nodes[node].replace('http', 'ws')}/raw/${channel}`, { perMessageDeflate: false });
  await new Promise((resolve, reject) => socket.once('open', resolve).once('error', reject));
  return socket;
}

async function metric(node, name) {
  const text = await (await fetch(`${nodes[node]}/metrics`)).text();
  const lines = [...text.matchAll(new RegExp(`^rtbroker_${name}(?:\\{[^}]*\\})? (\\S+)$`, 'gm'))];
  return lines.reduce((sum, match) => sum + Number(match[1]), 0);
}

async function rows(where) {
  const sql = `select count(*) from rtbroker.message where ${where}`;
  const { stdout } = await run('psql', [process.env.RT_POSTGRES_URL, '-XAtqc', sql]);
  return Number(stdout);
}

async function until(what, probe) {
  const deadline = performance.now() + DEADLINE_MS;
  while (!(await probe())) {
    if (performance.now() > deadline) throw new Error(`waited ${DEADLINE_MS} ms in vain: ${what}`);
    await delay(20);
  }
}

const quantile = (sorted, q) => sorted[Math.min(sorted.length - 1, Math.floor(sorted.length * q))];

// 1,000 messages a second from a client of n1 to one of n2, each timed from when it was due.
async function latency(WebSocket, channel, seconds) {
  const publisher = await connect(WebSocket, 0, channel);
  const subscriber = await connect(WebSocket, 1, channel);
  const total = seconds * 1000;
  const times = [];
  const done = new Promise((resolve) => {
    subscriber.on('message', (data) => {
      times.push(performance.now() - Number(data.toString().split(' ')[0]));
      if (times.length === total) resolve();
    });
  });
  const start = performance.now();
  for (let sent = 0; sent < total;) {
    const due = Math.min(total, Math.floor(performance.now() - start) + 1);
    for (; sent < due; sent++) publisher.send(`${start + sent} ${'x'.repeat(64)}`);
    await delay(1);
  }
  await Promise.race([done, delay(DEADLINE_MS, undefined, { ref: false }).then(() => { throw new Error(`${times.length} of ${total} arrived`); })]);
  publisher.close();
  subscriber.close();
  times.sort((a, b) => a - b);
  return times;
}

async function reportLatency(WebSocket, options) {
  console.log(`\nlatency n1 -> n2, 1,000 messages/s for ${options.latency} s   p50 ms   p99 ms   max ms`);
  for (const [title, channel] of [['on_commit', 'commit:latency'], ['on_publish', 'now:latency'], ['log: false', 'live:latency']]) {
    const times = await latency(WebSocket, channel, options.latency);
    const cells = [quantile(times, 0.5), quantile(times, 0.99), times.at(-1)].map((t) => t.toFixed(2).padStart(8));
    console.log(`  ${title.padEnd(48)} ${cells.join(' ')}`);
  }
}

async function send(WebSocket, index, count) {
  const socket = await connect(WebSocket, index % nodes.length, `commit:rows-${index}`);
  const filler = 'x'.repeat(PAYLOAD_BYTES);
  for (let i = 0; i < count; i++) {
    socket.send(filler);
    if (socket.bufferedAmount > HIGH_WATER) {
      await new Promise((resolve) => setImmediate(resolve));
      while (socket.bufferedAmount > HIGH_WATER) await delay(1);
    }
  }
  return socket;
}

// As fast as the nodes take them.
async function reportRows(WebSocket, options) {
  const each = Math.ceil(options.messages / SENDERS);
  const total = each * SENDERS;
  const accepted = async () => {
    let sum = 0;
    for (let i = 0; i < nodes.length; i++) sum += await metric(i, 'publishes_total');
    return sum;
  };
  const before = await accepted();
  const start = performance.now();
  const sockets = Promise.all([...Array(SENDERS).keys()].map((i) => send(WebSocket, i, each)));
  let answered;
  await until('all are answered', async () => (answered = (await accepted()) - before) >= total);
  const took = performance.now() - start;
  await until('all are rows', async () => (await rows(`channel like 'commit:rows-%'`)) >= total);
  const stored = performance.now() - start;
  for (const socket of await sockets) socket.close();
  const rate = (ms) => Math.round((total / ms) * 1000).toLocaleString('en');
  console.log(`\nclients -> rows, ${total} messages of ${PAYLOAD_BYTES} bytes, ${SENDERS} clients on ${nodes.length} nodes`);
  console.log(`  acknowledged by the log ${rate(took)}/s (${answered} answers), committed rows ${rate(stored)}/s, rows ${Math.round(stored - took)} ms behind at the end`);
}

// The sink next to a writer that does nothing but insert.
function reportSink() {
  const program = path.join(HERE, '..', '..', 'build', 'bench', 'sinkbench');
  console.log('');
  const { status, error } = spawnSync(program, [process.env.RT_KAFKA_BROKERS, process.env.RT_POSTGRES_URL, String(SINK_RECORDS)], { stdio: 'inherit' });
  if (status !== 0) throw new Error(`sinkbench: ${error?.message ?? status}`);
}

// Clients go on publishing while Kafka is dead.
async function reportOutage(WebSocket, options) {
  const memory = () => metric(0, 'process_resident_memory_bytes');
  const before = await memory();
  await run(SCRIPT, ['kill', 'kafka']);
  const socket = await connect(WebSocket, 0, 'commit:outage');
  const filler = 'x'.repeat(10_000);
  let most = before, sent = 0;
  for (const end = performance.now() + options.outage * 1000; performance.now() < end;) {
    for (let burst = 0; burst < 50 && socket.bufferedAmount < HIGH_WATER; burst++, sent++) socket.send(filler);
    await delay(20);
    most = Math.max(most, await memory());
  }
  await run(SCRIPT, ['start', 'kafka']);
  socket.close();
  const mib = (bytes) => (bytes / 2 ** 20).toFixed(1);
  console.log(`\nKafka away for ${options.outage} s, ${sent} publishes of 10,000 bytes to one node meanwhile`);
  console.log(`  its memory ${mib(before)} MiB before, ${mib(most)} MiB at most (the producer's queue is capped at 64 MiB)`);
}

async function inside(options) {
  const WebSocket = createRequire(path.join(HERE, 'peers', 'package.json'))('ws');
  if (options.only.includes('latency')) await reportLatency(WebSocket, options);
  if (options.only.includes('rows')) await reportRows(WebSocket, options);
  if (options.only.includes('sink')) reportSink();
  if (options.only.includes('outage')) await reportOutage(WebSocket, options);
}

// ---- outside ----

function outside() {
  const command = [process.execPath, FILE, ...process.argv.slice(2)].map((word) => `'${word.replaceAll("'", "'\\''")}'`).join(' ');
  const { status } = spawnSync(SCRIPT, ['--without', 'nginx', '--config', path.join(HERE, 'cluster.yaml'), '--exec', command],
    { stdio: 'inherit' });
  process.exit(status ?? 1);
}

try {
  const options = readOptions();
  if (process.env.RT_NODES) await inside(options);
  else outside();
} catch (error) {
  console.error(`cluster.mjs: ${error.message}`);
  process.exit(process.env.RT_NODES ? 1 : 2);
}
