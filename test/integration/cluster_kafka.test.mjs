// What a cluster does when its log goes away, comes back, or comes back as another one (docs/guarantees.md).
import assert from 'node:assert/strict';
import { randomUUID } from 'node:crypto';
import { readdirSync, rmSync } from 'node:fs';
import path from 'node:path';
import { after, before } from 'node:test';

import { PATIENCE, shareCluster } from './cluster.mjs';
import { configPath, test, until } from './harness.mjs';

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
