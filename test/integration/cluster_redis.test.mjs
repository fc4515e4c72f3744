// Redis goes away, freezes, or becomes unreachable without a word, while all nodes publish (rows 13 and 16 of the failure matrix in docs/guarantees.md). How
// quickly things happen is told; only what must come out is asserted. test/chaos/outage.mjs holds the times, for longer.
import assert from 'node:assert/strict';
import { after, before } from 'node:test';
import { setTimeout as delay } from 'node:timers/promises';

import { PATIENCE, shareCluster } from './cluster.mjs';
import { configPath, defer, test, until } from './harness.mjs';
import { connect } from './socketio.mjs';

const NODES = ['n1', 'n2', 'n3'];
const AWAY = 15_000; // how long
const PAUSE = 100; // between two messages of one client
const shared = shareCluster({ before, after }, { config: configPath('cluster.yaml'), without: ['nginx', 'postgres'], proxied: ['n2'] });

const backends = async (name) => (await shared.cluster.ready(name)).backends;
const linked = async (name) => (await backends(name)).redis.up;
// What a node could not tell the others.
const counted = async (name) => (await shared.cluster.metric(name, 'redis_dropped_total')) + (await shared.cluster.metric(name, 'redis_unanswered_total'));
const rising = (list) => list.every((n, i) => i === 0 || n > list[i - 1]);

async function whole() {
  for (const name of NODES) await until(`${name} has everything`, async () => Object.values(await backends(name)).every((b) => b.up), PATIENCE);
}

// Clients of all nodes: each sends logged messages, one after the other; one of them `live` ones as well, which only say their number.
class Load {
  constructor(clients, name, liveFrom) {
    Object.assign(this, { clients, name, liveFrom, stored: [], sentAt: new Map(), lives: 0, going: true, alive: true });
    for (const client of clients) {
      client.arrived = new Map(); // text -> when
      client.on('message', (text) => client.arrived.set(text, performance.now()));
    }
    const all = [...clients.map((client, k) => this.tell(client, k)), this.tellLive()];
    this.loops = all.map((loop) => loop.catch((error) => (this.error ??= error)));
  }

  async tell(client, k) {
    for (let i = 0; this.going; i++) {
      const text = `${this.name} ${k}-${i}`;
      this.sentAt.set(text, performance.now());
      const answer = await client.timeout(PATIENCE).emitWithAck('again', text, text);
      assert.equal(answer.ok, true, `${text}: ${JSON.stringify(answer)}`);
      this.stored.push({ text, offset: answer.offset });
      await delay(PAUSE);
    }
  }

  async tellLive() {
    while (this.alive) {
      this.liveFrom.emit('live', ++this.lives);
      await delay(PAUSE);
    }
  }

  got(client) {
    return client.of('message').flat().filter((text) => text.startsWith(`${this.name} `));
  }

  // Everybody has what is stored by now.
  async arrives(what) {
    const texts = this.stored.map(({ text }) => text);
    for (const client of this.clients)
      await until(`${what}: ${texts.length} messages at a client of ${client.node}`, () => texts.every((text) => client.arrived.has(text)), PATIENCE);
  }

  halt() {
    this.going = this.alive = false;
  }

  // Of what was sent between two times.
  latency(from, to) {
    const times = [];
    for (const [text, at] of this.sentAt)
      if (at >= from && at < to) for (const client of this.clients) times.push(client.arrived.get(text) - at);
    times.sort((a, b) => a - b);
    const q = (share) => `${Math.round(times[Math.floor(times.length * share)])} ms`;
    return `${times.length} deliveries, p50 ${q(0.5)}, p99 ${q(0.99)}, longest ${Math.round(times.at(-1))} ms`;
  }

  async stop() {
    this.halt();
    await Promise.all(this.loops);
    if (this.error) throw this.error;
  }

  check() {
    const order = [...this.stored].sort((a, b) => a.offset - b.offset).map(({ text }) => text);
    for (const client of this.clients) assert.deepEqual(this.got(client), order, `a client of ${client.node}: each once, in the order of the log`);
  }
}

