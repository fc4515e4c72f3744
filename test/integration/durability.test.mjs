// What is acknowledged is stored: kill -9 under load, repetitions, full disks, torn files.
//
// RT_PUBLISHES and RT_KILLS make the first test longer: RT_PUBLISHES=100000 RT_KILLS=10 is the full one.
import assert from 'node:assert/strict';
import { execFile, execFileSync, spawnSync } from 'node:child_process';
import { appendFileSync, copyFileSync, existsSync, linkSync, mkdirSync, readFileSync, rmSync, statSync, symlinkSync, writeFileSync } from 'node:fs';
import { randomBytes } from 'node:crypto';
import http from 'node:http';
import path from 'node:path';

import WebSocket from 'ws';

import { call, ok, openStream, wholeLog } from './api.mjs';
import { BINARY, SANITIZED, configPath, defer, once, startBroker, tempDir, test, until } from './harness.mjs';
import { connect } from './socketio.mjs';
import { Ws, binary, request, text } from './wire.mjs';

const PUBLISHES = Number(process.env.RT_PUBLISHES ?? 5000);
const KILLS = Number(process.env.RT_KILLS ?? 3);
const CONFIG = configPath('durable.yaml');

async function start(t, { dir = tempDir(t), ...options } = {}) {
  const file = path.join(dir, 'log.db');
  const broker = await startBroker(t, { config: CONFIG, ...options, env: { STORAGE: file, ...options.env } });
  return Object.assign(broker, { file });
}

const sqlite = (file, sql) => execFileSync('sqlite3', ['-readonly', file, sql], { encoding: 'utf8' }).trim();
// The outcome of a command of the broker's binary, while others go on.
const runCommand = (args, env) =>
  new Promise((resolve) => {
    execFile(BINARY, args, { env: { ...process.env, ...env }, timeout: 60_000 }, (error, out, err) => resolve({ code: error ? error.code : 0, out, err }));
  });

const haveSqlite = spawnSync('sqlite3', ['--version']).status === 0;

// ---- kill -9 ----

// Publishes from one connection and notes what was acknowledged. What has no answer is unknown: every other one is sent again with
// its key, the rest is left alone.
class Publisher {
  constructor(state, channel, index) {
    Object.assign(this, { state, channel, index, again: [] });
  }

  next() {
    if (this.again.length > 0) return this.again.shift();
    if (this.state.sent - this.state.lost >= PUBLISHES) return null;
    return { n: this.state.sent++, from: this.index };
  }

  acknowledged(message, { epoch, offset }) {
    this.state.acknowledged.push({ ...message, epoch, offset });
  }

  unknown(message) {
    this.state.unknown.add(message.n);
    if (message.n % 2 === 0) this.again.push(message);
    else this.state.lost++; // another takes its place
  }

  async run(inFlight) {
    await Promise.all([...Array(inFlight)].map(async () => {
      for (;;) {
        await until('the broker is there', () => this.ready(), 30_000);
        const message = this.next();
        if (!message) return;
        const answer = await this.send(message).catch(() => null);
        if (answer) this.acknowledged(message, answer);
        else this.unknown(message);
      }
    }));
  }
}

class SocketPublisher extends Publisher {
  async open(t, broker) {
    // A name of its own, so that a key means the same over the next connection.
    this.socket = await connect(t, broker.url, { auth: { pid: randomBytes(10).toString('hex') } });
    return this;
  }

  ready() {
    return this.socket.connected;
  }

  async send({ n, from }) {
    const answer = await this.socket.timeout(10_000).emitWithAck('store', this.channel, { n, from }, `key-${n}`);
    if (!answer.ok) throw new Error(answer.error);
    return answer;
  }
}

class HttpPublisher extends Publisher {
  async open(t, broker) {
    this.broker = broker;
    this.agent = new http.Agent({ keepAlive: true, maxSockets: 1 });
    defer(t, () => this.agent.destroy());
    return this;
  }

  ready() {
    return !this.broker.stopped && this.broker.addresses.length > 0;
  }

  send({ n, from }) {
    return ok(this.broker, 'publish', { channel: this.channel, data: { n, from }, idempotency_key: `key-${n}` }, { agent: this.agent });
  }
}

