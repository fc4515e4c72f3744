// What a cluster does when its log goes away, comes back, or comes back as another one (docs/guarantees.md).
import assert from 'node:assert/strict';
import { randomUUID } from 'node:crypto';
import { readFileSync, readdirSync, rmSync } from 'node:fs';
import path from 'node:path';
import { after, before } from 'node:test';

import { PATIENCE, shareCluster } from './cluster.mjs';
import { configPath, test, until } from './harness.mjs';
import { client, events } from './socketio.mjs';

const MINUTES = { timeout: 300_000 };
const shared = shareCluster({ before, after }, { nodes: 2, without: ['nginx', 'postgres'], config: configPath('cluster.yaml') });
const CHANNEL = '/';

// One publish over the API: 'ok', 'retry', 'unknown', with the position. It is never sent again by itself.
async function publish(name, data, key = randomUUID()) {
  const { cluster } = shared;
  const response = await fetch(`${cluster.nodeUrl(name)}/api/publish`, {
    method: 'POST',
    headers: { 'x-api-key': cluster.env.RT_API_KEY },
    body: JSON.stringify({ channel: CHANNEL, data, idempotency_key: key }),
    signal: AbortSignal.timeout(60_000),
  });
  const body = await response.json();
  const status = response.ok ? 'ok' : body.code === 'unknown' ? 'unknown' : response.status === 503 ? 'retry' : 'refused';
  return { status, body, ...body.result };
}

// Until it is ok, with one key.
async function surely(name, data, key = randomUUID()) {
  return until(`${data} is stored`, async () => {
    const answer = await publish(name, data, key);
    assert.notEqual(answer.status, 'refused', JSON.stringify(answer.body));
    return answer.status === 'ok' && answer;
  }, 60_000);
}

const listen = (t, name) => shared.cluster.listen(t, name, CHANNEL);
const has = (seen, data) => seen.got.some((m) => m.data === data);
const arrives = (seen, data, ms = PATIENCE) => until(`${data} is delivered`, () => has(seen, data), ms);

test('Kafka is killed: `retry` soon, nothing else suffers, memory stays bounded, it heals', MINUTES, async (t) => {
  const { cluster } = shared;
  const streams = [await listen(t, 'n1'), await listen(t, 'n2')];
  await surely('n1', 'before');
  for (const s of streams) await arrives(s, 'before');
  const memory = await cluster.metric('n1', 'process_resident_memory_bytes');

  await cluster.act('kill', 'kafka');
  // Those that are on their way when it goes are answered, too: with `retry`, or with `unknown`.
  const early = [...Array(20).keys()].map((i) => ({ data: `early ${i}`, key: randomUUID() }));
  const answers = Promise.all(early.map((e) => publish('n1', e.data, e.key)));
  await until('new publishes get `retry`', async () => {
    const began = performance.now();
    const { status } = await publish('n1', 'probe');
    return status === 'retry' && performance.now() - began < 2000;
  }, 60_000);
  for (const a of await answers) assert.ok(['retry', 'unknown'].includes(a.status), JSON.stringify(a.body));

  // A flood is refused, not collected.
  const big = 'x'.repeat(60_000);
  for (let round = 0; round < 40; round++) {
    const statuses = await Promise.all([...Array(50).keys()].map(() => publish('n1', big)));
    assert.ok(statuses.every((s) => s.status !== 'ok'));
  }
  const grown = (await cluster.metric('n1', 'process_resident_memory_bytes')) - memory;
  assert.ok(grown < 100e6, `${grown} bytes more than before`);

  // What needs no log goes on: history, channels without one, both nodes.
  const ready = await cluster.ready('n1');
  assert.equal(ready.status, 503);
  assert.equal(ready.backends.log.up, false);
  assert.notEqual(ready.backends.log.last_error, '');
  assert.equal((await fetch(`${cluster.nodeUrl('n1')}/healthz`)).status, 200);
  const { publications } = await cluster.api('n2', 'history', { channel: CHANNEL, limit: 100 });
  assert.ok(publications.some((p) => p.data === 'before'));
  await cluster.api('n1', 'publish', { channel: 'live:all', data: 'no log needed' });

  await cluster.act('start', 'kafka');
  for (const e of early) await surely('n1', e.data, e.key);
  await surely('n2', 'healed');
  for (const s of streams) {
    await arrives(s, 'healed');
    for (const e of early) assert.equal(s.got.filter((m) => m.data === e.data).length, 1, `${e.data} once`);
    const offsets = s.got.map((m) => m.offset);
    assert.deepEqual(offsets, [...offsets].sort((a, b) => a - b), 'positions rise');
    assert.equal(s.gaps, 0);
  }
  assert.deepEqual(streams[0].got, streams[1].got, 'one order');
  await until('the node is ready again', async () => (await cluster.ready('n1')).status === 200, PATIENCE);
});

