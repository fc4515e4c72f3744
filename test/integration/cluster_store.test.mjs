// PostgreSQL behind a cluster: it goes away, its connections are cut again and again, records come that it cannot hold; and what only it still has comes back to a
// client. RT_OUTAGE_SECONDS: how long it is away; test/chaos/outage.mjs is for hours.
import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { createHash, randomBytes, randomUUID } from 'node:crypto';
import path from 'node:path';
import { after, before } from 'node:test';

import { describe } from '../chaos/check.mjs';
import { Outage, Sinks } from '../chaos/outage.mjs';
import { PATIENCE, shareCluster } from './cluster.mjs';
import { assertByTime, configPath, defer, once, startBroker, tempDir, test, until } from './harness.mjs';
import { bytesOf, partitionOf, produce } from './producer.mjs';
import { Proxy } from './proxy.mjs';
import { connect, events } from './socketio.mjs';
import { assertRecovered, back, comeBack, goAway, traveller } from './traveller.mjs';

const MINUTES = { timeout: 300_000 };
const SECONDS = Number(process.env.RT_OUTAGE_SECONDS ?? 5);
const NODES = ['n1', 'n2', 'n3'];
const MEMORY = 1 << 20; // of all channels together: config/cluster_store.yaml
const shared = shareCluster({ before, after }, { nodes: NODES.length, config: configPath('cluster_store.yaml'), without: ['nginx'] });
const hex = (bytes) => (bytes ?? Buffer.alloc(0)).toString('hex');
const md5 = (bytes) => createHash('md5').update(bytes ?? '').digest('hex');

async function whole() {
  const { cluster } = shared;
  for (const name of NODES)
    await until(`${name} has everything`, async () => Object.values((await cluster.ready(name)).backends).every((b) => b.up), PATIENCE);
}

// ---- the store goes away ---------------------------------------------------------------------------------------------

// Without limits for times: the machine may be busy.
async function outage(t, service, more = {}) {
  await whole();
  const story = [];
  const options = { cluster: shared.cluster, dir: tempDir(t), prefix: `chaos:${service}-`, rate: 150, seconds: SECONDS, strict: false };
  try {
    const verdict = await new Outage({ ...options, service, ...more, log: (text) => story.push(text) }).run(t);
    assert.ok(verdict.ok, describe(verdict));
    assert.ok(verdict.counts.postgres > SECONDS * 100, describe(verdict));
  } catch (error) {
    error.message += `\n${story.join('\n')}`;
    throw error;
  }
}

test('PostgreSQL is killed: publishing, delivery and memory\'s history go on, /readyz says it, rows are the log exactly afterwards', MINUTES, (t) => outage(t, 'postgres'));

test('the sinks\' connections are ended again and again under load: rows are the log exactly', MINUTES, (t) => outage(t, 'sinks'));

// A fourth node, whose way to PostgreSQL is ours.
async function fourthNode(t) {
  const { cluster } = shared;
  const url = new URL(cluster.env.RT_POSTGRES_URL);
  const proxy = await Proxy.start(t, Number(url.port));
  url.port = proxy.port;
  const { RT_REDIS_URL, RT_KAFKA_BROKERS, RT_KAFKA_TOPIC } = cluster.env;
  const services = { 'redis.url': RT_REDIS_URL, 'kafka.brokers': RT_KAFKA_BROKERS, 'kafka.topic': RT_KAFKA_TOPIC, 'postgres.url': url.href };
  const set = { 'node.name': 'n4', 'cluster.secret_file': path.join(cluster.dir, 'secret'), ...services };
  const { url: address } = await startBroker(t, { config: configPath('cluster_store.yaml'), set });
  const metric = async (name) => Number(new RegExp(`^rtbroker_${name} (.*)$`, 'm').exec(await (await fetch(`${address}/metrics`)).text())[1]);
  await until('n4 writes its share of the rows', async () => (await metric('sink_partitions')) > 0, PATIENCE);
  return { proxy, metric };
}

const EXECUTE = '\0rt_sink_plain\0'; // in what asks for rows to be stored; its answer comes after the commit

