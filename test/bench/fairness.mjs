// How long one client waits for an answer while another one floods a channel whose subscribers do not read.
//
//     node test/bench/fairness.mjs [--binary ./rtbroker] [--subscribers 5000] [--size 1000,60000] [--seconds 8] [--log]
//
// A thread of its own asks an echo endpoint, one question at a time, and notes how long each answer took. Printed are the median, the longest, and what the
// broker says of its longest turn.
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { parseArgs } from 'node:util';
import { Worker, isMainThread, parentPort, workerData } from 'node:worker_threads';

import { Ws, frame, OP, request, text } from '../integration/wire.mjs';

const { values: args } = parseArgs({
  options: {
    binary: { type: 'string', default: './rtbroker' },
    subscribers: { type: 'string', default: '5000' },
    size: { type: 'string', default: '100,1000,60000' },
    seconds: { type: 'string', default: '8' },
    log: { type: 'boolean', default: false },
  },
});

const CONFIG = (log) => `
http: {listen: ["127.0.0.1:0"]}
log: {level: info}
protocols: {socketio: {enabled: false}, raw: [{path: /echo, channel: "{sid}"}, {path: "/raw/{channel}"}]}
channels: [{match: flood, log: ${log}, subscribe: anyone, publish: anyone}, {match: "*", subscribe: anyone, publish: anyone}]
`;

async function start(folder) {
  writeFileSync(path.join(folder, 'fairness.yaml'), CONFIG(args.log));
  const sets = args.log ? ['--set', `storage.path=${path.join(folder, 'log.db')}`] : [];
  const child = spawn(args.binary, ['--config', path.join(folder, 'fairness.yaml'), ...sets], { stdio: ['ignore', 'ignore', 'pipe'] });
  let port;
  let said = '';
  child.stderr.on('data', (bytes) => {
    said += bytes;
    port ??= /"address":"127\.0\.0\.1:(\d+)"/.exec(said)?.[1];
    said = said.slice(-100_000);
  });
  for (let i = 0; !port && i < 500; i++) await delay(20);
  if (!port) throw new Error(`the broker does not start:\n${said}`);
  return { child, port: Number(port) };
}

async function ask({ port }) {
  const ws = await Ws.open(port, '/echo');
  const times = [];
  let going = true;
  parentPort.once('message', () => (going = false));
  parentPort.postMessage('ready');
  for (let i = 0; going; i++) {
    const at = performance.now();
    ws.send(text(`${i}`));
    await ws.next(60_000);
    times.push(performance.now() - at);
    await delay(2);
  }
  ws.destroy();
  times.sort((a, b) => a - b);
  parentPort.postMessage({ answers: times.length, median: times[times.length >> 1], longest: times.at(-1) });
}

const metric = async (port, name) => Number(new RegExp(`^${name} (\\S+)$`, 'm').exec((await request(port, '/metrics', { ms: 60_000 })).text)?.[1] ?? NaN);

async function flood(port, size) {
  const ws = await Ws.open(port, '/raw/flood');
  ws.tcp.socket.pause();
  const one = frame(OP.TEXT, 'x'.repeat(size), { key: Buffer.alloc(4) });
  const block = Buffer.concat(Array(Math.max(1, Math.floor(65536 / one.length))).fill(one));
  const end = performance.now() + Number(args.seconds) * 1000;
  let sent = 0;
  ws.tcp.socket.on('error', () => {});
  while (performance.now() < end && !ws.tcp.socket.destroyed) {
    const fits = ws.tcp.socket.write(block);
    sent += block.length;
    if (!fits) await Promise.race([once(ws.tcp.socket, 'drain').catch(() => {}), delay(end - performance.now())]);
    else await new Promise(setImmediate);
  }
  ws.destroy();
  return sent;
}

async function measure(size) {
  const folder = mkdtempSync(path.join(os.tmpdir(), 'fairness-'));
  const { child, port } = await start(folder);
  try {
    const readers = [];
    while (readers.length < Number(args.subscribers))
      readers.push(...await Promise.all([...Array(100).keys()].map(() => Ws.open(port, '/raw/flood'))));
    for (const ws of readers) ws.tcp.socket.pause();
    const worker = new Worker(new URL(import.meta.url), { workerData: { port } });
    await once(worker, 'message');
    const sent = await flood(port, size);
    worker.postMessage('end');
    const [result] = await once(worker, 'message');
    const turn = await metric(port, 'rtbroker_loop_longest_turn_seconds');
    const left = await metric(port, 'rtbroker_connections');
    console.log(`${size} bytes, ${(sent / 1e6).toFixed(1)} MB: ${result.answers} answers, median ${result.median.toFixed(1)} ms, longest ${result.longest.toFixed(0)} ms; longest turn ${(turn * 1000).toFixed(0)} ms; ${left} connections are left`);
    for (const ws of readers) ws.destroy();
  } finally {
    child.kill('SIGKILL');
    rmSync(folder, { recursive: true });
  }
}

if (isMainThread) {
  for (const size of args.size.split(',')) await measure(Number(size));
  process.exit(0);
} else {
  await ask(workerData);
}
