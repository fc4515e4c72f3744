// Kafka in, with a real Kafka and kcat as the one who produces: records become messages once and in order, also when the broker is killed in the
// middle; what cannot be published is a dead letter; API calls as records.
import assert from 'node:assert/strict';
import { execFileSync, spawnSync } from 'node:child_process';
import path from 'node:path';
import { after, before } from 'node:test';

import { wholeLog } from './api.mjs';
import { ROOT, configPath, startBroker, tempDir, test, until } from './harness.mjs';
import { connect, events } from './socketio.mjs';
import { request } from './wire.mjs';

const KAFKA = path.join(ROOT, 'scripts', 'kafka.sh');
// Topics are made by whoever produces first.
const PROPERTIES = 'auto.create.topics.enable=true\nnum.partitions=3';
const PATIENCE = 30_000;

const kafka = { why: false };
const scope = { after: (fn) => (kafka.remove = fn) };

before(() => {
  kafka.dir = path.join(tempDir(scope), 'kafka');
  const started = spawnSync(KAFKA, ['start', kafka.dir], { encoding: 'utf8', env: { ...process.env, KAFKA_PROPERTIES: PROPERTIES } });
  if (started.status === 77) kafka.why = started.stderr.trim();
  else if (started.status !== 0) throw new Error(`kafka.sh: ${started.stderr}`);
  kafka.address = started.stdout.trim();
  if (!kafka.why && spawnSync('kcat', ['-V']).status !== 0) kafka.why = 'no kcat here';
});

after(async () => {
  if (kafka.dir) spawnSync(KAFKA, ['kill', kafka.dir]);
  await kafka.remove?.();
});

// A test of its own broker; left out where Kafka cannot be had.
const withKafka = (name, fn) => test(name, (t) => (kafka.why ? t.skip(kafka.why) : fn(t)));

// Lines as records of a topic; `keys`: KEY:VALUE.
function produce(topic, lines, { keys = true, headers = {} } = {}) {
  const args = ['-P', '-b', kafka.address, '-t', topic, ...(keys ? ['-K', ':'] : [])];
  for (const [name, value] of Object.entries(headers)) args.push('-H', `${name}=${value}`);
  execFileSync('kcat', args, { input: `${lines.join('\n')}\n`, stdio: ['pipe', 'ignore', 'pipe'] });
}

// All records of a topic as {key, value, headers}.
function consume(topic) {
  const text = execFileSync('kcat', ['-C', '-b', kafka.address, '-t', topic, '-o', 'beginning', '-e', '-q', '-f', '%k\t%s\t%h\n'], { encoding: 'utf8' });
  return text.split('\n').filter(Boolean).map((line) => {
    const [key, value, headers] = line.split('\t');
    return { key, value, headers: Object.fromEntries(headers.split(',').filter(Boolean).map((h) => [h.slice(0, h.indexOf('=')), h.slice(h.indexOf('=') + 1)])) };
  });
}

async function start(t) {
  const env = { STORAGE: path.join(tempDir(t), 'log.db'), KAFKA: kafka.address };
  return startBroker(t, { config: configPath('consume.yaml'), env });
}

async function metric(broker, line) {
  const { text } = await request(broker.port, '/metrics', { host: broker.host });
  const found = text.split('\n').find((l) => l.startsWith(`rtbroker_${line} `));
  return Number(found.slice(found.lastIndexOf(' ')));
}

const numbers = (from, count) => [...Array(count)].map((_, i) => from + i);
const range = (channel, from, count) => numbers(from, count).map((n) => `${channel}:{"n":${n}}`);

withKafka('records arrive at a client and in the history, once and in order', async (t) => {
  const broker = await start(t);
  const socket = await connect(t, broker.url);
  await socket.timeout(5000).emitWithAck('watch', 'orders:live');
  produce('orders', range('live', 1, 300), { headers: { type: 'placed' } });
  const got = await events(socket, 'placed', 300, PATIENCE);
  assert.deepEqual(got.map(([data]) => data.n), numbers(1, 300));
  const { publications } = await wholeLog(broker, 'orders:live');
  assert.deepEqual(publications.map((p) => p.data.n), numbers(1, 300));
  assert.deepEqual(publications[0].tags, { event: 'placed' });
  await until('all is committed', async () => (await metric(broker, 'consume_lag_records{group="orders"}')) === 0, PATIENCE);
  // A second start goes on where the group is.
  await broker.stop();
  await broker.restart();
  produce('orders', range('live', 301, 1));
  await until('the next record', async () => (await wholeLog(broker, 'orders:live')).publications.length > 300, PATIENCE);
  assert.deepEqual((await wholeLog(broker, 'orders:live')).publications.map((p) => p.data.n), numbers(1, 301));
});

