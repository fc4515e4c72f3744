// What operators do to the log of a running cluster (docs/kafka.md): partitions added, records of other programs.
import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { randomUUID } from 'node:crypto';
import { after, before } from 'node:test';

import { PATIENCE, shareCluster } from './cluster.mjs';
import { configPath, defer, test, until, within } from './harness.mjs';
import { addPartitions, deleteRecords, partitionOf, produce } from './producer.mjs';
import { connect } from './socketio.mjs';
import { assertRecovered, back, comeBack, goAway, traveller } from './traveller.mjs';

const MINUTES = { timeout: 300_000 };
const NODES = ['n1', 'n2', 'n3'];
const ROOMS = [...Array(6).keys()].map((i) => `room:${i}`);
const FROZEN = 4; // the rooms from here on are published to on the node that is frozen
const MORE = 32;
const shared = shareCluster({ before, after }, { nodes: 3, without: ['nginx'], config: configPath('cluster_operator.yaml') });

// Publishes to one room, each message after the one before was acknowledged, on one of the nodes after the other; `acknowledged` has { data, epoch, offset }.
class Publisher {
  constructor(room, nodes) {
    this.room = room;
    this.nodes = nodes;
    this.acknowledged = [];
    this.answers = { ok: 0, retry: 0, unknown: 0 };
    this.stopped = false;
    this.ended = this.run();
    this.ended.catch(() => {}); // stop() tells
  }

  async run() {
    const { cluster } = shared;
    for (let i = 0; !this.stopped; i++) {
      const data = `${this.room}#${i}`, key = randomUUID();
      for (let tries = 0; !this.stopped; tries++) {
        const response = await fetch(`${cluster.nodeUrl(this.nodes[(i + tries) % this.nodes.length])}/api/publish`, {
          method: 'POST',
          headers: { 'x-api-key': cluster.env.RT_API_KEY },
          body: JSON.stringify({ channel: this.room, data, idempotency_key: key }),
          signal: AbortSignal.timeout(60_000),
        });
        const body = await response.json();
        const status = response.ok ? 'ok' : body.code;
        assert.ok(status in this.answers, `${data}: ${JSON.stringify(body)}`);
        this.answers[status]++;
        if (status === 'ok') {
          this.acknowledged.push({ data, ...body.result });
          break;
        }
        await new Promise((resolve) => setTimeout(resolve, 100)); // as Retry-After asks, but sooner
      }
    }
  }

  stop() {
    this.stopped = true;
    return this.ended;
  }
}

// What was acknowledged, in its order, each once; what was answered `unknown` may be there once more.
function assertDelivered(seen, acknowledged, who) {
  const first = [...new Set(seen)];
  const wanted = acknowledged.map((m) => m.data);
  assert.deepEqual(first.filter((data) => wanted.includes(data)), wanted, who);
}

// Another program with an open transaction in a partition; end() commits it. kcat sends what fills its input buffer, the rest at the end.
function transaction(t, partition) {
  const { RT_KAFKA_BROKERS: brokers, RT_KAFKA_TOPIC: topic } = shared.cluster.env;
  const child = spawn('kcat', ['-P', '-b', brokers, '-t', topic, '-p', String(partition), '-K', '|', '-X', 'transactional.id=stranger', '-X', 'linger.ms=5'], { stdio: ['pipe', 'ignore', 'ignore'] });
  defer(t, () => child.kill('SIGKILL'));
  const closed = new Promise((resolve) => child.on('close', resolve));
  child.stdin.write(`stranger|${'x'.repeat(200)}\n`.repeat(1000));
  return { end: async () => { child.stdin.end(); assert.equal(await within(PATIENCE, 'kcat commits', closed), 0); } };
}