// `begin` and `end` are what happens, `cut` the nodes that have no Redis then. The sender of live messages is a client of `sender`, which is one of them.
async function outage(t, { name, begin, end, cut, sender }) {
  const { cluster } = shared;
  await whole();
  const clients = [];
  for (const node of [...NODES, ...NODES]) clients.push(Object.assign(await connect(t, cluster.nodeUrl(node), { timeout: PATIENCE }), { node }));
  const load = new Load(clients, name, clients.find(({ node }) => node === sender));
  defer(t, () => load.halt());
  const others = clients.filter(({ node }) => node !== sender);
  await until('live messages cross', () => others.every((c) => c.of('live').length > 0), PATIENCE);
  const lostBefore = await counted(sender);

  const wall = Date.now();
  const from = performance.now();
  let over = false;
  defer(t, () => over || end()); // the next test wants it whole, also after a failure
  await begin();
  const noticed = [];
  for (const node of cut) {
    const { redis } = await until(`${node} has noticed`, async () => {
      const all = await backends(node);
      return !all.redis.up && all;
    }, PATIENCE);
    noticed.push(`${node} ${Date.parse(redis.since) - wall} ms`);
    assert.notEqual(redis.last_error, '');
    assert.equal((await cluster.ready(node)).status, 200, 'a node without Redis still serves');
    assert.equal(await cluster.metric(node, 'redis_up'), 0);
  }
  await delay(Math.max(0, from + AWAY - performance.now()));
  await load.arrives('while Redis is away');
  for (const node of NODES) assert.equal(await linked(node), !cut.includes(node), `${node}: whether it has Redis`);
  load.alive = false;
  await load.loops.at(-1);
  // Its own node's clients have them all; what others did not get is counted.
  for (const c of clients.filter(({ node }) => node === sender)) await until('its own node has them', () => c.of('live').length === load.lives, PATIENCE);
  const lost = others.map((c) => load.lives - c.of('live').length);
  const loss = (await counted(sender)) - lostBefore;
  assert.ok(Math.min(...lost) > 0, 'nothing was lost: the link was there');
  assert.ok(loss >= Math.max(...lost), `${lost} live messages were lost, ${loss} counted`);
  const to = performance.now();

  over = true;
  await end();
  await whole();
  const healed = performance.now();
  load.liveFrom.emit('live', ++load.lives);
  const last = load.lives;
  for (const c of clients) await until('live messages cross again', () => c.of('live').flat().includes(last), PATIENCE);
  await load.stop();
  await load.arrives('in the end');
  load.check();
  for (const c of clients) {
    const live = c.of('live').flat();
    assert.ok(rising(live), `live messages twice or in another order at a client of ${c.node}: ${live}`);
  }
  t.diagnostic(`noticed after ${noticed.join(', ')}; back ${Math.round(healed - to)} ms after the end`);
  t.diagnostic(`while it was away: ${load.latency(from, to)}; ${Math.max(...lost)} live messages lost, ${loss} messages counted`);
}

const MINUTES = { timeout: 240_000 };

test('Redis is killed: logged messages go on, what is lost of the others is counted, it heals', MINUTES, (t) =>
  outage(t, { name: 'killed', begin: () => shared.cluster.act('kill', 'redis'), end: () => shared.cluster.act('start', 'redis'), cut: NODES, sender: 'n1' }));

test('Redis is frozen: the same', MINUTES, (t) =>
  outage(t, { name: 'frozen', begin: () => shared.cluster.act('pause', 'redis'), end: () => shared.cluster.act('resume', 'redis'), cut: NODES, sender: 'n1' }));

test('the link of one node is half-open: noticed, logged messages go on, other nodes notice nothing, it heals', MINUTES, (t) => {
  const proxy = shared.cluster.proxies.n2;
  return outage(t, { name: 'half-open', begin: () => proxy.hush(), end: () => proxy.hush(false), cut: ['n2'], sender: 'n2' });
});