test('answers to commits are lost again and again: rows are the log exactly', MINUTES, async (t) => {
  const { proxy, metric } = await fourthNode(t);
  class Lossy extends Sinks {
    async terminate() {
      proxy.swallow(EXECUTE);
      this.ended = proxy.swallowed;
    }
  }
  await outage(t, 'sinks', { prefix: 'chaos:lossy-', Fault: Lossy, interval: 300 });
  assert.ok((await metric('sink_retries_total')) >= proxy.swallowed, 'each was noticed');
});

// ---- what only PostgreSQL has ----------------------------------------------------------------------------------------

const ask = (socket, event, ...args) => socket.timeout(PATIENCE).emitWithAck(event, ...args);

const READS = 'store_reads_total{result="ok"}';

// Publishes texts of at least `size` bytes on all nodes at once; resolves with them in the order of the log, and with the position before the first.
async function publish(channel, count, what, size = 0) {
  const { cluster } = shared;
  const positions = [];
  let next = 0;
  const lane = async () => {
    while (next < count) {
      const n = next++;
      const data = `${channel} ${what} ${n}`.padEnd(size, '.');
      positions.push({ data, ...(await cluster.api(NODES[n % NODES.length], 'publish', { channel, event: 'said', data })) });
    }
  };
  await Promise.all([lane(), lane(), lane(), lane(), lane(), lane()]);
  positions.sort((a, b) => a.offset - b.offset);
  assert.equal(new Set(positions.map((p) => p.epoch)).size, 1);
  return { order: positions.map((p) => p.data), since: { epoch: positions[0].epoch, offset: positions[0].offset - 1 } };
}

// More than memory holds; with this size, more than a page of 1,000 messages.
const publishMuch = (channel, size = 1000) => publish(channel, Math.ceil((MEMORY * 1.4) / size), 'missed', size);

test('history by time, of any node: from PostgreSQL, from memory, from both', MINUTES, async () => {
  const { cluster } = shared;
  await whole();
  const channel = 'chaos:by-time';
  await publish(channel, 30, 'old');
  await publishMuch(channel);
  await publish(channel, 30, 'new');
  const reads = await cluster.metric('n2', READS);
  await assertByTime(NODES.map((node) => (body) => cluster.api(node, 'history', { channel, ...body })));
  assert.ok((await cluster.metric('n2', READS)) > reads, 'PostgreSQL was asked');
});

let rooms = 0;
const roomName = () => `room-${++rooms}`;

// A client of n1 that has joined the rooms, has got some messages of each (`had`), and has gone away.
async function absentee(t, ...names) {
  const socket = await traveller(t, shared.cluster, 'n1', '/');
  socket.had = {};
  for (const room of names) {
    await ask(socket, 'join', room);
    socket.had[room] = (await publish(room, 3, 'had')).order;
  }
  await events(socket, 'said', 3 * names.length, PATIENCE);
  await goAway(socket);
  return socket;
}

const saidIn = (socket, room) => socket.of('said').flat().filter((text) => text.startsWith(`${room} `));

async function restart(cluster, names) {
  for (const name of names) await cluster.act('kill', name);
  await Promise.all(names.map((name) => cluster.act('start', name)));
}

const RETURNS = [
  ['to its own node', 'n1', []],
  ['to another node', 'n2', []],
  ['to its own node, which was killed and started again', 'n1', ['n1']],
  ['to another node, all having been killed and started again', 'n3', NODES],
];

for (const [what, node, killed] of RETURNS)
  test(`a client comes back ${what}: what memory has no more comes from PostgreSQL, once and in order`, MINUTES, async (t) => {
    const { cluster } = shared;
    await whole();
    const names = [roomName(), roomName(), roomName()];
    const socket = await absentee(t, ...names);
    const missed = {};
    missed[names[0]] = await publish(names[0], 30, 'missed');
    missed[names[1]] = await publishMuch(names[1]);
    missed[names[2]] = await publish(names[2], 10, 'missed'); // memory has these
    await restart(cluster, killed);
    const reads = await cluster.metric(node, READS);

    comeBack(socket, cluster, node);
    await back(socket, 1);
    assertRecovered(socket);
    assert.ok((await cluster.metric(node, READS)) > reads, 'PostgreSQL was asked');
    for (const room of names) await publish(room, 1, 'after');
    const want = Object.fromEntries(names.map((room) => [room, [...socket.had[room], ...missed[room].order, `${room} after 0`]]));
    await events(socket, 'said', Object.values(want).flat().length, PATIENCE);
    assert.deepEqual((await ask(socket, 'rooms')).sort(), [socket.id, ...names].sort());
    for (const room of names) assert.deepEqual(saidIn(socket, room), want[room]);
    assert.equal(socket.of('said').length, Object.values(want).flat().length);
    assertRecovered(socket);

    for (const name of NODES)
      for (const room of names) {
        const history = await cluster.wholeHistory(name, room, { since: missed[room].since });
        assert.deepEqual(history.map((p) => p.data), [...missed[room].order, `${room} after 0`], `${name}: history of ${room}`);
        assert.deepEqual(history.map((p) => p.offset), history.map((p) => p.offset).sort((a, b) => a - b));
      }
  });

