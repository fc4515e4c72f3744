// Three nodes, Redis, Kafka, PostgreSQL and nginx, as scripts/run_cluster.sh starts them: one broker for those who look from outside.
import assert from 'node:assert/strict';
import { after, before } from 'node:test';

import { PATIENCE, shareCluster } from './cluster.mjs';
import { assertMetrics, configPath, noPromtool, test, until } from './harness.mjs';
import { TRANSPORTS, connect, events, settled } from './socketio.mjs';

const NODES = ['n1', 'n2', 'n3'];
const kinds = Object.values(TRANSPORTS);
const shared = shareCluster({ before, after }, { config: configPath('cluster.yaml') });

const nodeOf = (socket) => socket.io.engine.id.split('.')[0];
const patient = { timeout: 60_000, reconnectionDelay: 100, reconnectionDelayMax: 300 };

// At least n clients of all transports in turn, through nginx; on every node some.
async function crowd(t, n) {
  const clients = [];
  const join = async () => clients.push(await connect(t, shared.cluster.url, { ...kinds[clients.length % kinds.length], ...patient }));
  while (clients.length < n) await join();
  // Round robin; other tests' clients, still coming back, may be in between.
  await until('every node has clients', async () => NODES.every((name) => clients.some((c) => nodeOf(c) === name)) || (await join(), false), PATIENCE);
  await Promise.all(clients.map(settled));
  return clients;
}

const back = (clients) => until('all clients are back', () => clients.every((c) => c.connected), PATIENCE);
const send = (socket, event, ...args) => socket.timeout(PATIENCE).emitWithAck(event, ...args);

// All parts of the cluster run, and what they use is there.
async function whole() {
  for (const name of NODES)
    await until(`${name} has everything`, async () => Object.values((await shared.cluster.ready(name)).backends).every((b) => b.up), PATIENCE);
}

test('cluster: the classic chat: every message once to every client, all in one order, in Kafka and PostgreSQL once', async (t) => {
  const { cluster } = shared;
  const clients = await crowd(t, 12);
  const n = 600;
  const texts = [...Array(n).keys()].map((i) => `chat ${i} é`);
  texts.forEach((message, i) => clients[i % clients.length].emit('event:message', { message, ignored: true }));
  for (const c of clients) await events(c, 'message', n, PATIENCE);

  const order = clients[0].of('message').flat();
  assert.deepEqual([...order].sort(), texts.map((message) => JSON.stringify({ message })).sort());
  for (const c of clients) assert.deepEqual(c.of('message').flat(), order, 'another order');
  for (let who = 0; who < clients.length; who++) {
    const own = order.map((text) => JSON.parse(text).message).filter((m) => Number(m.split(' ')[1]) % clients.length === who);
    assert.deepEqual(own, texts.filter((_, i) => i % clients.length === who), 'what one client sends stays in its order');
  }
  const stored = (await cluster.records()).filter((r) => r.value?.includes('chat '));
  assert.equal(new Set(stored.map((r) => r.partition)).size, 1);
  assert.deepEqual(stored.map((r) => JSON.parse(r.value.toString())), order);
  // PostgreSQL holds it once, in the same order and as the same positions, for us and for an application of the classic stack.
  const sql = `select "offset", convert_from(data, 'UTF8') from rtbroker.message where channel = '/' and convert_from(data, 'UTF8') like '%chat %' order by epoch, "offset"`;
  const rows = await until('PostgreSQL has it', async () => {
    const some = await cluster.rows(sql);
    return some.length >= n && some;
  }, PATIENCE);
  assert.deepEqual(rows.map(([, data]) => JSON.parse(data)), order);
  assert.deepEqual(rows.map(([offset]) => Number(offset)), stored.map((r) => r.offset + 1));
  const shown = await cluster.rows(`select text from rtbroker.messages where text like '%chat %' order by id`);
  assert.deepEqual(shown.flat().sort(), [...order].sort(), 'the text as the client sees it, once');
});

