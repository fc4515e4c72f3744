// Connection state recovery with socket.io-client behind a proxy that breaks connections: nothing is lost, nothing comes twice, the
// order stays, and whoever cannot be recovered is told so by a new id.
import assert from 'node:assert/strict';
import { after, before } from 'node:test';

import { configPath, defer, once, ours, shareBroker, startBroker, test, until } from './harness.mjs';
import { TRANSPORTS, client, connect, events, fence } from './socketio.mjs';
import { assertRecovered, back as returned, behindProxy as proxied } from './traveller.mjs';
import { OP, Ws, describe, request, text } from './wire.mjs';

const CONFIG = configPath('socketio.yaml');
const shared = shareBroker({ before, after }, { config: CONFIG, set: { 'limits.message': '1MiB' } });
const ask = (socket, event, ...args) => socket.timeout(5000).emitWithAck(event, ...args);
const numbers = (n, from = 0) => [...Array(n).keys()].map((i) => i + from);

const behindProxy = (t, broker, nsp, options) => proxied(t, broker.port, nsp, options);
const back = (socket, times = 1) => returned(socket, times, 10_000);

// On the transport that it is to end on. (A client whose WebSocket goes away between its pause of polling and its upgrade packet waits for
// a ping that cannot come: that is the client's matter.)
const stands = (socket, options) => socket.connected && (!options.transports.includes('websocket') || socket.io.engine.transport.name === 'websocket');

// Publishes 0 .. n-1 with a few in flight; `between(i)` runs before the i-th.
async function publish(publisher, send, n, between = () => {}) {
  const inFlight = new Set();
  for (let i = 0; i < n; i++) {
    await between(i);
    const sent = send(publisher, i).then(() => inFlight.delete(sent));
    inFlight.add(sent);
    if (inFlight.size >= 8) await Promise.race(inFlight);
  }
  await Promise.all(inFlight);
}

for (const [name, options] of Object.entries(TRANSPORTS)) {
  test(`${name}: cut again and again while messages flow`, async (t) => {
    const nsp = `/dyn-flow-${name}`;
    const socket = await behindProxy(t, shared.broker, nsp, options);
    const publisher = await connect(t, shared.broker.url + nsp);
    const CUTS = 6;
    await publish(publisher, (p, i) => ask(p, 'say-all', i), 1200, async (i) => {
      if (i % 200 !== 100) return;
      await until('the client is back from the last cut', () => stands(socket, options), 10_000);
      // Between two requests of a polling client there is nothing to cut.
      await until('it has noticed', () => (socket.proxy.cut(), !socket.connected));
    });
    await events(socket, 'said', 1200, 20_000);
    assert.deepEqual(socket.of('said').flat(), numbers(1200));
    assert.ok(socket.recoveries.length >= CUTS, `${socket.recoveries.length} returns`);
    assertRecovered(socket);
  });

  test(`${name}: what was missed while away comes before anything new`, async (t) => {
    const nsp = `/dyn-away-${name}`;
    const socket = await behindProxy(t, shared.broker, nsp, options);
    const publisher = await connect(t, shared.broker.url + nsp);
    await ask(publisher, 'say-all', 'before');
    await events(socket, 'said', 1);
    socket.proxy.refuse();
    await until('it is away', () => !socket.connected);
    for (const i of numbers(100)) await ask(publisher, 'say-all', { i, bytes: Buffer.from([i]) });
    socket.proxy.refuse(false);
    await back(socket);
    await ask(publisher, 'say-all', 'after');
    const got = (await events(socket, 'said', 102)).flat();
    assert.deepEqual(got, ['before', ...numbers(100).map((i) => ({ i, bytes: Buffer.from([i]) })), 'after']);
    assertRecovered(socket);
  });

  // The reference knows no place to go on from then.
  test(`${name}: a client that has not got any event yet`, ours, async (t) => {
    const socket = await behindProxy(t, shared.broker, '/quiet', options);
    const publisher = await connect(t, `${shared.broker.url}/quiet`);
    assert.deepEqual(socket.got, []);
    socket.proxy.refuse();
    await until('it is away', () => !socket.connected);
    for (const i of numbers(3)) await ask(publisher, 'say-all', `${name} ${i}`);
    socket.proxy.refuse(false);
    await back(socket);
    assert.deepEqual((await events(socket, 'said', 3)).flat(), numbers(3).map((i) => `${name} ${i}`));
    assertRecovered(socket);
  });
}