test('an open transaction of another program: every node says so, and what the sink lags behind; all is delivered and stored once it ends', MINUTES, async (t) => {
  const { cluster } = shared;
  const room = 'room:held';
  const publish = (data) => cluster.api('n1', 'publish', { channel: room, data });
  const streams = await Promise.all(NODES.map((name) => cluster.listen(t, name, room)));
  const has = (seen, data) => seen.got.some((m) => m.data === data);
  const { epoch } = await publish('before');
  const partition = Number(epoch.split('.')[1]);
  await until('all have it', () => streams.every((seen) => has(seen, 'before')), PATIENCE);
  const lag = async () => (await Promise.all(NODES.map((name) => cluster.metric(name, 'sink_lag_records')))).reduce((sum, n) => sum + n, 0);
  await until('it is stored', async () => (await lag()) === 0, PATIENCE);

  const { end } = transaction(t, partition);
  await Promise.all(NODES.map((name) => until(`${name} says it`, async () => {
    const { status, backends: { log } } = await cluster.ready(name);
    return status === 503 && !log.up && log.last_error.includes(`open transaction of another program holds 1 partition(s) back`) && log.last_error.includes(`in partition ${partition} at offset `);
  }, PATIENCE)));
  for (const name of NODES) assert.equal(await cluster.metric(name, 'kafka_stuck_partitions'), 1);
  const hidden = await publish('hidden');
  assert.ok(hidden.offset > 0, 'it is stored');
  await until('the lag shows what is held back', async () => (await lag()) > 500, PATIENCE);
  assert.ok(!streams.some((seen) => has(seen, 'hidden')));

  await end();
  await until('all nodes are ready', async () => (await Promise.all(NODES.map((name) => cluster.ready(name)))).every((r) => r.status === 200), PATIENCE);
  await until('it is delivered', () => streams.every((seen) => has(seen, 'hidden')), PATIENCE);
  await until('it is stored', async () => (await lag()) === 0, PATIENCE);
  const rows = await cluster.rows(`SELECT "offset" FROM rtbroker.message WHERE channel = '${room}' ORDER BY "offset"`);
  assert.deepEqual(rows.map(Number).at(-1), hidden.offset);
  for (const name of NODES) assert.equal(await cluster.metric(name, 'kafka_stuck_partitions'), 0);
});

test('partitions are added under load, one node is frozen meanwhile: every node follows by itself, nothing acknowledged is missing or out of order', MINUTES, async (t) => {
  const { cluster } = shared;
  const { RT_KAFKA_BROKERS: brokers, RT_KAFKA_TOPIC: topic } = cluster.env;
  const streams = [];
  for (const name of NODES) for (const room of ROOMS) streams.push({ name, room, seen: await cluster.listen(t, name, room) });
  const socket = await connect(t, cluster.nodeUrl('n2'));
  for (const room of ROOMS) assert.equal(await socket.emitWithAck('join', room), 'joined');
  const publishers = ROOMS.map((room, i) => new Publisher(room, i < FROZEN ? ['n1', 'n2'] : ['n3']));
  defer(t, () => publishers.forEach((p) => p.stop().catch(() => {}))); // of a test that has failed
  const enough = (n) => until(`${n} more are acknowledged in each room`, () => publishers.every((p) => p.acknowledged.length >= p.mark + n), PATIENCE);
  const mark = () => publishers.forEach((p) => (p.mark = p.acknowledged.length));
  mark();
  await enough(20);
  const before = publishers.map((p) => p.acknowledged.at(-1));

  const began = performance.now();
  await cluster.act('pause', 'n3'); // it believes in 16 when it wakes, with messages on their way
  await addPartitions(brokers, topic, MORE);
  await Promise.all(['n1', 'n2'].map((name) => until(`${name} has seen it`, async () => {
    const ready = await cluster.ready(name);
    return ready.status === 503 && /the topic has 32 partitions now, this node still goes by 16/.test(ready.backends.log.last_error);
  }, PATIENCE)));
  assert.ok(performance.now() - began < 10_000, 'seen within 10 s');
  const follows = (name) => until(`${name} follows`, async () => (await cluster.metric(name, 'kafka_partitions')) === MORE && (await cluster.ready(name)).status === 200, 60_000);
  await Promise.all(['n1', 'n2'].map(follows));
  await cluster.act('resume', 'n3');
  await follows('n3');
  mark();
  await enough(20);
  for (const p of publishers) await p.stop();

  // Homes have moved, positions have new epochs, each room has one at a time.
  for (const [i, p] of publishers.entries()) {
    const epochs = [...new Set(p.acknowledged.filter((m) => m.offset > 0).map((m) => m.epoch))];
    assert.equal(epochs.length, 2, `${p.room}: ${epochs}`);
    assert.ok(epochs[0].endsWith('.16') && epochs[1].endsWith('.32'), `${epochs}`);
    assert.equal(before[i].epoch, epochs[0]);
    if (i < FROZEN) assert.ok(p.answers.retry > 0);
  }
  assert.ok(publishers.some((p) => p.acknowledged[0].epoch.split('.')[1] !== p.acknowledged.at(-1).epoch.split('.')[1]), 'no room has moved: other names are needed');

  // Who stayed connected has everything in order, on every node.
  for (const { name, room, seen } of streams) {
    const { acknowledged } = publishers[ROOMS.indexOf(room)];
    await until(`${name} has delivered ${room}`, () => seen.got.some((m) => m.data === acknowledged.at(-1).data), PATIENCE);
    assertDelivered(seen.got.map((m) => m.data), acknowledged, `${room} on ${name}`);
    assert.equal(seen.gaps, 0);
  }
  assert.ok(socket.connected);
  for (const p of publishers) {
    const got = () => socket.of('message').map((args) => args[0]).filter((data) => data?.startsWith?.(`${p.room}#`));
    await until(`the socket has ${p.room}`, () => got().includes(p.acknowledged.at(-1).data), PATIENCE);
    assertDelivered(got(), p.acknowledged, `${p.room} of the socket`);
  }

  // Everything acknowledged is a row, under the epoch that was said; older positions are told to be of another epoch, and the beginning not to be all.
  const all = publishers.flatMap((p) => p.acknowledged.filter((m) => m.offset > 0).map((m) => `${p.room}\t${m.epoch}\t${m.offset}`));
  await until('PostgreSQL has all of it', async () => {
    const rows = new Set((await cluster.rows('SELECT channel, epoch, "offset" FROM rtbroker.message')).map((row) => row.join('\t')));
    return all.every((row) => rows.has(row));
  }, 2 * PATIENCE);
  // Partitions of nothing but markers too; each goes over once.
  const renamed = (await Promise.all(NODES.map((name) => cluster.metric(name, 'sink_epochs_total')))).reduce((a, b) => a + b);
  assert.ok(renamed <= MORE, `sinks found another epoch ${renamed} times in ${MORE} partitions`);
  await cluster.act('kill', 'n3');
  await cluster.act('start', 'n3');
  for (const name of ['n1', 'n3']) {
    for (const [i, room] of ROOMS.entries()) {
      const { epoch, offset } = before[i];
      await assert.rejects(cluster.api(name, 'history', { channel: room, limit: 10, since: { epoch, offset } }), /416.*epoch/);
      const page = await cluster.api(name, 'history', { channel: room, limit: 1000, since: { offset: 0 } });
      assert.equal(page.gap, true, `${room} on ${name}: what is of a former epoch is not hidden`);
      const now = publishers[i].acknowledged.filter((m) => m.epoch === page.epoch);
      assertDelivered(page.publications.map((m) => m.data), now, `history of ${room} on ${name}`);
      const rest = await cluster.api(name, 'history', { channel: room, limit: 1000, since: { epoch: page.epoch, offset: now[0].offset } });
      assert.ok(!rest.gap, 'from a position of this epoch nothing is missing');
    }
  }
});

