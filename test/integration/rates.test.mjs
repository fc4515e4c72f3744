// One client may go only so fast: `limits.commands` slows its reading down and loses nothing, `rate` of a channel rule refuses what is
// above it. Nobody else notices.
import assert from 'node:assert/strict';
import { after, before } from 'node:test';

import { ok as api, wholeLog } from './api.mjs';
import { configPath, shareBroker, test, until } from './harness.mjs';
import { TRANSPORTS, connect, settled } from './socketio.mjs';
import { OP, Ws, closeOf, pong, request, text } from './wire.mjs';

const shared = shareBroker({ before, after }, { config: configPath('rates.yaml') });

const RATE = 60;
const BURST = 20;
const MANY = 140; // 2 s: several intervals of the heartbeat, and of its timeout
const LEAST = ((MANY - BURST - 1) / RATE) * 1000; // the last of them is not there yet when the next one comes

async function metric(name) {
  const { text: metrics } = await request(shared.broker.port, '/metrics');
  const line = metrics.split('\n').find((l) => l.startsWith(`${name} `));
  return Number(line.slice(name.length + 1));
}

const throttled = () => metric('rtbroker_commands_throttled_total');

// Sends all at once; `done` waits for the last answer. The time that it took, in ms.
async function timed(send, done) {
  const start = performance.now();
  await send();
  await done();
  return performance.now() - start;
}

async function overSocketIo(t, transport) {
  const socket = await connect(t, shared.broker.url, { ...TRANSPORTS[transport], reconnection: false });
  await settled(socket);
  const answers = [];
  const ms = await timed(
    () => { for (let i = 0; i < MANY; i++) socket.emit('echo', i, (n) => answers.push(n)); },
    // What was read in one go is handled at once; the next one waits until that is paid for.
    async () => {
      await until(`${transport}: all are answered`, () => answers.length === MANY, 15_000);
      assert.equal(await socket.timeout(15_000).emitWithAck('echo', MANY), MANY);
    },
  );
  assert.deepEqual(answers, [...Array(MANY).keys()]);
  assert.ok(socket.connected);
  return ms;
}

async function overWs(t, path, wrap) {
  const ws = await Ws.open(shared.broker.port, path);
  const engine = path.startsWith('/engine.io/');
  const got = [];
  const ms = await timed(
    () => ws.send(...[...Array(MANY).keys()].map((i) => text(wrap(i)))),
    async () => {
      while (got.length < MANY + 1) {
        const frame = await ws.next(15_000);
        const body = frame.payload.toString();
        if (frame.opcode === OP.PING) ws.send(pong(body));
        else if (engine && body === '2') ws.send(text('3'));
        else if (!engine || body.startsWith('4')) got.push(body);
        if (got.length === MANY && body === wrap(MANY - 1)) ws.send(text(wrap(MANY)));
      }
    },
  );
  assert.deepEqual(got, [...Array(MANY + 1).keys()].map(wrap));
  ws.destroy();
  return ms;
}

test('limits.commands: a client that sends too much is read more slowly, and loses nothing', async (t) => {
  const count = await throttled();
  const seen = shared.broker.entries().length;
  const quiet = await connect(t, shared.broker.url);
  let flooding = true;
  const floods = Promise.all([
    overSocketIo(t, 'websocket'),
    overSocketIo(t, 'polling'),
    overSocketIo(t, 'upgrade'),
    overWs(t, '/echo', (i) => `${i}`),
    overWs(t, '/engine.io/?EIO=4&transport=websocket', (i) => `4${i}`),
  ]).finally(() => (flooding = false));
  // Who sends less is answered as ever: its answers come while the others wait.
  let answered = 0;
  while (flooding && answered < 15) {
    assert.equal(await quiet.timeout(3000).emitWithAck('echo', answered), answered);
    answered++;
  }
  assert.ok(flooding, 'the floods were over before 15 answers came');
  for (const ms of await floods) assert.ok(ms >= LEAST, `${ms} ms`);
  assert.ok((await throttled()) >= count + 5);
  const lines = shared.broker.entries().slice(seen).filter((e) => /read more slowly/.test(e.msg));
  assert.equal(lines[0].option, 'limits.commands');
  assert.ok(lines.length <= 20, `${lines.length} lines`);
});

