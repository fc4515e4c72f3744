// Redis goes away, freezes, or becomes unreachable without a word, while all nodes publish (rows 13 and 16 of the failure matrix in docs/guarantees.md). How
// quickly things happen is told; only what must come out is asserted. test/chaos/outage.mjs holds the times, for longer.
// And who else is on that Redis: other clusters, and processes that use a name twice.
import assert from 'node:assert/strict';
import path from 'node:path';
import { after, before } from 'node:test';
import { setTimeout as delay } from 'node:timers/promises';

import { PATIENCE, shareCluster } from './cluster.mjs';
import { configPath, defer, startBroker, test, until } from './harness.mjs';
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

// ---- who else is there -----------------------------------------------------------------------------------------------

// Another process with a name and settings of its own on the cluster's Redis.
function another(t, name, set = {}, options = {}) {
  const { cluster } = shared;
  const { RT_REDIS_URL, RT_KAFKA_BROKERS, RT_KAFKA_TOPIC } = cluster.env;
  const services = { 'redis.url': RT_REDIS_URL, 'kafka.brokers': RT_KAFKA_BROKERS, 'kafka.topic': RT_KAFKA_TOPIC };
  const secret = { 'cluster.secret_file': path.join(cluster.dir, 'secret') };
  return startBroker(t, { config: configPath('cluster.yaml'), set: { 'node.name': name, ...services, ...secret, ...set }, ...options });
}

test('clusters on one Redis are told apart by their names, not by database numbers', async (t) => {
  const ephemeral = 'channels: [{match: "live:*", log: false, subscribe: anyone, publish: nobody}]\n' +
    'socketio: {on_connect: [{do: [{join: ["live:all"]}]}], events: [{event: live, do: [{publish: {channel: "live:all", event: live, data: $1}}]}]}\n';
  const node = (name, db, cluster) => startBroker(t, { text: ephemeral, set: { 'node.name': name, 'redis.url': `${shared.cluster.env.RT_REDIS_URL}/${db}`, 'cluster.name': cluster } });
  const [a1, a2, b1] = await Promise.all([node('a1', 1, 'a'), node('a2', 1, 'a'), node('b1', 2, 'b')]);
  const [one, two, other] = await Promise.all([a1, a2, b1].map(({ url }) => connect(t, url)));
  let sent = 0;
  await until('live messages cross within a cluster', () => {
    one.emit('live', ++sent);
    return two.of('live').length > 0;
  }, PATIENCE);
  one.emit('live', 'end');
  await until('the last one too', () => two.of('live').flat().includes('end'), PATIENCE);
  other.emit('live', 'own');
  await until('its own cluster has it', () => other.of('live').length > 0, PATIENCE);
  assert.deepEqual(other.of('live'), [['own']]);
  assert.ok(!two.of('live').flat().includes('own'));
});

test('a name that a living node has: the second process does not start, and says why', async (t) => {
  await whole();
  await assert.rejects(another(t, 'n1', {}, { exit: null }), /the broker ended at its start[^]*node\.name: \\?"n1\\?" is the name of another node/);
  assert.equal((await shared.cluster.ready('n1')).status, 200);
});

test('a node that is killed and started at once has its name again', MINUTES, async () => {
  const { cluster } = shared;
  const conflicts = () => cluster.metric('n1', 'cluster_name_conflicts_total');
  const before = await conflicts();
  for (let i = 0; i < 3; i++) {
    await cluster.act('kill', 'n3');
    await cluster.act('start', 'n3');
  }
  assert.equal(await conflicts(), before);
  await whole();
});

test('a node that wakes up when another process has taken its name: one of them ends', MINUTES, async (t) => {
  const { cluster } = shared;
  await cluster.act('pause', 'n3');
  const second = await another(t, 'n3', {}, { exit: null });
  await cluster.act('resume', 'n3');
  const ended = () => /"msg":"stopped"/.test(cluster.log('n3').split('"msg":"listening"').at(-1));
  await until('one of them ends', () => second.stopped || ended(), PATIENCE);
  if (second.stopped) {
    assert.deepEqual(await second.exit, { code: 1, signal: null });
    assert.equal((await cluster.ready('n3')).status, 200);
  } else {
    assert.match(cluster.log('n3'), /another node has this one's name/);
    assert.equal((await fetch(`${second.url}/readyz`)).status, 200);
    await second.stop();
    await cluster.act('start', 'n3');
  }
  await whole();
});

// As while nodes are restarted with new rules, one after the other: "/" is logged by all but n4, "live:*" by n4 alone.
test('nodes with other rules: messages cross in both directions, and that rules differ is told', MINUTES, async (t) => {
  const { cluster } = shared;
  await whole();
  const n4 = await another(t, 'n4', { channels: '[{match: "/", log: false, subscribe: anyone, publish: nobody}, {match: "live:*", log: true, subscribe: anyone, publish: nobody}]' });
  const metric = async (name) => Number(new RegExp(`^rtbroker_${name} (.*)$`, 'm').exec(await (await fetch(`${n4.url}/metrics`)).text())[1]);
  await until('rules are compared', async () => (await cluster.metric('n1', 'cluster_rules_differ')) === 1 && (await metric('cluster_rules_differ')) === 3, PATIENCE);
  assert.match(cluster.log('n1'), /a node has other rules/);
  const [old, young] = await Promise.all([cluster.nodeUrl('n1'), n4.url].map((url) => connect(t, url, { timeout: PATIENCE })));
  let sent = 0;
  const crosses = (what, from, to, ...event) => until(what, () => {
    from.emit(event[0], ++sent, `text ${sent}`);
    return to.of(event[1]).length > 0;
  }, PATIENCE);
  await crosses('not logged there, logged here', old, young, 'live', 'live');
  await crosses('logged there, not here', old, young, 'again', 'message');
  await crosses('the same from the other side', young, old, 'live', 'live');
  await crosses('and', young, old, 'again', 'message');
  assert.ok((await metric('relayed_logged_total')) > 0);
  assert.ok((await metric('log_records_unlogged_total')) > 0);
  for (const client of [old, young]) for (const event of ['live', 'message']) {
    const got = client.of(event).flat().map(String);
    assert.equal(new Set(got).size, got.length, `twice: ${got}`);
  }
  await n4.stop();
  await until('all have the same rules again', async () => (await cluster.metric('n1', 'cluster_rules_differ')) === 0, PATIENCE);
});