test('a node dies between the log and Redis: the others have it from the log', MINUTES, async (t) => {
  const { cluster } = shared;
  const seen = await listen(t, 'n2');
  await surely('n1', 'with Redis');
  await arrives(seen, 'with Redis');
  await cluster.act('pause', 'redis'); // what n1 tells the others goes nowhere
  const { offset } = await surely('n1', 'last words');
  await cluster.act('kill', 'n1');
  await arrives(seen, 'last words');
  assert.equal(seen.got.find((m) => m.data === 'last words').offset, offset);
  await cluster.act('resume', 'redis');
  await cluster.act('start', 'n1');
  const { publications } = await cluster.api('n1', 'history', { channel: CHANNEL, limit: 1, reverse: true });
  assert.deepEqual([publications[0].data, publications[0].offset], ['last words', offset], 'it reads the log back before it serves');
});

test('the log is lost and begins anew: another epoch, old positions are refused, it goes on', MINUTES, async (t) => {
  const { cluster } = shared;
  const old = await surely('n1', 'in the old log');
  await cluster.act('kill', 'kafka');
  const data = path.join(cluster.dir, 'kafka', 'data');
  const partitions = readdirSync(data).filter((name) => name.startsWith(`${cluster.env.RT_KAFKA_TOPIC}-`));
  assert.ok(partitions.length > 1, `partitions in ${data}`);
  for (const name of partitions) rmSync(path.join(data, name), { recursive: true });
  await cluster.act('start', 'kafka');

  // Stored for sure; at what position, and by which name, is known once the log has been read.
  const first = await surely('n2', 'in the new log');
  assert.ok(first.offset === 0 || first.epoch !== old.epoch, JSON.stringify(first));
  const anew = await until('positions go by another name', async () => {
    const now = await cluster.api('n2', 'history', { channel: CHANNEL, limit: 10 });
    return now.epoch !== old.epoch && now.publications.some((p) => p.data === 'in the new log') && now;
  }, PATIENCE);
  const live = await listen(t, 'n1');
  await surely('n2', 'delivered');
  await arrives(live, 'delivered');
  for (const name of ['n1', 'n2']) {
    const since = { epoch: old.epoch, offset: old.offset };
    await assert.rejects(cluster.api(name, 'history', { channel: CHANNEL, limit: 10, since }), /epoch/);
    const { publications, epoch } = await cluster.api(name, 'history', { channel: CHANNEL, limit: 10 });
    assert.equal(epoch, anew.epoch);
    assert.deepEqual(publications.map((p) => p.data), ['in the new log', 'delivered']);
    assert.match(cluster.log(name), /is not the one it was/, 'it is an alarm');
  }
});

test('Kafka is away when nodes start: they say so and wait, one ends at a signal, and all opens once Kafka is there', MINUTES, async (t) => {
  const { cluster } = shared;
  const brokers = cluster.env.RT_KAFKA_BROKERS;
  for (const part of ['n1', 'n2', 'kafka']) await cluster.act('kill', part);
  for (const name of ['n1', 'n2']) await cluster.act('start', name); // it lives
  for (const name of ['n1', 'n2']) {
    const { status, serving, backends } = await until(`${name} says why`, async () => {
      const ready = await cluster.ready(name);
      return ready.backends.log.last_error.includes('refused') && ready;
    }, PATIENCE);
    assert.deepEqual([status, serving, backends.log.kind, backends.log.required, backends.log.up], [503, false, 'kafka', true, false]);
    assert.match(backends.log.last_error, new RegExp(`^Kafka at ${brokers} does not answer: .*refused`));
    assert.match(cluster.log(name), new RegExp(`waits for Kafka.*${brokers}.*refused`));
    assert.ok(await cluster.metric(name, 'process_open_fds') >= 0);
  }
  const url = cluster.nodeUrl('n1');
  for (const where of ['/socket.io/?EIO=4&transport=polling', '/api/publish', '/nothing']) {
    const response = await fetch(url + where, { method: where.startsWith('/api') ? 'POST' : 'GET' });
    const body = await response.json();
    assert.deepEqual([response.status, body.code, response.headers.get('retry-after')], [503, 'not_ready', '5'], where);
    assert.ok(!body.message.includes(brokers), 'what services there are is nobody else\'s matter');
  }
  const [early, late] = [client(t, url), client(t, cluster.nodeUrl('n2'), { transports: ['polling'] })];
  await until('both are refused', () => early.lastError && late.lastError, PATIENCE);
  assert.ok(!early.connected && !late.connected);

  const began = performance.now();
  await cluster.act('stop', 'n2');
  assert.ok(performance.now() - began < 5000, 'it does not wait for Kafka');
  assert.equal(readFileSync(path.join(cluster.dir, 'n2', 'status'), 'utf8').trim(), '0');

  await cluster.act('start', 'kafka');
  await cluster.act('start', 'n2'); // it is ready
  await until('both are in', () => early.connected && late.connected, PATIENCE);
  early.emit('event:message', { message: 'after all' });
  for (const socket of [early, late]) assert.deepEqual(await events(socket, 'message', 1, PATIENCE), [['{"message":"after all"}']]);
  await until('n1 is ready, and nothing is wrong any more', async () => {
    const { status, backends } = await cluster.ready('n1');
    return status === 200 && backends.log.last_error === '';
  }, PATIENCE);
});