test('a client comes back: what leaves out a room that it is in is left out of what comes from PostgreSQL', MINUTES, async (t) => {
  const { cluster } = shared;
  await whole();
  const [room, out] = [roomName(), roomName()];
  const socket = await absentee(t, room, out);
  const publisher = await connect(t, cluster.nodeUrl('n2'));
  const texts = [0, 1, 2, 3, 4, 5].map((i) => `${room} left out ${i}`);
  for (const [i, text] of texts.entries()) assert.equal((await ask(publisher, 'say-except', room, i % 2 ? ['elsewhere', out] : ['elsewhere'], text)).ok, true);
  await publishMuch('chaos:fills-memory');
  const reads = await cluster.metric('n3', READS);
  comeBack(socket, cluster, 'n3');
  await back(socket, 1);
  assertRecovered(socket);
  assert.ok((await cluster.metric('n3', READS)) > reads, 'PostgreSQL was asked');
  await publish(room, 1, 'after');
  await until('what comes after', () => saidIn(socket, room).includes(`${room} after 0`), PATIENCE);
  assert.deepEqual(saidIn(socket, room), [...socket.had[room], ...texts.filter((_, i) => i % 2 === 0), `${room} after 0`]);
  assert.deepEqual((await cluster.wholeHistory('n1', room, {})).map((p) => p.data).filter((x) => x.includes('left out')), texts, 'the history is whole');
  assertRecovered(socket);
});

test('PostgreSQL is away when clients come back: who misses what only it has is told so, the others are recovered', MINUTES, async (t) => {
  const { cluster } = shared;
  await whole();
  const [deep, shallow] = [roomName(), roomName()];
  const unlucky = await absentee(t, deep);
  const lucky = await absentee(t, shallow);
  await publishMuch(deep);
  const { order } = await publish(shallow, 10, 'missed');
  await cluster.act('kill', 'postgres');
  comeBack(unlucky, cluster, 'n2');
  comeBack(lucky, cluster, 'n2');
  for (const socket of [unlucky, lucky]) await back(socket, 1);
  assertRecovered(lucky);
  assert.deepEqual(unlucky.recoveries, [false]);
  assert.equal(new Set(unlucky.seen).size, 2, 'a new session');
  await ask(unlucky, 'join', deep);
  await publish(deep, 1, 'after');
  await events(unlucky, 'said', 4, PATIENCE);
  assert.deepEqual(saidIn(unlucky, deep), [...unlucky.had[deep], `${deep} after 0`], 'nothing of what was missed: not a part of it');
  await events(lucky, 'said', 3 + order.length, PATIENCE);
  assert.deepEqual(saidIn(lucky, shallow), [...lucky.had[shallow], ...order]);
  await cluster.act('start', 'postgres');
});

// A lock that somebody holds on the rows: they can be read, and not written, until release() has resolved.
async function lockRows(t) {
  const child = spawn('psql', [shared.cluster.env.RT_POSTGRES_URL, '-X', '-q', '-A', '-t'], { stdio: ['pipe', 'pipe', 'inherit'] });
  defer(t, () => child.kill());
  child.stdin.write("BEGIN; LOCK TABLE rtbroker.message IN SHARE ROW EXCLUSIVE MODE; SELECT 'locked';\n");
  await once(child.stdout, 'data', PATIENCE, 'the table is locked');
  return async () => {
    child.stdin.end('COMMIT;\n');
    await once(child, 'close', PATIENCE, 'psql ends');
  };
}