test('rooms, the own id, and the order between them', async (t) => {
  const socket = await behindProxy(t, shared.broker);
  const control = await connect(t, shared.broker.url);
  const publisher = await connect(t, shared.broker.url);
  for (const s of [socket, control]) for (const room of ['order-a', 'order-b', 'order-left']) await ask(s, 'join', room);
  for (const s of [socket, control]) await ask(s, 'leave', 'order-left');
  const targets = ['order-a', 'order-b', '/', 'order-left'];
  await publish(publisher, (p, i) => (targets[i % 4] === '/' ? ask(p, 'say-all', i) : ask(p, 'say', targets[i % 4], i)), 600, async (i) => {
    if (i === 100 || i === 300) socket.proxy.refuse();
    if (i === 200 || i === 400) socket.proxy.refuse(false);
    if (i === 299) await until('the client is back', () => socket.connected);
  });
  await events(control, 'said', 450);
  await events(socket, 'said', 450, 10_000);
  assert.deepEqual(socket.of('said'), control.of('said'));
  assertRecovered(socket);
  const rooms = await ask(socket, 'rooms');
  assert.deepEqual(rooms, [socket.id, 'order-a', 'order-b']);
});

test('rooms that are left out, of what was missed as well', async (t) => {
  const socket = await behindProxy(t, shared.broker);
  const publisher = await connect(t, shared.broker.url);
  for (const room of ['except-a', 'except-b', 'except-out', 'except-left']) await ask(socket, 'join', room);
  await ask(socket, 'leave', 'except-left');
  const { id } = socket;
  const say = (...args) => ask(publisher, 'say-except', ...args);
  await say(['except-a'], 'except-left', '', 'before');
  await events(socket, 'said', 1);
  socket.proxy.refuse();
  await until('the client is gone', () => !socket.connected);
  await say(['except-a', 'except-b'], 'except-out', '', 1);
  await say(['except-a', 'except-b'], 'except-left', '', 2);
  await say(['except-a'], id, '', 3);
  await say([id], ['except-b'], '', 4);
  await say([id], ['except-left'], '', 5);
  await say(['except-a'], ['other', publisher.id], '', 6);
  socket.proxy.refuse(false);
  await until('the client is back', () => socket.connected);
  await ask(publisher, 'say', 'except-a', 'after');
  await events(socket, 'said', 5);
  assert.deepEqual(socket.of('said').flat(), ['before', 2, 5, 6, 'after']);
  assertRecovered(socket);
});

test('what was sent to its id while it was away', async (t) => {
  const socket = await behindProxy(t, shared.broker);
  const publisher = await connect(t, shared.broker.url);
  await fence(socket);
  socket.proxy.refuse();
  await until('it is away', () => !socket.connected);
  for (const i of numbers(5)) {
    await ask(publisher, 'say', socket.seen[0], `direct ${i}`);
    await ask(publisher, 'say-all', `all ${i}`);
  }
  socket.proxy.refuse(false);
  await back(socket);
  assert.deepEqual((await events(socket, 'said', 10)).flat(), numbers(5).flatMap((i) => [`direct ${i}`, `all ${i}`]));
  assertRecovered(socket);
});