test('another program has another partitioner: its records are found in their channels all the same, by who is connected and by who comes back', MINUTES, async (t) => {
  const { cluster } = shared;
  const { RT_KAFKA_BROKERS: brokers, RT_KAFKA_TOPIC: topic } = cluster.env;
  const room = 'room:foreign', count = await cluster.metric('n1', 'kafka_partitions');
  const streams = await Promise.all(NODES.map((name) => cluster.listen(t, name, room)));
  const socket = await traveller(t, cluster, 'n1');
  assert.equal(await socket.emitWithAck('join', room), 'joined');
  const publish = (data) => cluster.api('n2', 'publish', { channel: room, data });
  const first = await publish('first');
  await until('the socket has it', () => socket.of('message').length === 1, PATIENCE);
  await goAway(socket);
  const elsewhere = (partitionOf(room, count) + 1) % count;
  for (const value of ['"foreign 0"', '"foreign 1"', '"foreign 2"']) await produce(brokers, topic, elsewhere, [{ key: room, value }]);
  const foreign = ['foreign 0', 'foreign 1', 'foreign 2'];
  for (const seen of streams) await until('they are delivered', () => foreign.every((data) => seen.got.some((m) => m.data === data)), PATIENCE);
  await publish('last');
  const wanted = ['first', ...foreign, 'last'];
  for (const [i, seen] of streams.entries()) {
    await until(`${NODES[i]} has the last one`, () => seen.got.at(-1)?.data === 'last', PATIENCE);
    assert.deepEqual(seen.got.map((m) => m.data), wanted, NODES[i]);
    const page = await cluster.api(NODES[i], 'history', { channel: room, limit: 10, since: { epoch: first.epoch, offset: first.offset } });
    assert.deepEqual(page.publications.map((m) => m.data), wanted.slice(1));
    assert.match(cluster.log(NODES[i]), /partitioner=murmur2_random/);
    assert.ok((await cluster.metric(NODES[i], 'kafka_misplaced_total')) >= foreign.length);
    assert.equal(await cluster.metric(NODES[i], 'kafka_misplaced_lost_total'), 0);
  }
  comeBack(socket, cluster, 'n3');
  await back(socket, 1);
  assertRecovered(socket);
  await until('the socket has all of it', () => socket.of('message').length >= wanted.length, PATIENCE);
  assert.deepEqual(socket.of('message').map((args) => args[0]), wanted);
  // The sink of a node that was killed is taken over first.
  let rows = [];
  await until('PostgreSQL has the last one', async () => {
    rows = (await cluster.rows(`SELECT convert_from(data, 'UTF8') FROM rtbroker.message WHERE channel = '${room}' ORDER BY "offset"`)).flat();
    return rows.includes('"last"');
  }, 2 * PATIENCE);
  assert.deepEqual(rows, wanted.map((data) => JSON.stringify(data)), 'rows: each once, in order');
  let dead = [];
  await until('the records as they were sent are dead letters', async () => {
    dead = await cluster.rows(`SELECT part, error FROM rtbroker.dead_letter WHERE convert_from(channel, 'UTF8') = '${room}'`);
    return dead.length >= foreign.length;
  }, PATIENCE);
  assert.equal(dead.length, foreign.length);
  for (const [part, error] of dead) assert.match(`${part} ${error}`, new RegExp(`^${elsewhere} .*its channel's is ${partitionOf(room, count)}`));
});