// A plain subscriber that comes back after each crash and notes what it was given.
function follow(t, broker, channel, seen) {
  let ws;
  let over = false;
  const open = () => {
    ws = new WebSocket(`ws://127.0.0.1:${broker.port}/raw/${channel}`);
    ws.on('message', (data) => seen.push(JSON.parse(data).n));
    ws.on('error', () => {});
    ws.on('close', () => !over && setTimeout(open, 20));
  };
  open();
  defer(t, () => {
    over = true;
    ws.terminate();
  });
}

test(`kill -9: ${PUBLISHES} acknowledged publishes, ${KILLS} kills: all there once, in order`, { timeout: 1_200_000 }, async (t) => {
  const broker = await start(t);
  const channel = 'log:kills';
  const state = { sent: 0, lost: 0, acknowledged: [], unknown: new Set() };
  const seen = [];
  follow(t, broker, channel, seen);
  const publishers = [];
  for (let i = 0; i < 4; i++) publishers.push(await new SocketPublisher(state, channel, i).open(t, broker));
  for (let i = 4; i < 8; i++) publishers.push(await new HttpPublisher(state, channel, i).open(t, broker));
  const running = Promise.all(publishers.map((p) => p.run(p instanceof SocketPublisher ? 32 : 1)));

  const moments = [...Array(KILLS)].map(() => Math.floor(Math.random() * PUBLISHES * 0.95)).sort((a, b) => a - b);
  for (const moment of moments) {
    await until(`${moment} acknowledgements`, () => state.acknowledged.length >= moment, 600_000);
    await broker.kill();
    await broker.restart();
  }
  await running;

  // The log as the API shows it.
  const log = await wholeLog(broker, channel);
  const rows = log.publications;
  assert.deepEqual(rows.map((r) => r.offset), rows.map((_, i) => i + 1), 'offsets have a hole or an order of their own');
  assert.equal(log.offset, rows.length);
  const byNumber = new Map(rows.map((r) => [r.data.n, r]));
  assert.equal(byNumber.size, rows.length, 'a message is there twice');
  for (const { n, offset } of state.acknowledged) {
    assert.ok(byNumber.has(n), `message ${n} was acknowledged and is not there`);
    assert.equal(byNumber.get(n).offset, offset, `message ${n} is at another place`);
  }
  // Who knows a position of an earlier run goes on from it.
  const lastOf = new Map(state.acknowledged.map((a) => [a.epoch, a]));
  assert.ok(lastOf.size > KILLS / 2, `${lastOf.size} epochs`);
  for (const position of lastOf.values()) await assertGoesOn(broker, channel, { offset: position.offset, epoch: position.epoch });
  assert.equal(state.acknowledged.length, PUBLISHES);
  // Nothing comes from nowhere: acknowledged, or sent and unknown.
  const acknowledged = new Set(state.acknowledged.map((a) => a.n));
  assert.ok(rows.every((r) => acknowledged.has(r.data.n) || state.unknown.has(r.data.n)));
  for (const n of state.unknown) if (n % 2 === 0) assert.ok(acknowledged.has(n), `message ${n} was sent again and has no answer`);
  // One connection's messages are in its order (but for those that were sent again).
  for (const { index } of publishers) {
    const own = rows.filter((r) => r.data.from === index && !(state.unknown.has(r.data.n) && r.data.n % 2 === 0)).map((r) => r.data.n);
    assert.deepEqual(own, [...own].sort((a, b) => a - b));
  }
  // Whoever was given a message will find it in the log, in that order.
  assert.ok(seen.length > 0);
  assert.ok(seen.every((n) => byNumber.has(n)), 'something was delivered that is not stored');
  const order = seen.map((n) => byNumber.get(n).offset);
  assert.deepEqual(order, [...new Set(order)].sort((a, b) => a - b), 'delivered twice or in another order');
  assert.ok(state.unknown.size > 0 || KILLS === 0, 'the kills met nothing in flight');

  // The same through SQLite itself.
  await broker.stop();
  if (haveSqlite) {
    assert.equal(sqlite(broker.file, 'PRAGMA integrity_check'), 'ok');
    assert.equal(Number(sqlite(broker.file, 'SELECT count(*) FROM message')), rows.length);
    assert.equal(Number(sqlite(broker.file, 'SELECT count(DISTINCT offset) FROM message')), rows.length);
    assert.equal(Number(sqlite(broker.file, 'SELECT count(DISTINCT key) FROM message')), rows.length);
    const numbers = sqlite(broker.file, "SELECT json_extract(CAST(data AS TEXT), '$.n') FROM message ORDER BY offset").split('\n').map(Number);
    assert.deepEqual(numbers, rows.map((r) => r.data.n));
  }
  t.diagnostic(`${state.acknowledged.length} acknowledged, ${state.unknown.size} unknown, ${rows.length} rows`);
});