test('what was sent to it alone just before the cut is not lost', async (t) => {
  const socket = await behindProxy(t, shared.broker);
  let sent = 0;
  for (const round of numbers(5)) {
    for (let i = 0; i < 20; i++) socket.emit('message', sent++);
    // By then the broker has answered; how much of it has arrived nobody knows.
    await fence(socket);
    socket.emit('message', sent++);
    socket.emit('twice', round);
    socket.proxy.cut();
    await back(socket, round + 1);
  }
  await fence(socket);
  // What we sent in the moment of the cut may be lost (Socket.IO sends at most once), what came back is whole and in order.
  const got = socket.of('message-back').flat();
  assert.deepEqual(got, [...new Set(got)].sort((a, b) => a - b));
  assert.ok(got.length >= 100, `${got.length} answers`);
  assertRecovered(socket);
});

test('rules for new clients do not run again', async (t) => {
  const socket = await behindProxy(t, shared.broker);
  await events(socket, 'auth', 1);
  socket.proxy.cut();
  await back(socket);
  await fence(socket);
  assert.equal(socket.of('auth').length, 1);
  assertRecovered(socket);
});

// The last text argument is taken for the position by the client: so the position must be the last.
test('events that end with text, volatile ones too, do not break it', ours, async (t) => {
  const socket = await behindProxy(t, shared.broker);
  const publisher = await connect(t, shared.broker.url);
  await ask(socket, 'join', 'texts');
  await ask(publisher, 'say', 'texts', 'ends with text');
  await until('a volatile event', async () => {
    await ask(publisher, 'volatile-to', 'texts', 'ends with text too');
    await fence(socket);
    return socket.of('volatile').length > 0;
  });
  socket.emit('volatile', 'and this one');
  await fence(socket);
  socket.proxy.refuse();
  await until('it is away', () => !socket.connected);
  await ask(publisher, 'say', 'texts', 'missed');
  socket.proxy.refuse(false);
  await back(socket);
  assert.deepEqual((await events(socket, 'said', 2)).flat(), ['ends with text', 'missed']);
  assertRecovered(socket);
});

// The reference looks for the last event in its log, where it is no more.
test('a client that was idle for longer than the log reaches back', ours, async (t) => {
  const broker = await startBroker(t, { config: CONFIG, set: { 'protocols.socketio.recovery': '500ms', 'protocols.socketio.ping_interval': '200ms' } });
  const socket = await behindProxy(t, broker);
  const publisher = await connect(t, broker.url);
  await ask(socket, 'join', 'short-1'); // five messages of history
  await ask(publisher, 'say', 'short-1', 'first');
  await events(socket, 'said', 1);
  await ask(socket, 'leave', 'short-1');
  for (const i of numbers(20)) await ask(publisher, 'say', 'short-1', i);
  let pings = 0;
  socket.io.engine.on('ping', () => pings++);
  await until('it is idle for a while', () => pings >= 8);
  for (const i of numbers(20)) await ask(publisher, 'say', 'short-1', i);
  socket.proxy.refuse();
  await until('it is away', () => !socket.connected);
  await ask(publisher, 'say-all', 'missed');
  socket.proxy.refuse(false);
  await back(socket);
  assert.deepEqual((await events(socket, 'said', 2)).flat(), ['first', 'missed']);
  assertRecovered(socket);
});

// The old connection is still open for the broker: the reference refuses to give its state away.
for (const [name, options] of Object.entries(TRANSPORTS)) {
  test(`${name}: a connection that only the client knows to be gone`, ours, async (t) => {
    const nsp = `/dyn-half-${name}`;
    const socket = await behindProxy(t, shared.broker, nsp, options);
    const publisher = await connect(t, shared.broker.url + nsp);
    const CUTS = 3;
    await publish(publisher, (p, i) => ask(p, 'say-all', i), 400, async (i) => {
      if (i % 100 !== 50 || i > CUTS * 100) return;
      await until('the client is back from the last cut', () => stands(socket, options), 10_000);
      await until('it has noticed', () => (socket.proxy.abandon(), !socket.connected));
    });
    await events(socket, 'said', 400, 20_000);
    assert.deepEqual(socket.of('said').flat(), numbers(400));
    assert.ok(socket.recoveries.length >= CUTS);
    assertRecovered(socket);
  });
}