test('PostgreSQL lags behind the log when a client comes back: rows and memory are joined without a hole', MINUTES, async (t) => {
  const { cluster } = shared;
  await whole();
  const room = roomName();
  const socket = await absentee(t, room);
  const early = await publishMuch(room, 4000); // rows and memory are in one page
  await until('they are rows', async () => (await cluster.rows(`SELECT 1 FROM rtbroker.message WHERE channel = '${room}'`)).length === 3 + early.order.length, PATIENCE);
  const release = await lockRows(t);
  const late = await publish(room, 10, 'late');
  comeBack(socket, cluster, 'n3');
  await back(socket, 1);
  assertRecovered(socket);
  await events(socket, 'said', 3 + early.order.length + late.order.length, PATIENCE);
  assert.deepEqual(saidIn(socket, room), [...socket.had[room], ...early.order, ...late.order]);
  const rows = await cluster.rows(`SELECT 1 FROM rtbroker.message WHERE channel = '${room}' AND convert_from(data, 'UTF8') LIKE '%late%'`);
  assert.equal(rows.length, 0, 'PostgreSQL had none of the last ones');
  await release();
});

// ---- records that PostgreSQL cannot hold -----------------------------------------------------------------------------

const incompressible = (bytes) => randomBytes(bytes).toString('base64').slice(0, bytes);
const GOOD = 'poison:good';
const ODD = 'poison:odd'; // can be stored, however it looks
const UTF8_BAD = Buffer.from([0x61, 0xff, 0xc3, 0x28]);