test('kill -9 during the first moments leaves a database that opens', async (t) => {
  const dir = tempDir(t);
  for (let i = 0; i < 5; i++) {
    const broker = await start(t, { dir, exit: null });
    const before = (await ok(broker, 'history', { channel: 'log:first' })).offset;
    const pending = [...Array(10).keys()].map((n) => call(broker, 'publish', { channel: 'log:first', data: n }).catch(() => null));
    await Promise.race(pending);
    await broker.kill();
    const answers = (await Promise.all(pending)).filter((r) => r?.status === 200);
    const again = await start(t, { dir, exit: null });
    const log = await ok(again, 'history', { channel: 'log:first', since: { offset: before }, limit: -1 });
    for (const { result } of answers) assert.ok(log.publications.some((p) => p.offset === result.offset));
    await again.stop();
  }
});

// ---- restarts ----

test('positions and history survive a restart, also what memory does not hold any more', async (t) => {
  const broker = await start(t);
  const epochs = {};
  for (const channel of ['log:a', 'log:b']) {
    for (let n = 0; n < 30; n++) epochs[channel] = (await ok(broker, 'publish', { channel, event: `e${n % 3}`, data: { n, text: 'é' } })).epoch;
  }
  await ok(broker, 'publish', { channel: 'log:a', b64data: 'AAH/' });
  const before = await wholeLog(broker, 'log:a');
  await broker.stop();
  await broker.restart();
  assert.deepEqual(await wholeLog(broker, 'log:a', 7), before, 'ids, times, tags and all');
  const next = await ok(broker, 'publish', { channel: 'log:b', data: 'after' });
  assert.equal(next.offset, 31);
  assert.notEqual(next.epoch, epochs['log:b'], 'a run has an epoch of its own');
  await assertGoesOn(broker, 'log:b', { offset: 30, epoch: epochs['log:b'] });
  const newest = await ok(broker, 'history', { channel: 'log:b', limit: 3, reverse: true });
  assert.deepEqual(newest.publications.map((p) => p.offset), [31, 30, 29]);
});

// ---- an earlier state of the file ----

const since = (broker, channel, position) => call(broker, 'history', { channel, since: position, limit: -1 });

// What a client knows that goes on from a position: all that follows it, or that it cannot be known.
async function assertGoesOn(broker, channel, position) {
  const { status, result, text } = await since(broker, channel, position);
  assert.equal(status, 200, text);
  assert.equal(result.gap, undefined);
  assert.deepEqual(result.publications.map((p) => p.offset), [...Array(result.offset - position.offset).keys()].map((i) => position.offset + 1 + i));
}

async function assertGone(broker, channel, position) {
  const { status, error, text } = await since(broker, channel, position);
  assert.equal(status, 416, `${JSON.stringify(position)}: ${text}`);
  assert.equal(error.code, 'unrecoverable_position');
}

async function publishMany(broker, channel, count, data) {
  const positions = [];
  for (let n = 0; n < count; n++) positions.push(await ok(broker, 'publish', { channel, data: `${data} ${n}` }));
  return positions;
}

const removeFile = (file) => ['', '-wal', '-shm'].forEach((suffix) => rmSync(file + suffix, { force: true }));