test('limits.commands: who has waited may go on, and who goes away meanwhile is forgotten', async (t) => {
  const gone = await Promise.all([...Array(20).keys()].map(() => Ws.open(shared.broker.port, '/echo')));
  for (const ws of gone) ws.send(...Array(60).fill(text('x')));
  await until('they are slowed down', async () => (await throttled()) >= 20);
  for (const ws of gone) ws.destroy();
  await until('their connections end', async () => (await metric('rtbroker_connections')) <= 2, 10_000);
  await overSocketIo(t, 'websocket');
});

// ---- channel rules ----

const say = (socket, channel, data) => socket.timeout(5000).emitWithAck('say', channel, data);

test('rate of a rule: what is above it is refused, as something that may be tried again', async (t) => {
  const refused = await metric('rtbroker_refusals_total{reason="rate"}');
  const [loud, other, reader] = await Promise.all([1, 2, 3].map(() => connect(t, shared.broker.url)));
  assert.equal(await reader.timeout(3000).emitWithAck('listen', 'slow:a'), 'joined');
  const start = performance.now();
  const answers = await Promise.all([...Array(15).keys()].map((i) => say(loud, i % 2 ? 'slow:a' : 'slow:b', i)));
  const ok = answers.filter((a) => a.ok).length;
  const most = 5 + Math.ceil(((performance.now() - start) / 1000) * 2) + 1;
  assert.ok(ok >= 5 && ok <= most, `${ok} of 15, at most ${most}`);
  const bad = answers.filter((a) => !a.ok);
  for (const a of bad) {
    assert.equal(a.error, 'rate_limited');
    assert.match(a.message, /`rate` of the rule with match "slow:\*" in `channels`\): again in \d+ ms/);
  }
  assert.equal(await metric('rtbroker_refusals_total{reason="rate"}'), refused + bad.length);
  assert.ok(shared.broker.entries().find((e) => /publishes more than it may/.test(e.msg) && e.option === 'channels[].rate' && /^slow:/.test(e.channel)));
  // Another client, another rule, the API: as ever.
  assert.equal((await say(other, 'slow:a', 'other')).ok, true);
  assert.equal((await say(loud, 'free', 'x')).ok, true);
  for (let i = 0; i < 10; i++) await api(shared.broker, 'publish', { channel: 'slow:a', data: i });
  // Later it may again.
  await until('it may again', async () => (await say(loud, 'slow:b', 'later')).ok);
});

test('rate of a rule: on a logged channel nothing of what is refused is stored', async (t) => {
  const socket = await connect(t, shared.broker.url);
  const answers = [];
  for (let i = 0; i < 4; i++) answers.push(await say(socket, 'log:a', i));
  assert.deepEqual(answers.map((a) => a.error ?? a.offset), [1, 2, 'rate_limited', 'rate_limited']);
  const { publications } = await wholeLog(shared.broker, 'log:a');
  assert.deepEqual(publications.map((p) => p.data), [0, 1]);
});

test('rate of a rule: a raw endpoint has no answers, and closes with 1013', async () => {
  const ws = await Ws.open(shared.broker.port, '/raw/slow:raw');
  ws.send(...[...Array(8).keys()].map((i) => text(`${i}`)));
  const got = [];
  let frame;
  while ((frame = await ws.next()).opcode === OP.TEXT) got.push(frame.payload.toString());
  assert.deepEqual(got.slice(0, 5), ['0', '1', '2', '3', '4']);
  assert.equal(frame.opcode, OP.CLOSE);
  assert.equal(closeOf(frame).code, 1013);
});