withKafka('kill -9 in the middle: nothing is lost, nothing is there twice', async (t) => {
  const broker = await start(t);
  const count = 20_000;
  const keys = ['k0', 'k1', 'k2', 'k3', 'k4'];
  produce('orders', numbers(0, count).map((n) => `${keys[n % keys.length]}:{"n":${n}}`));
  const logged = async () => (await Promise.all(keys.map((key) => wholeLog(broker, `orders:${key}`)))).map((log) => log.publications.map((p) => p.data.n));
  // Twice, while records are between the log and the commit of their offsets.
  for (const moment of [0.2, 0.5]) {
    await until(`${moment} of the records`, async () => (await logged()).flat().length > count * moment, PATIENCE);
    await broker.kill();
    await broker.restart();
  }
  await until('all records', async () => (await logged()).flat().length >= count, PATIENCE);
  await until('all is committed', async () => (await metric(broker, 'consume_lag_records{group="orders"}')) === 0, PATIENCE);
  const wanted = keys.map((_, i) => numbers(0, count).filter((n) => n % keys.length === i));
  assert.deepEqual(await logged(), wanted);
});

withKafka('what cannot be published is a dead letter, with the reason; the rest goes on', async (t) => {
  const broker = await start(t);
  produce('orders', ['bad:{"n":1}', 'bad:not JSON', 'bad:{"n":2}'], { headers: { origin: 'test' } });
  produce('orders', ['{"n":3}'], { keys: false });
  produce('orders', [`bad:"${'x'.repeat(70_000)}"`, 'bad:{"n":4}']);
  await until('three dead letters', async () => (await metric(broker, 'consume_dead_letters_total{group="orders"}')) === 3, PATIENCE);
  const dead = consume('orders.dead');
  assert.deepEqual(dead.map((d) => `${d.key} ${d.value.length}`).sort(), [' 7', 'bad 70002', 'bad 8']);
  const garbled = dead.find((d) => d.value === 'not JSON');
  assert.match(garbled.headers['rt-error'], /^kind is json/);
  assert.equal(garbled.headers.origin, 'test');
  assert.equal(garbled.headers['rt-topic'], 'orders');
  assert.equal(garbled.headers['rt-group'], 'orders');
  assert.match(garbled.headers['rt-partition'], /^[0-2]$/);
  assert.match(garbled.headers['rt-offset'], /^\d+$/);
  assert.match(garbled.headers['rt-timestamp'], /^\d{13}$/);
  assert.match(dead.find((d) => d.key === '').headers['rt-error'], /^the record has no key/);
  assert.match(dead.find((d) => d.value.length > 70_000).headers['rt-error'], /^the message has 70002 bytes/);
  await until('all is committed', async () => (await metric(broker, 'consume_lag_records{group="orders"}')) === 0, PATIENCE);
  assert.deepEqual((await wholeLog(broker, 'orders:bad')).publications.map((p) => p.data.n), [1, 2, 4]);
});

withKafka('records that are calls of the API', async (t) => {
  const broker = await start(t);
  const call = (payload, method = 'publish') => JSON.stringify({ method, payload });
  produce('calls', [
    call({ channel: 'orders:api', data: { big: 1 }, event: 'called', idempotency_key: 'one' }),
    call({ channel: 'orders:api', data: { big: 1 }, event: 'called', idempotency_key: 'one' }),
    call({ channel: 'orders:api', b64data: 'AQID' }),
    call({ channel: 'nobody:knows', data: 1 }),
    call({ channel: 'orders:api', data: 1 }, 'explode'),
  ], { keys: false });
  await until('two dead letters', async () => (await metric(broker, 'consume_dead_letters_total{group="calls"}')) === 2, PATIENCE);
  await until('all is committed', async () => (await metric(broker, 'consume_lag_records{group="calls"}')) === 0, PATIENCE);
  // Records without a key may be in different partitions: no order between them.
  const { publications } = await wholeLog(broker, 'orders:api');
  assert.deepEqual(publications.map((p) => [p.data, p.tags]).sort(), [
    ['AQID', { encoding: 'base64' }],
    [{ big: 1 }, { event: 'called' }],
  ].sort());
  assert.deepEqual(consume('calls.dead').map((d) => d.headers['rt-error']).sort().map((e) => e.split(' ').slice(0, 3).join(' ')), ['no rule for', 'no such method']);
});