test('cluster: what is delivered at once reaches every client once, too', async (t) => {
  const clients = await crowd(t, 6);
  const n = 200;
  for (let i = 0; i < n; i++) clients[i % clients.length].emit('fast', i);
  for (const c of clients) {
    await events(c, 'fast', n, PATIENCE);
    assert.deepEqual(c.of('fast').flat().sort((a, b) => a - b), [...Array(n).keys()]);
    for (let who = 0; who < clients.length; who++) {
      const own = c.of('fast').flat().filter((i) => i % clients.length === who);
      assert.deepEqual(own, [...own].sort((a, b) => a - b));
    }
  }
});

// The copies come over three partitions and without a log: on each node in an order of its own.
test('cluster: who is in several rooms gets what goes to all of them once', async (t) => {
  const clients = await crowd(t, 6);
  const numbers = [...Array(100).keys()];
  const answers = await Promise.all(numbers.map((i) => send(clients[i % clients.length], 'several', i)));
  assert.ok(answers.every((answer) => answer.ok), JSON.stringify(answers.find((answer) => !answer.ok)));
  for (const c of clients) await events(c, 'several', numbers.length, PATIENCE);
  // What comes behind on each way has come: every other copy was before it.
  await Promise.all(NODES.map((name) => shared.cluster.api(name, 'publish', { channel: 'live:all', event: 'end', data: 1 })));
  for (const room of ['a', 'b', 'c']) await shared.cluster.api('n1', 'publish', { channel: `room:${room}`, event: 'end', data: 1 });
  for (const c of clients) {
    await events(c, 'end', NODES.length + 3, PATIENCE);
    assert.deepEqual(c.of('several').flat().sort((a, b) => a - b), numbers);
  }
});

test('cluster: 20 of 20 sessions over polling, 20 of 20 upgrades', async (t) => {
  for (const options of [TRANSPORTS.polling, TRANSPORTS.upgrade]) {
    const clients = await Promise.all([...Array(20)].map(() => connect(t, shared.cluster.url, { ...options, ...patient, reconnection: false })));
    await Promise.all(clients.map(settled));
    assert.equal(new Set(clients.map(nodeOf)).size, NODES.length, 'sessions are spread');
    const answers = await Promise.all(clients.map((c) => send(c, 'whoami')));
    assert.equal(answers.length, 20);
    assert.ok(clients.every((c) => c.connected && c.io.engine.transport.name === options.transports.at(-1)));
    clients.forEach((c) => c.disconnect());
  }
});

test('cluster: nginx says who the client is, and is believed; anybody else is not', async (t) => {
  const { cluster } = shared;
  for (const options of kinds) {
    // The tests come from a trusted address themselves, as a further proxy would.
    const socket = await connect(t, cluster.url, { ...options, ...patient, extraHeaders: { 'X-Forwarded-For': '203.0.113.7' } });
    assert.equal(await send(socket, 'whoami'), '203.0.113.7');
  }
  // Only the last address that is not a proxy's counts: those before it are the client's own words.
  const liar = await connect(t, cluster.url, { ...patient, extraHeaders: { 'X-Forwarded-For': '198.51.100.9, 203.0.113.7' } });
  assert.equal(await send(liar, 'whoami'), '203.0.113.7');
});

test('cluster: API, metrics and health are not for the public', async () => {
  for (const path of ['/api/info', '/api/publish', '/metrics', '/readyz', '/healthz'])
    assert.equal((await fetch(shared.cluster.url + path, { method: 'POST', body: '{}', headers: { 'x-api-key': shared.cluster.env.RT_API_KEY } })).status, 404, path);
});