// ---- not recovered, and said so ----

async function awayAndBack(socket, meanwhile = () => {}) {
  socket.proxy.refuse();
  await until('it is away', () => !socket.connected);
  await meanwhile();
  socket.proxy.refuse(false);
  await back(socket);
}

test('too late: a new id, nothing of the past', async (t) => {
  const broker = await startBroker(t, { config: CONFIG, set: { 'protocols.socketio.recovery': '300ms' } });
  const socket = await behindProxy(t, broker);
  const publisher = await connect(t, broker.url);
  await ask(socket, 'join', 'late');
  await ask(publisher, 'say', 'late', 'before');
  await events(socket, 'said', 1);
  await awayAndBack(socket, async () => {
    const gone = performance.now();
    await ask(publisher, 'say', 'late', 'missed');
    await until('its time is over', () => performance.now() - gone > 600);
  });
  assert.deepEqual(socket.recoveries, [false]);
  assert.equal(new Set(socket.seen).size, 2);
  await ask(publisher, 'say', 'late', 'not in that room any more');
  await fence(socket);
  assert.deepEqual(socket.of('said').flat(), ['before']);
  assert.equal(socket.of('auth').length, 2, 'a new client for the rules');
});

test('more was missed than is kept: a new id, not a part of it', ours, async (t) => {
  const broker = await startBroker(t, { config: CONFIG, set: { 'limits.memory_log': '1MiB' } });
  const socket = await behindProxy(t, broker);
  const publisher = await connect(t, broker.url);
  await ask(publisher, 'say-all', 'before');
  await events(socket, 'said', 1);
  await awayAndBack(socket, async () => {
    for (const i of numbers(30)) await ask(publisher, 'say-all', `${i} ${'x'.repeat(100_000)}`);
  });
  assert.deepEqual(socket.recoveries, [false]);
  await fence(socket);
  assert.deepEqual(socket.of('said').flat(), ['before']);
});

test('who left by itself, or was sent away, does not come back', async (t) => {
  const socket = await behindProxy(t, shared.broker);
  await ask(socket, 'join', 'leaver');
  socket.disconnect();
  socket.connect();
  await back(socket, 1);
  socket.emit('kick');
  await once(socket, 'disconnect');
  socket.connect();
  await back(socket, 2);
  assert.deepEqual(socket.recoveries, [false, false]);
  assert.equal(new Set(socket.seen).size, 3);
  assert.deepEqual(await ask(socket, 'rooms'), [socket.id]);
});

test('switched off: every return is a new client', async (t) => {
  const broker = await startBroker(t, { config: CONFIG, set: { 'protocols.socketio.recovery': '0' } });
  const socket = await behindProxy(t, broker);
  await awayAndBack(socket);
  assert.deepEqual(socket.recoveries.map(Boolean), [false]);
  assert.equal(new Set(socket.seen).size, 2);
});

// ---- packets ----

async function session(t, connectPacket, broker = shared.broker) {
  const ws = await Ws.open(broker.port, '/socket.io/?EIO=4&transport=websocket');
  defer(t, () => ws.destroy());
  await ws.nextText();
  ws.send(text(connectPacket));
  return ws;
}

test('packets: what was missed stands before the reply, with the same id and pid', async (t) => {
  const first = await session(t, '40/quiet,');
  const reply = JSON.parse((await first.nextText()).replace('40/quiet,', ''));
  const publisher = await connect(t, `${shared.broker.url}/quiet`);
  await ask(publisher, 'say-all', 'seen');
  const [, , offset] = JSON.parse((await first.nextText()).replace('42/quiet,', ''));
  assert.match(offset, /^[\w.-]+$/);
  first.destroy();
  for (const i of numbers(3)) await ask(publisher, 'say-all', i);
  const second = await session(t, `40/quiet,${JSON.stringify({ pid: reply.pid, offset })}`);
  for (const i of numbers(3)) assert.deepEqual(JSON.parse((await second.nextText()).replace('42/quiet,', '')).slice(0, 2), ['said', i]);
  assert.deepEqual(JSON.parse((await second.nextText()).replace('40/quiet,', '')), reply);
});