test('records are deleted from the log while a node is frozen, which could get them from nowhere else: it knows, nothing comes twice, no position changes its name', MINUTES, async (t) => {
  const { cluster } = shared;
  const { RT_KAFKA_BROKERS: brokers, RT_KAFKA_TOPIC: topic } = cluster.env;
  const room = 'room:deleted', count = await cluster.metric('n1', 'kafka_partitions');
  const streams = await Promise.all(NODES.map((name) => cluster.listen(t, name, room)));
  const socket = await traveller(t, cluster, 'n3');
  assert.equal(await socket.emitWithAck('join', room), 'joined');
  const publish = (data) => cluster.api('n1', 'publish', { channel: room, data });
  const first = await publish('first');
  for (const [i, seen] of streams.entries()) await until(`${NODES[i]} has it`, () => seen.got.length === 1, PATIENCE);
  await until('the socket has it', () => socket.of('message').length === 1, PATIENCE);
  const gaps = await cluster.metric('n3', 'kafka_gaps_total');
  await goAway(socket);

  await cluster.act('pause', 'n3');
  await cluster.act('kill', 'redis'); // what it would bring once the node wakes
  const missed = ['missed 0', 'missed 1', 'missed 2', 'missed 3', 'missed 4'];
  for (const data of missed) await publish(data);
  await until('the others have them', () => streams.slice(0, 2).every((seen) => seen.got.length === 6), PATIENCE);
  const stored = async () => (await cluster.rows(`SELECT convert_from(data, 'UTF8'), epoch FROM rtbroker.message WHERE channel = '${room}' ORDER BY "offset"`));
  await until('all of it is stored', async () => (await stored()).length === 6, 2 * PATIENCE);
  const low = await deleteRecords(brokers, topic, partitionOf(room, count));
  assert.ok(low > first.offset, `the log begins at ${low}`);
  await cluster.act('resume', 'n3');
  await cluster.act('start', 'redis');

  await until('it knows', async () => (await cluster.metric('n3', 'kafka_gaps_total')) > gaps, PATIENCE);
  assert.match(cluster.log('n3'), /messages of a partition may not have come to this node/);
  await until('it is ready', async () => (await cluster.ready('n3')).status === 200, PATIENCE);
  const last = await until('it goes on', () => publish('last').catch(() => null), PATIENCE);
  assert.equal(last.epoch, first.epoch, 'the same log');
  for (const [i, seen] of streams.entries()) {
    await until(`${NODES[i]} has the last one`, () => seen.got.at(-1)?.data === 'last', PATIENCE);
    const got = seen.got.map((m) => m.data);
    const had = i < 2 ? missed.length : got.length - 2; // what Kafka had answered when the node froze
    assert.deepEqual(got, ['first', ...missed.slice(0, had), 'last'], `${NODES[i]}: nothing twice`);
    const page = await cluster.api(NODES[i], 'history', { channel: room, limit: 10, since: { epoch: first.epoch, offset: first.offset } });
    assert.ok(page.gap || page.publications.length === 6, `${NODES[i]}: a hole is told: ${JSON.stringify(page)}`);
  }
  comeBack(socket, cluster, 'n3');
  await back(socket, 1);
  const got = () => socket.of('message').map((args) => args[0]);
  if (socket.recoveries[0]) {
    await until('the socket has the last one', () => got().at(-1) === 'last', PATIENCE);
    assert.deepEqual(got(), ['first', ...missed, 'last'], 'recovered means all of it');
  }
  await until('PostgreSQL has the last one', async () => (await stored()).length >= 7, 2 * PATIENCE);
  assert.deepEqual(await stored(), ['first', ...missed, 'last'].map((data) => [JSON.stringify(data), first.epoch]), 'each once, in one epoch');
});