test('cluster: promtool has nothing to say of any node', { skip: noPromtool() }, async () => {
  for (const name of NODES) {
    const text = await shared.cluster.metrics(name);
    assert.match(text, /^# TYPE rtbroker_sink_rows_total counter$/m);
    assertMetrics(text);
  }
});

test('cluster: what the API publishes on one node reaches the clients of all', async (t) => {
  const { cluster } = shared;
  const clients = await crowd(t, 6);
  const positions = [];
  for (const [i, name] of NODES.entries()) positions.push(await cluster.api(name, 'publish', { channel: '/', event: 'news', data: i }));
  for (const c of clients) assert.deepEqual(await events(c, 'news', 3, PATIENCE), [[0], [1], [2]]);
  assert.equal(new Set(positions.map((p) => p.epoch)).size, 1);
  assert.deepEqual(positions.map((p) => p.offset), [...positions.map((p) => p.offset)].sort((a, b) => a - b));
  await cluster.api('n1', 'publish', { channel: 'live:all', event: 'news', data: 'live' });
  for (const c of clients) await events(c, 'news', 4, PATIENCE);
});

test('cluster: a node dies and comes back: its clients go on elsewhere', { timeout: 180_000 }, async (t) => {
  const { cluster } = shared;
  const clients = await crowd(t, 9);
  const left = clients.filter((c) => nodeOf(c) === 'n2');
  await cluster.act('kill', 'n2');
  await until('its clients have noticed', () => left.every((c) => !c.connected || nodeOf(c) !== 'n2'), PATIENCE);
  await back(clients);
  assert.ok(clients.every((c) => nodeOf(c) !== 'n2'));
  // New ones get in at the first try, whatever transport they begin with.
  for (const options of kinds) {
    const socket = await connect(t, cluster.url, { ...options, ...patient, reconnection: false });
    assert.notEqual(nodeOf(socket), 'n2');
  }
  assert.equal((await send(clients[0], 'again', 'dead-1', 'while it is dead')).ok, true);
  for (const c of clients) await until('the message is there', () => c.of('message').some(([text]) => text === 'while it is dead'), PATIENCE);

  await cluster.act('start', 'n2');
  const late = await crowd(t, 9); // somebody is on it again
  assert.equal((await send(late.find((c) => nodeOf(c) === 'n2'), 'again', 'dead-2', 'it is back')).ok, true);
  for (const c of [...clients, ...late]) await until('the message is there', () => c.of('message').some(([text]) => text === 'it is back'), PATIENCE);
  for (const c of clients) assert.equal(c.of('message').filter(([text]) => text === 'while it is dead').length, 1);
});

test('cluster: a node that stops sends its clients away and ends well', { timeout: 180_000 }, async (t) => {
  const { cluster } = shared;
  const clients = await crowd(t, 9);
  await cluster.act('stop', 'n3');
  await back(clients);
  assert.ok(clients.every((c) => nodeOf(c) !== 'n3'));
  assert.equal((await send(clients[0], 'again', 'stop-1', 'without n3')).ok, true);
  for (const c of clients) await until('the message is there', () => c.of('message').some(([text]) => text === 'without n3'), PATIENCE);
  await cluster.act('start', 'n3');
});

test('cluster: a session of a node that is down is told so at once', { timeout: 180_000 }, async () => {
  const { cluster } = shared;
  await cluster.act('kill', 'n1');
  const began = performance.now();
  const response = await fetch(`${cluster.url}/socket.io/?EIO=4&transport=polling&sid=n1.abcdefghijklmnop`);
  assert.equal(response.status, 502);
  assert.ok(performance.now() - began < 10_000, 'it is not waited for');
  await cluster.act('start', 'n1');
  const unknown = await fetch(`${cluster.url}/socket.io/?EIO=4&transport=polling&sid=n1.abcdefghijklmnop`);
  assert.equal(unknown.status, 400);
});

test('cluster: Redis cuts its links again and again: nothing missing, nothing twice, one order', { timeout: 180_000 }, async (t) => {
  const { cluster } = shared;
  await whole();
  const clients = await crowd(t, 6);
  const answers = [];
  const publish = (n) => {
    for (let i = 0; i < n; i++) {
      const text = `cut ${answers.length}`;
      answers.push(send(clients[answers.length % clients.length], 'again', text, text));
    }
  };
  for (let round = 0; round < 8; round++) {
    publish(10);
    await cluster.redis('CLIENT', 'KILL', 'TYPE', round % 2 ? 'normal' : 'pubsub');
    publish(10);
    await Promise.all(answers);
    // Cut anew while some links are there again, some not.
    await until('a node has its link again', async () => (await cluster.ready(NODES[round % 3])).backends.redis.up, PATIENCE);
  }
  const results = await Promise.all(answers);
  assert.ok(results.every((r) => r.ok), JSON.stringify(results.find((r) => !r.ok)));
  const order = results.map((r, i) => [r.offset, `cut ${i}`]).sort(([a], [b]) => a - b).map(([, text]) => text);
  for (const c of clients) {
    const got = () => c.of('message').flat().filter((text) => text.startsWith('cut '));
    await until('everything is there', () => got().length >= order.length, PATIENCE);
    assert.deepEqual(got(), order);
  }
});

// Sends it under its id until it is stored; the position.
const store = (socket, text) =>
  until(`"${text}" is stored`, async () => {
    const answer = await socket.timeout(60_000).emitWithAck('again', text, text);
    assert.ok(answer.ok || ['retry', 'unknown'].includes(answer.error), JSON.stringify(answer));
    return answer.ok && answer.offset;
  }, 90_000);

test('cluster: Kafka dies: it is said, the rest goes on, what was tried is stored once when it is back', { timeout: 240_000 }, async (t) => {
  const { cluster } = shared;
  await whole();
  const clients = await crowd(t, 6);
  const texts = [...Array(60).keys()].map((i) => `outage ${i}`);
  const tries = texts.slice(0, 30).map((text, i) => store(clients[i % clients.length], text));
  await cluster.act('kill', 'kafka');
  tries.push(...texts.slice(30).map((text, i) => store(clients[i % clients.length], text)));
  // Nobody waits for half a minute: what comes when the log is known to be away is refused at once.
  for (const socket of clients.slice(0, 3)) {
    await until('a publish is answered retry', async () => {
      const answer = await socket.timeout(60_000).emitWithAck('again', 'refused', 'refused');
      assert.equal(answer.ok, false);
      return answer.error === 'retry';
    }, 60_000);
  }
  for (const name of NODES) await until(`${name} is not ready`, async () => (await cluster.ready(name)).status === 503, PATIENCE);
  clients[0].emit('live', 'while Kafka is away');
  for (const c of clients) await until('live messages go on', () => c.of('live').some(([text]) => text === 'while Kafka is away'), PATIENCE);

  await cluster.act('start', 'kafka');
  const offsets = await Promise.all(tries);
  await whole();
  const order = texts.map((text, i) => [offsets[i], text]).sort(([a], [b]) => a - b).map(([, text]) => text);
  assert.equal(new Set(offsets).size, texts.length);
  for (const c of clients) {
    const got = () => c.of('message').flat().filter((text) => text.startsWith('outage '));
    await until('everything is there', () => got().length >= texts.length, PATIENCE);
    assert.deepEqual(got(), order);
  }
  assert.ok(clients.every((c) => c.connected));
});

test('cluster: every node knows the others', { timeout: 180_000 }, async (t) => {
  const { cluster } = shared;
  await whole();
  const clients = await crowd(t, 6);
  const counts = (name) => clients.filter((c) => nodeOf(c) === name).length;
  for (const name of NODES) {
    const nodes = await until('three nodes with their clients', async () => {
      const list = (await cluster.api(name, 'info')).nodes;
      return list.length === 3 && list.every((n) => n.num_subs >= 3 * counts(n.name)) && list;
    }, PATIENCE);
    assert.equal(nodes[0].name, name, 'this node comes first');
    assert.deepEqual(nodes.map((n) => n.name).sort(), NODES);
    for (const node of nodes) {
      assert.equal(node.uid, node.name);
      assert.equal(node.version, nodes[0].version);
      assert.ok(node.num_clients >= counts(node.name) && node.num_channels >= 3 && node.uptime >= 0, JSON.stringify(node));
    }
  }
  // One that stops says goodbye; one that dies is missed.
  for (const how of ['stop', 'kill']) {
    await cluster.act(how, 'n2');
    await until('it is gone', async () => (await cluster.api('n1', 'info')).nodes.length === 2, PATIENCE);
    await cluster.act('start', 'n2');
    await until('it is there again', async () => (await cluster.api('n1', 'info')).nodes.length === 3, PATIENCE);
  }
});