// Fresh ones for each round: [what, record, what the dead letter says; undefined: it is a row].
const corpus = () => [
  ['a NUL in the channel', { key: 'poison:\0x', value: '1' }, /no channel's name/],
  ['a channel that is no UTF-8', { key: UTF8_BAD, value: '1' }, /no channel's name/],
  ['no channel', { key: null, value: '1' }, /no channel's name/],
  ['an empty channel', { key: '', value: '1' }, /no channel's name/],
  ['a channel of 4,097 bytes', { key: 'c'.repeat(4097), value: '1' }, /no channel's name/],
  ['a channel that the index cannot hold', { key: incompressible(4000), value: '1' }, /^54000|index row/],
  ['a NUL in the event', { key: ODD, value: '1', headers: [['rt-event', 'a\0b']] }, /NUL/],
  ['a NUL in the publisher', { key: ODD, value: '1', headers: [['rt-publisher', '\0']] }, /NUL/],
  ['a NUL in the key', { key: ODD, value: '1', headers: [['rt-key', 'k\0']] }, /NUL/],
  ['an event that is no UTF-8', { key: ODD, value: '1', headers: [['rt-event', UTF8_BAD]] }, /rt-event/],
  ['a publisher that is no UTF-8', { key: ODD, value: '1', headers: [['rt-publisher', UTF8_BAD]] }, /rt-publisher/],
  ['an idempotency key of 65 bytes', { key: ODD, value: '1', headers: [['rt-key', 'k'.repeat(65)]] }, /rt-key/],
  ['a time beyond all calendars', { key: ODD, value: '1', headers: [['rt-time', '18446744073709551615']] }, /time is beyond/],
  ['a time beyond the last of PostgreSQL', { key: ODD, value: '1', headers: [['rt-time', '9223371331200001']] }, /time is beyond/],
  ['a time that is none', { key: ODD, value: '1', headers: [['rt-time', 'tomorrow']] }, /rt-time/],
  ['a time before 1970', { key: ODD, value: '1', headers: [['rt-time', '-1']] }, /rt-time/],
  ['a time with too many digits', { key: ODD, value: '1', headers: [['rt-time', '99999999999999999999999']] }, /rt-time/],
  ['an id that is none', { key: ODD, value: '1', headers: [['rt-id', 'not-a-uuid']] }, /rt-id/],
  ['an empty id', { key: ODD, value: '1', headers: [['rt-id', '']] }, /rt-id/],
  ['a kind that is none', { key: ODD, value: '1', headers: [['rt-kind', 'xml']] }, /rt-kind/],
  ['JSON that is none', { key: ODD, value: '{"a":', headers: [['rt-kind', 'json']] }, /rt-kind is json/],
  ['JSON without a value', { key: ODD, value: null, headers: [['rt-kind', 'json']] }, /rt-kind is json/],
  ['JSON of 2,000 levels', { key: ODD, value: '['.repeat(2000) + ']'.repeat(2000), headers: [['rt-kind', 'json']] }, /rt-kind is json/],
  ['text that is none', { key: ODD, value: UTF8_BAD, headers: [['rt-kind', 'text']] }, /rt-kind is text/],
  ['arguments that are no array', { key: ODD, value: '{}', headers: [['rt-args', '1']] }, /rt-args/],
  ['an attachment to a text', { key: ODD, value: 'x', headers: [['rt-kind', 'text'], ['rt-attachment', 'a']] }, /rt-attachment/],
  ['65 attachments', { key: ODD, value: '{}', headers: [...Array(65)].map(() => ['rt-attachment', 'a']) }, /rt-attachment/],

  ['another program\'s JSON', { key: ODD, value: '{"a":[1,"é"]}' }],
  ['its text', { key: ODD, value: 'plain é' }],
  ['its bytes', { key: ODD, value: UTF8_BAD }],
  ['no value', { key: ODD, value: null }],
  ['an empty value', { key: ODD, value: '' }],
  ['JSON with an escaped NUL', { key: ODD, value: '"a\\u0000b"' }],
  ['JSON with half a surrogate pair', { key: ODD, value: '"\\ud800"' }],
  ['text with a NUL', { key: ODD, value: 'a\0b', headers: [['rt-kind', 'text']] }],
  ['a channel that is long', { key: 'long '.repeat(800), value: '1' }],
  ['a value of 900 kB', { key: ODD, value: `"${incompressible(900_000)}"` }],
  ['200 headers of another program', { key: ODD, value: '1', headers: [...Array(200)].map((_, i) => [`x-${i}`, UTF8_BAD]) }],
  ['a header without a value', { key: ODD, value: '1', headers: [['traceparent', null], ['rt-event', null]] }],
  ['the year 1970', { key: ODD, value: '1', headers: [['rt-time', '0']] }],
  ['the year 10000', { key: ODD, value: '1', headers: [['rt-time', '253402300800000']] }],
  ['quotes and backslashes', { key: `poison:'"\\`, value: `'; DROP TABLE rtbroker.message; --`, headers: [['rt-event', `\\'"{},`]] }],
  ['attachments of any bytes', { key: ODD, value: '{}', headers: [['rt-attachment', Buffer.from([0, 255, 34, 92])], ['rt-attachment', '']] }],
];

// Every record of the topic is one row, repetition or dead letter, as it is in Kafka, or a marker; and there is nothing else. Resolves with the records, each with
// its `table`.
async function join() {
  const { cluster } = shared;
  const epochs = new Map((await cluster.rows('SELECT part, epoch FROM rtbroker.progress')).map(([part, epoch]) => [epoch, Number(part)]));
  const stored = new Map();
  const queries = {
    message: `SELECT epoch, "offset", encode(convert_to(channel, 'UTF8'), 'hex'), md5(data), '' FROM rtbroker.message`,
    repeat: `SELECT epoch, "offset", encode(convert_to(channel, 'UTF8'), 'hex'), '', '' FROM rtbroker.repeat`,
    dead_letter: `SELECT epoch, "offset", encode(channel, 'hex'), md5(data), concat_ws(' ', sqlstate, replace(error, E'\\n', ' ')) FROM rtbroker.dead_letter`,
  };
  for (const [table, sql] of Object.entries(queries))
    for (const [epoch, position, channel, hash, why] of await cluster.rows(sql)) {
      const at = `${epochs.get(epoch)}@${position - 1}`;
      stored.set(at, [...(stored.get(at) ?? []), { table, channel, hash, why }]);
    }
  const records = await cluster.records();
  for (const record of records) {
    const at = `${record.partition}@${record.offset}`;
    const all = stored.get(at) ?? [];
    stored.delete(at);
    if (record.headers.includes('rt-marker=')) {
      assert.equal(all.length, 0, `the marker ${at} is stored: ${JSON.stringify(all)}`);
      continue;
    }
    assert.equal(all.length, 1, `record ${at} of ${record.key} is stored ${all.length} times: ${JSON.stringify(all)}`);
    assert.equal(all[0].channel, hex(record.key), `channel of ${at}`);
    if (all[0].table !== 'repeat') assert.equal(all[0].hash, md5(record.value), `data of ${at}`);
    Object.assign(record, all[0]);
  }
  assert.equal(stored.size, 0, `stored, not in Kafka: ${[...stored.keys()].slice(0, 5)}`);
  return records;
}

// The store has looked at all records that are in the topic now.
async function caughtUp() {
  const { cluster } = shared;
  const ends = new Map();
  for (const { partition, offset } of await cluster.records()) ends.set(partition, offset + 2);
  await until('the store has caught up', async () => {
    const next = new Map((await cluster.rows('SELECT part, next FROM rtbroker.progress')).map((row) => row.map(Number)));
    return [...ends].every(([partition, end]) => next.get(partition) >= end);
  }, 2 * PATIENCE);
}

test('records that PostgreSQL cannot hold are dead letters, each once and with a reason; all others are rows, and nodes go on', MINUTES, async (t) => {
  const { cluster } = shared;
  const { RT_KAFKA_BROKERS: brokers, RT_KAFKA_TOPIC: topic } = cluster.env;
  await whole();
  const { epoch } = await cluster.api('n1', 'publish', { channel: GOOD, data: 'first' });
  const home = Number(epoch.split('.')[1]);
  const streams = await Promise.all(NODES.map((name) => cluster.listen(t, name, GOOD)));
  const good = [];
  const want = new Map(); // partition@offset to [what, record, dead]

  // Each odd record between good ones; most in the partition of these, in batches of several sizes.
  async function round() {
    const batches = [];
    for (const [i, entry] of corpus().entries()) {
      if (i % 5 === 0) batches.push({ partition: i % 3 === 1 ? (home + i) % 16 : home, entries: [] });
      batches.at(-1).entries.push([null, { key: GOOD, value: `"good ${randomUUID()}"` }], entry);
    }
    for (const { partition, entries } of batches) {
      // In another partition a channel's order is not defined: no good ones there.
      const sent = partition === home ? entries : entries.filter(([what]) => what);
      const first = await produce(brokers, topic, partition, sent.map(([, record]) => record));
      for (const [i, [what, record, dead]] of sent.entries()) {
        // What could be stored is a dead letter where it stands, and a row where nodes have put it.
        const elsewhere = record.key && partitionOf(record.key, 16) !== partition;
        const why = elsewhere ? new RegExp(`nodes append it there|${dead?.source ?? '^$'}`) : dead;
        if (what) want.set(`${partition}@${first + i}`, [what, record, why, elsewhere && !dead]);
        else good.push(JSON.parse(record.value));
      }
      const data = `published ${randomUUID()}`;
      good.push(data);
      await cluster.api(NODES[good.length % NODES.length], 'publish', { channel: GOOD, data });
    }
  }

  await round();
  await caughtUp();
  await cluster.act('kill', 'postgres'); // the next ones come all at once, when it is back
  await round();
  await cluster.act('start', 'postgres');
  await caughtUp();
  await whole();

  const isCopy = (record) => String(record.key) !== GOOD && record.headers.includes('rt-epoch='); // nothing else was published
  const isCopyOf = (sent) => (c) => c.table === 'message' && hex(c.key) === hex(bytesOf(sent.key)) && hex(c.value) === hex(bytesOf(sent.value ?? ''));
  // Nodes append copies of what stands in a foreign partition when they have come to it.
  let all, copies, wrong;
  await until('every record is stored, copies too', async () => {
    try {
      all = await join();
    } catch (error) {
      wrong = error;
      return false;
    }
    copies = all.filter(isCopy);
    const missing = [...want.values()].find(([, sent, , moved]) => moved && !copies.some(isCopyOf(sent)));
    wrong = missing && new Error(`${missing[0]} is no row of its channel's partition`);
    return !missing;
  }, 2 * PATIENCE).catch((error) => {
    throw wrong ?? error;
  });
  const records = all.filter((record) => !isCopy(record));
  for (const record of records) {
    const at = `${record.partition}@${record.offset}`;
    const [what, sent, dead] = want.get(at) ?? [];
    want.delete(at);
    assert.equal(record.table === 'dead_letter', dead !== undefined, `${what ?? record.key} is in ${record.table} (${record.why})`);
    if (dead) assert.match(record.why, dead, what);
    if (sent) assert.equal(hex(record.value), hex(bytesOf(sent.value)), `${what}: the topic has it as it was sent`);
  }
  assert.equal(want.size, 0, 'all that was sent is in the topic');

  // Delivered on every node, in the order of the log; and it goes on.
  const { offset } = await cluster.api('n2', 'publish', { channel: GOOD, data: 'last' });
  for (const [i, seen] of streams.entries()) {
    await until(`${NODES[i]} has delivered the last one`, () => seen.got.some((m) => m.offset === offset), PATIENCE);
    // A node may deliver the first one after its stream has begun.
    assert.deepEqual(seen.got.map((m) => m.data).filter((data) => data !== 'first'), [...good, 'last'], NODES[i]);
    assert.equal(seen.gaps, 0);
    assert.equal((await cluster.ready(NODES[i])).status, 200);
    const history = await cluster.wholeHistory(NODES[i], GOOD);
    assert.deepEqual(history.map((m) => m.data), ['first', ...good, 'last'], NODES[i]);
  }
});

// ---- records of a newer version --------------------------------------------------------------------------------------

// The last test of the file: the partition stays as it is.
test('a message of a newer version: its partition waits in front of it, its channel does not pass for whole, all else goes on', MINUTES, async (t) => {
  const { cluster } = shared;
  const { RT_KAFKA_BROKERS: brokers, RT_KAFKA_TOPIC: topic } = cluster.env;
  const channel = `newer:${randomUUID()}`;
  const sum = async (metric) => (await Promise.all(NODES.map((name) => cluster.metric(name, metric)))).reduce((a, b) => a + b, 0);
  await whole();
  const streams = await Promise.all(NODES.map((name) => cluster.listen(t, name, channel)));
  const first = await cluster.api('n1', 'publish', { channel, data: 'first' });
  const [name, home, count] = first.epoch.split('.');
  const other = [...Array(99).keys()].map((i) => `plain:${i}`).find((c) => partitionOf(c, Number(count)) !== Number(home));
  const headers = [['rt-id', randomUUID()], ['rt-kind', 'cbor'], ['rt-epoch', `${name}@${first.offset}/${count}`]];
  const at = 1 + (await produce(brokers, topic, Number(home), [{ key: channel, value: Buffer.from([0xa0]), headers }]));
  const last = await cluster.api('n2', 'publish', { channel, data: 'last' });
  const elsewhere = await cluster.api('n3', 'publish', { channel: other, data: 'elsewhere' });

  const next = async (part) => Number((await cluster.rows(`SELECT next FROM rtbroker.progress WHERE part = ${part}`))[0][0]);
  await until('other partitions are stored', async () => (await next(elsewhere.epoch.split('.')[1])) > elsewhere.offset, PATIENCE);
  await until('the partition is held', async () => {
    assert.deepEqual(await cluster.rows(`SELECT error FROM rtbroker.dead_letter WHERE "offset" = ${at} AND part = ${home}`), []);
    return (await sum('sink_held_partitions')) === 1;
  }, PATIENCE);
  await until('it is looked at again', async () => (await sum('sink_held_tries_total')) >= 2, PATIENCE);
  assert.equal(await next(home), at, 'what stands before it is stored');
  await until('the lag shows', async () => (await sum('sink_lag_records')) >= 2, PATIENCE);

  await Promise.all(streams.map(async (seen, i) => {
    await until(`${NODES[i]} has delivered the last one`, () => seen.got.some((m) => m.offset === last.offset), PATIENCE);
    assert.deepEqual(seen.got.map((m) => m.data), ['first', 'last'], NODES[i]);
    assert.equal(await cluster.metric(NODES[i], 'kafka_newer_total'), 1);
    assert.equal((await cluster.ready(NODES[i])).status, 200);
    const ask = async (offset) => cluster.api(NODES[i], 'history', { channel, since: { epoch: first.epoch, offset }, limit: 10 });
    await assert.rejects(ask(first.offset), /lags behind the log/, 'who has the first one is not told that all is there');
    const known = await ask(at);
    assert.deepEqual(known.publications.map((m) => m.data), ['last'], 'who knows of it gets the rest');
    assert.ok(!known.gap);
  }));
});