test('a backup that is put back: positions of what is gone are refused, older ones go on', async (t) => {
  const broker = await start(t);
  const channel = 'log:backup';
  const putBack = async () => {
    await broker.stop();
    removeFile(broker.file);
    copyFileSync(`${broker.file}.backup`, broker.file);
    await broker.restart();
  };
  const first = await publishMany(broker, channel, 50, 'kept');
  // While it runs: the copy is of some moment between its first message and its last one.
  let over = false;
  const meanwhile = [];
  const flow = (async () => {
    while (!over) meanwhile.push(...(await publishMany(broker, channel, 1, 'meanwhile')));
  })();
  await until('messages flow', () => meanwhile.length > 5);
  const backup = await runCommand(['backup', '--to', `${broker.file}.backup`, '--config', CONFIG], { STORAGE: broker.file });
  over = true;
  await flow;
  assert.deepEqual([backup.code, /a copy of .* bytes/.test(backup.out)], [0, true], backup.err);
  const second = await publishMany(broker, channel, 50, 'gone');
  await putBack();
  const { offset: top } = await ok(broker, 'history', { channel, limit: 0 });
  assert.ok(top >= 55 && top <= 50 + meanwhile.length, `${top} in the backup`);
  const all = [...first, ...meanwhile, ...second]; // one epoch
  await assertGone(broker, channel, second.at(-1)); // nothing was written yet that has its offset
  const third = await publishMany(broker, channel, all.length - top + 20, 'another future');
  const gone = [all[top], all[top + 20], second[0], second.at(-1)];
  for (const position of gone) await assertGone(broker, channel, position);
  for (const position of [first[0], first.at(-1), all[top - 1], third[0], third.at(-1)]) await assertGoesOn(broker, channel, position);
  const stream = await openStream(t, broker, `channel=${channel}`, { 'last-event-id': `${second.at(-1).epoch}:${second.at(-1).offset}` });
  await until('the stream is told', () => stream.events.some((e) => e.event === 'gap'));
  // The same again: both futures of the backup are gone.
  await putBack();
  await publishMany(broker, channel, third.length + 10, 'a third one');
  for (const position of [...gone, third[0], third.at(-1)]) await assertGone(broker, channel, position);
  await assertGoesOn(broker, channel, first.at(-1));
});

test('a write-ahead log that is lost takes its positions with it', async (t) => {
  const broker = await start(t);
  const channel = 'log:lost';
  const kept = await publishMany(broker, channel, 20, 'kept');
  await broker.stop(); // all is in the file
  await broker.restart();
  const lost = await publishMany(broker, channel, 20, 'lost');
  await broker.kill();
  rmSync(`${broker.file}-wal`);
  rmSync(`${broker.file}-shm`);
  await broker.restart();
  await publishMany(broker, channel, 40, 'after');
  for (const position of lost) await assertGone(broker, channel, position);
  for (const position of kept) await assertGoesOn(broker, channel, position);
});