test('packets: a pid or an offset that is none gives a new session', async (t) => {
  const first = await session(t, '40/quiet,');
  const { sid, pid } = JSON.parse((await first.nextText()).replace('40/quiet,', ''));
  for (const auth of [{ pid: 'AAAAAAAAAAAAAAAAAAAA', offset: '1' }, { pid: 'x'.repeat(5000), offset: 'y' }, { pid: 1, offset: {} }, { pid: sid, offset: '' }, { pid: null }, { offset: 'zz' }]) {
    const other = await session(t, `40/quiet,${JSON.stringify(auth)}`);
    const reply = JSON.parse((await other.nextText()).replace('40/quiet,', ''));
    assert.notEqual(reply.sid, sid);
    assert.notEqual(reply.pid, pid);
    other.destroy();
  }
});

test('packets: a pid of another namespace is of no use', async (t) => {
  const first = await session(t, '40/quiet,');
  const { sid, pid } = JSON.parse((await first.nextText()).replace('40/quiet,', ''));
  first.destroy();
  const other = await session(t, `40/dyn-1,${JSON.stringify({ pid, offset: '0' })}`);
  assert.notEqual(JSON.parse((await other.nextText()).replace('40/dyn-1,', '')).sid, sid);
});

test('packets: two connections with one pid: the last wins, the first is closed', ours, async (t) => {
  const first = await session(t, '40/quiet,');
  const { sid, pid } = JSON.parse((await first.nextText()).replace('40/quiet,', ''));
  let loser = first;
  for (let i = 0; i < 20; i++) {
    const winner = await session(t, `40/quiet,${JSON.stringify({ pid })}`);
    assert.equal(JSON.parse((await winner.nextText()).replace('40/quiet,', '')).sid, sid);
    const f = await loser.next();
    assert.equal(f?.opcode, OP.CLOSE, describe(f));
    loser.destroy();
    loser = winner;
  }
  loser.send(text('42/quiet,1["message-with-ack"]'));
  assert.equal(await loser.nextText(), '43/quiet,1[]');
  const metrics = (await request(shared.broker.port, '/metrics')).text;
  assert.match(metrics, /^rtbroker_socketio_recoveries_total\{result="ok"\} \d+$/m);
});

// ---- from the client to the broker ----

test('`retries` with a key: every message exactly once through cuts', ours, async (t) => {
  const sender = await behindProxy(t, shared.broker, '', { retries: 50, ackTimeout: 400 });
  const listener = await connect(t, shared.broker.url);
  await ask(listener, 'join', 'exactly');
  const cutter = setInterval(() => sender.proxy.cut(), 30);
  try {
    for (const i of numbers(150)) sender.emit('say-once', 'exactly', `k${i}`);
    await until('all were acknowledged', () => sender._queue.length === 0, 30_000);
  } finally {
    clearInterval(cutter);
  }
  await fence(listener);
  assert.deepEqual(listener.of('said').flat(), numbers(150).map((i) => `k${i}`));
});

test('a key counts under its session: nobody can use up the keys of another', ours, async (t) => {
  const [listener, owner, stranger] = [await connect(t, shared.broker.url), await behindProxy(t, shared.broker), await connect(t, shared.broker.url)];
  await ask(listener, 'join', 'keys-of-two');
  const say = (socket) => ask(socket, 'say-once', 'keys-of-two', 'the same');
  const first = await say(stranger);
  const own = await say(owner);
  assert.equal(own.offset, first.offset + 1, JSON.stringify({ first, own }));
  await until('it is cut', () => (owner.proxy.cut(), !owner.connected));
  await back(owner);
  assert.deepEqual([await say(owner), await say(stranger)], [own, first], 'each has its own');
  await fence(listener);
  assert.deepEqual(listener.of('said').flat(), ['the same', 'the same']);
});