test('as many attachments as a configuration can allow come back after a restart', async (t) => {
  const broker = await start(t, { set: { 'protocols.socketio.max_attachments': '64' } });
  const parts = [...Array(64).keys()].map((i) => Buffer.from([i, 255]));
  const places = (n) => JSON.stringify([...Array(n).keys()].map((num) => ({ _placeholder: true, num })));
  const ws = await Ws.open(broker.port, '/socket.io/?EIO=4&transport=websocket');
  await ws.nextText();
  ws.send(text('40'));
  await ws.nextText();
  ws.send(text(`4564-1["store","log:parts",${places(64)}]`), ...parts.map((part) => binary(part)));
  assert.match(await ws.nextText(), /^431\[\{"ok":true,/);
  ws.send(text(`4565-2["store","log:parts",${places(65)}]`));
  await ws.nextClose();
  await broker.stop();
  await broker.restart();
  const { publications } = await wholeLog(broker, 'log:parts');
  assert.deepEqual(publications.map((p) => p.attachments), [parts.map((part) => part.toString('base64'))]);
});

test('idempotency keys survive a restart, belong to their caller, and expire', async (t) => {
  const broker = await start(t, { set: { 'storage.idempotency_window': '2s' } });
  const publish = (key, data = 'x', options = {}) => ok(broker, 'publish', { channel: 'log:keys', data, idempotency_key: key }, options);
  const first = await publish('k1');
  assert.equal(first.duplicate, undefined);
  assert.deepEqual(await publish('k1', 'other data'), { ...first, duplicate: true });
  const theirs = await publish('k1', 'theirs', { key: 'other-key' });
  assert.equal(theirs.offset, 2, 'the key of another caller');
  assert.equal((await ok(broker, 'publish', { channel: 'log:other', data: 'x', idempotency_key: 'k1' })).offset, 1, 'the key of another channel');
  const started = performance.now();
  await publish('k2');
  await broker.kill();
  await broker.restart();
  const { offset, duplicate } = await publish('k2');
  assert.deepEqual([offset, duplicate], [3, true]);
  const late = await until('the key is forgotten', async () => {
    const result = await publish('k2');
    return !result.duplicate && result;
  }, 10_000);
  assert.ok(performance.now() - started > 1900, 'it was forgotten too early');
  assert.equal(late.offset, 4);
});

test('without a path the log is in memory, and a restart begins a new epoch', async (t) => {
  const broker = await start(t, { set: { 'storage.path': '' } });
  const first = await ok(broker, 'publish', { channel: 'log:m', data: 1 });
  await broker.stop();
  await broker.restart();
  const second = await ok(broker, 'publish', { channel: 'log:m', data: 2 });
  assert.equal(second.offset, 1);
  assert.notEqual(second.epoch, first.epoch);
  const stale = await call(broker, 'history', { channel: 'log:m', since: first, limit: -1 });
  assert.equal(stale.status, 416);
  assert.equal(stale.error.code, 'unrecoverable_position');
});

test('binary attachments are stored and come back', async (t) => {
  const broker = await start(t);
  const socket = await connect(t, broker.url);
  const bytes = [Buffer.from([0, 1, 255]), Buffer.alloc(5000, 7)];
  const answer = await socket.timeout(5000).emitWithAck('store', 'log:bin', { first: bytes[0], list: [bytes[1], 'text'] });
  assert.equal(answer.ok, true);
  const before = await wholeLog(broker, 'log:bin');
  await broker.kill();
  await broker.restart();
  const after = await wholeLog(broker, 'log:bin');
  assert.deepEqual(after, before);
  const [p] = after.publications;
  assert.deepEqual(p.data, { first: { _placeholder: true, num: 0 }, list: [{ _placeholder: true, num: 1 }, 'text'] });
  assert.deepEqual(p.attachments, bytes.map((b) => b.toString('base64')));
});

test('deliver: on_publish does not wait for the disk, and is stored all the same', async (t) => {
  const broker = await start(t);
  const ws = new WebSocket(`ws://127.0.0.1:${broker.port}/raw/log:fast`);
  defer(t, () => ws.terminate());
  const got = [];
  ws.on('message', (data) => got.push(JSON.parse(data)));
  await once(ws, 'open');
  const results = [];
  for (let n = 0; n < 100; n++) results.push(ok(broker, 'publish', { channel: 'log:fast', data: n }).then((r) => [r.offset, n]));
  const answers = new Map(await Promise.all(results));
  await until('all are delivered', () => got.length === 100);
  await broker.kill();
  await broker.restart();
  const stored = (await wholeLog(broker, 'log:fast')).publications;
  assert.deepEqual(stored.map((p) => p.data), got, 'the order of the log is that of delivery');
  for (const p of stored) assert.equal(answers.get(p.offset), p.data);
});

test('retention: what is too old goes, and its absence is a gap', async (t) => {
  const broker = await start(t, { set: { 'storage.retention': '1s' } });
  for (let n = 1; n <= 3; n++) await ok(broker, 'publish', { channel: 'log:old', data: n });
  await broker.stop(); // so that memory does not hold them
  await broker.restart();
  await until('they are deleted', async () => (await ok(broker, 'history', { channel: 'log:old', since: { offset: 0 }, limit: -1 })).publications.length === 0, 15_000);
  await until('the log says so', () => broker.log.some((line) => line.includes('messages older than storage.retention are being deleted')));
  const next = await ok(broker, 'publish', { channel: 'log:old', data: 4 });
  assert.equal(next.offset, 4, 'offsets are not given again');
  const result = await ok(broker, 'history', { channel: 'log:old', since: { offset: 1 }, limit: -1 });
  assert.deepEqual([result.gap, result.publications.map((p) => p.data)], [true, [4]]);
});

// ---- limits ----

// The levels that the log warned of before the storage was full, in order.
async function warnings(broker) {
  const findFull = () => broker.log.findIndex((line) => line.includes('storage is full'));
  await until('the log says that the storage is full', () => findFull() >= 0);
  const full = findFull();
  return broker.log.slice(0, full).map((line) => /the storage fills: over (\d+) %/.exec(line)?.[1]).filter(Boolean).map(Number);
}

const RETRY = (response) => response.status === 503 && response.error?.code === 'retry';

test('past storage.max_size a publish is answered `retry`, the rest goes on', async (t) => {
  const broker = await start(t, { set: { 'storage.max_size': '1MiB' } });
  const socket = await connect(t, broker.url);
  const data = 'x'.repeat(20_000);
  let stored = 0;
  const refused = await until('the database is full', async () => {
    const response = await call(broker, 'publish', { channel: 'log:full', data });
    if (response.status === 200) stored++;
    return response.status !== 200 && response;
  });
  assert.ok(RETRY(refused), refused.text);
  assert.equal(refused.headers['retry-after'], '1');
  assert.ok(stored > 10 && stored <= 60, `${stored} stored`);
  assert.deepEqual(await warnings(broker), [80, 90], 'it was said ahead');
  const [, left] = /^rtbroker_storage_left_bytes (\d+)/m.exec((await request(broker.port, '/metrics')).text);
  assert.ok(Number(left) < 200_000, `${left} bytes are left`);
  const answer = await socket.timeout(5000).emitWithAck('store', 'log:full', data);
  assert.deepEqual([answer.ok, answer.error], [false, 'retry']);
  assert.equal((await ok(broker, 'history', { channel: 'log:full' })).offset, stored);
  assert.deepEqual(await ok(broker, 'publish', { channel: 'loose:x', data: 1 }), {});
  const ready = await request(broker.port, '/readyz');
  assert.equal(ready.status, 503);
  assert.equal(ready.json().backends.log.up, false);
  assert.notEqual(ready.json().backends.log.last_error, '');
  assert.equal((await request(broker.port, '/healthz')).status, 200, 'a restart would not help');
});

test('the memory log stays within its bytes', { skip: SANITIZED && 'memory of a sanitizer build says nothing' }, async (t) => {
  const broker = await start(t, { set: { 'storage.path': '', 'limits.memory_log': '4MiB' } });
  const before = broker.memory();
  const agent = new http.Agent({ keepAlive: true, maxSockets: 8 });
  defer(t, () => agent.destroy());
  const data = 'x'.repeat(50_000);
  for (let round = 0; round < 75; round++)
    await Promise.all([...Array(16).keys()].map((i) => ok(broker, 'publish', { channel: `log:${i}`, data }, { agent })));
  const grown = broker.memory() - before;
  assert.ok(grown < 24 * 1024, `${grown} kB more after 60 MB were published`);
  const metrics = (await request(broker.port, '/metrics')).text;
  assert.ok(Number(/^rtbroker_history_bytes (\d+)/m.exec(metrics)[1]) <= 4 * 1024 * 1024);
});

const BURST = `
http: {listen: ["127.0.0.1:0"]}
protocols: {raw: [{path: "/raw/{channel}"}]}
channels:
  - {match: "burst", log: true, history: {size: 100000, ttl: 6s}, subscribe: anyone, publish: anyone}
  - {match: "stays", log: true, history: {size: 100000, ttl: 1h}, subscribe: anyone, publish: anyone}
limits: {memory_log: 256MiB, send_queue: 64MiB}
`;

// What stays lies between what goes, so that the C library by itself gives nothing back.
test('memory of a burst is given back', { skip: SANITIZED && 'memory of a sanitizer build says nothing' }, async (t) => {
  const config = path.join(tempDir(t), 'burst.yaml');
  writeFileSync(config, BURST);
  const broker = await startBroker(t, { config });
  const before = broker.memory();
  const open = async (channel) => {
    const socket = new WebSocket(`ws://127.0.0.1:${broker.port}/raw/${channel}`);
    defer(t, () => socket.terminate());
    await once(socket, 'open');
    return socket;
  };
  const burst = await open('burst');
  const stays = await open('stays');
  const data = 'x'.repeat(1000);
  for (let i = 0; i < 60_000; i++) {
    burst.send(data);
    if (i % 500 === 0) stays.send(data);
    if (i % 100 === 0) await until('it is taken', () => burst.bufferedAmount < 1 << 16);
  }
  let most = before;
  await until('the burst is forgotten, and its memory', () => {
    most = Math.max(most, broker.memory());
    return most - before > 40 * 1024 && broker.memory() - before < (most - before) / 3;
  }, 90_000);
});

// ---- disks ----

function smallDisk(t, size) {
  const dir = path.join(tempDir(t), 'disk');
  mkdirSync(dir);
  const mounted = spawnSync('mount', ['-t', 'tmpfs', '-o', `size=${size}`, 'rtbroker-test', dir], { encoding: 'utf8' });
  if (mounted.status !== 0) return null;
  defer(t, () => execFileSync('umount', ['-l', dir]));
  return dir;
}

test('a full disk: `retry`, everything else goes on, and it heals without a restart', async (t) => {
  const dir = smallDisk(t, '6m');
  if (!dir) return t.skip('a tmpfs cannot be mounted here (it takes root)');
  const ballast = path.join(dir, 'ballast');
  writeFileSync(ballast, Buffer.alloc(3 * 1024 * 1024));
  const broker = await start(t, { dir });
  const data = 'y'.repeat(30_000);
  const acknowledged = [];
  const publish = async () => {
    const response = await call(broker, 'publish', { channel: 'log:disk', data: { n: acknowledged.length, data } });
    if (response.status === 200) acknowledged.push(response.result.offset);
    return response;
  };
  const refused = await until('the disk is full', async () => {
    const response = await publish();
    return response.status !== 200 && response;
  });
  assert.ok(RETRY(refused), refused.text);
  assert.deepEqual(await warnings(broker), [80, 90], 'it was said ahead');
  assert.ok(broker.log.some((line) => line.includes('the disk: make room there')));
  const socket = await connect(t, broker.url);
  const ws = new WebSocket(`ws://127.0.0.1:${broker.port}/raw/loose:x`);
  defer(t, () => ws.terminate());
  await once(ws, 'open');
  const delivered = once(ws, 'message');
  assert.deepEqual(await ok(broker, 'publish', { channel: 'loose:x', data: 1 }), {});
  await delivered;
  assert.equal((await socket.timeout(5000).emitWithAck('store', 'log:disk', data)).error, 'retry');
  assert.equal((await request(broker.port, '/readyz')).status, 503);
  assert.equal((await ok(broker, 'history', { channel: 'log:disk' })).offset, acknowledged.length);

  rmSync(ballast);
  await until('it stores again', async () => (await publish()).status === 200, 10_000);
  await until('it is ready again', async () => (await request(broker.port, '/readyz')).status === 200);
  const log = await wholeLog(broker, 'log:disk', 20);
  assert.deepEqual(log.publications.map((p) => p.offset), acknowledged);
  await broker.kill();
  await broker.restart();
  assert.deepEqual((await wholeLog(broker, 'log:disk', 20)).publications.map((p) => p.offset), acknowledged);
});

test('a limit on the size of files is a full disk too: `retry`, and it heals when the limit is raised', async (t) => {
  const limit = (...args) => spawnSync('prlimit', args).status === 0;
  if (!limit('--version')) return t.skip('prlimit is not installed (package util-linux)');
  // Node ignores the signal that comes with the limit, and so would its children.
  const limited = (bytes) => ({ before: ['env', '--default-signal=XFSZ', 'prlimit', `--fsize=${bytes}:unlimited`] });
  await assert.rejects(start(t, { ...limited(40_000), exit: null }), /log\.db: .*no space left for the database/);
  const broker = await start(t, limited(1_500_000));
  const acknowledged = [];
  const publish = async () => {
    const response = await call(broker, 'publish', { channel: 'log:limit', data: 'z'.repeat(30_000) });
    if (response.status === 200) acknowledged.push(response.result.offset);
    return response;
  };
  const refused = await until('the limit is reached', async () => {
    const response = await publish();
    return response.status !== 200 && response;
  });
  assert.ok(RETRY(refused), refused.text);
  assert.ok(acknowledged.length > 10, `${acknowledged.length} stored`);
  const ready = await request(broker.port, '/readyz');
  assert.equal(ready.status, 503);
  assert.match(ready.json().backends.log.last_error, /storage is full/);
  assert.deepEqual(await ok(broker, 'publish', { channel: 'loose:x', data: 1 }), {});
  assert.equal((await ok(broker, 'history', { channel: 'log:limit' })).offset, acknowledged.length);
  assert.ok(limit('--pid', String(broker.pid), '--fsize=unlimited:unlimited'));
  await until('it stores again', async () => (await publish()).status === 200, 10_000);
  await until('it is ready again', async () => (await request(broker.port, '/readyz')).status === 200);
  await broker.kill();
  await broker.restart();
  // The limit is that of each start: it reads what it stored beyond it.
  assert.deepEqual((await wholeLog(broker, 'log:limit', 20)).publications.map((p) => p.offset), acknowledged);
});

test('a torn tail of the write-ahead log is cut off, what was acknowledged is there', async (t) => {
  const broker = await start(t);
  for (let n = 0; n < 50; n++) await ok(broker, 'publish', { channel: 'log:torn', data: n });
  await broker.kill();
  const wal = `${broker.file}-wal`;
  assert.ok(existsSync(wal) && statSync(wal).size > 0, 'there is no write-ahead log');
  appendFileSync(wal, randomBytes(5000));
  await broker.restart();
  assert.deepEqual((await wholeLog(broker, 'log:torn')).publications.map((p) => p.data), [...Array(50).keys()]);
  // Half of the last transaction: what came before it is there, and the next offset is not one that was given away.
  await ok(broker, 'publish', { channel: 'log:torn', data: 'last' });
  await broker.kill();
  const bytes = readFileSync(wal);
  writeFileSync(wal, bytes.subarray(0, bytes.length - 1000));
  await broker.restart();
  const log = await wholeLog(broker, 'log:torn');
  assert.deepEqual(log.publications.map((p) => p.data).slice(0, 50), [...Array(50).keys()]);
  await ok(broker, 'publish', { channel: 'log:torn', data: 'new' });
  const after = (await wholeLog(broker, 'log:torn')).publications;
  assert.deepEqual(after.map((p) => p.offset), after.map((_, i) => i + 1));
});

test('a file that is no database is not touched: the broker does not start, and says why', async (t) => {
  const dir = tempDir(t);
  const file = path.join(dir, 'log.db');
  writeFileSync(file, 'this is my diary, not a database\n'.repeat(200));
  await assert.rejects(start(t, { dir, exit: null }), /log\.db/);
  assert.match(readFileSync(file, 'utf8'), /^this is my diary/);
});

test('a damaged database: the broker does not start, and says why', async (t) => {
  const dir = tempDir(t);
  const broker = await start(t, { dir, exit: null });
  for (let n = 0; n < 200; n++) await ok(broker, 'publish', { channel: 'log:damaged', data: 'x'.repeat(1000) });
  await broker.stop();
  const bytes = readFileSync(broker.file);
  bytes.fill(0x5a, 8192, bytes.length - 8192);
  writeFileSync(broker.file, bytes);
  await assert.rejects(start(t, { dir, exit: null }), /log\.db|quick_check|malformed/);
});

test('a flipped byte of a stored message: it is not served, whoever reads over it is told', async (t) => {
  const broker = await start(t);
  const channel = 'log:flipped';
  const positions = await publishMany(broker, channel, 10, 'message');
  await broker.stop();
  const bytes = readFileSync(broker.file);
  const at = bytes.indexOf('message 5');
  assert.ok(at > 0 && bytes.indexOf('message 5', at + 1) < 0);
  bytes[at] ^= 0x20; // "Message 5" is as good JSON
  writeFileSync(broker.file, bytes);
  await broker.restart();
  const read = async (query) => {
    const { publications, gap } = await ok(broker, 'history', { channel, limit: -1, ...query });
    return [publications.map((p) => Number(p.data.slice(8))), gap];
  };
  assert.deepEqual(await read({ since: positions[1] }), [[2, 3, 4], undefined], 'up to the damage');
  assert.deepEqual(await read({ since: positions[4] }), [[6, 7, 8, 9], true], 'from the damage on');
  assert.deepEqual(await read({ since: positions[5] }), [[6, 7, 8, 9], undefined]);
  assert.deepEqual(await read({}), [[0, 1, 2, 3, 4, 6, 7, 8, 9], true], 'the window');
  const stream = await openStream(t, broker, `channel=${channel}`, { 'last-event-id': `${positions[2].epoch}:${positions[2].offset}` });
  await until('all came', () => stream.events.length >= 7);
  assert.deepEqual(stream.events.map((e) => e.event ?? e.data.offset), [4, 5, 'gap', 7, 8, 9, 10]);
  assert.match((await request(broker.port, '/metrics')).text, /^rtbroker_storage_damaged_reads_total [1-9]/m);
  assert.ok(broker.log.some((line) => line.includes('damaged') && line.includes(channel)));
});

test('a folder that is not there: the broker does not start, and says why', async (t) => {
  await assert.rejects(start(t, { dir: path.join(tempDir(t), 'no', 'such', 'folder'), exit: null }), /no\/such\/folder/);
});

test('two brokers do not share a file, whatever its names are', async (t) => {
  const dir = tempDir(t);
  const first = await start(t, { dir });
  const refusal = new RegExp(`log\\.db is in use by another rtbroker \\(process ${first.pid}\\)`);
  await assert.rejects(start(t, { dir, exit: null }), refusal);
  for (const link of [linkSync, symlinkSync]) {
    const other = tempDir(t);
    link(first.file, path.join(other, 'log.db'));
    await assert.rejects(start(t, { dir: other, exit: null }), refusal);
  }
  // Nothing that the refused ones did has harmed the first.
  await publishMany(first, 'log:shared', 3, 'x');
});
