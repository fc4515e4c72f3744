// The example configurations with the clients that they are for: the classic chat, the chat with rooms, the stored one.
import assert from 'node:assert/strict';
import path from 'node:path';

import { examplePath, once, startBroker, tempDir, test, until } from './harness.mjs';
import { TRANSPORTS, client, connect, events, settled } from './socketio.mjs';
import { request } from './wire.mjs';

const CLIENTS = 30;
const MESSAGES = 500;
const kinds = Object.values(TRANSPORTS);

// Clients of all transports in turn.
async function crowd(t, url, n, options = {}) {
  const clients = [];
  for (let i = 0; i < n; i++) clients.push(await connect(t, url, { ...kinds[i % kinds.length], ...options }));
  return clients;
}

test('chat: every message once to each of 30 clients, all in one order', async (t) => {
  const broker = await startBroker(t, { config: examplePath('chat.yaml') });
  const clients = await crowd(t, broker.url, CLIENTS);
  // While some are still moving from polling to WebSocket.
  for (let i = 0; i < MESSAGES; i++) clients[i % CLIENTS].emit('event:message', { message: `message ${i} é`, ignored: true });
  for (const c of clients) await events(c, 'message', MESSAGES, 20_000);
  await Promise.all(clients.map(settled));

  const raw = clients[0].of('message').flat();
  assert.ok(raw.every((text) => typeof text === 'string'), 'the argument is JSON text');
  assert.equal(raw[0], JSON.stringify(JSON.parse(raw[0])));
  assert.deepEqual(Object.keys(JSON.parse(raw[0])), ['message']);
  for (const c of clients) assert.deepEqual(c.of('message').flat(), raw, 'another order');
  const order = raw.map((text) => JSON.parse(text).message);
  assert.deepEqual([...order].sort(), [...Array(MESSAGES).keys()].map((i) => `message ${i} é`).sort());
  // What one client sends stays in its order.
  for (let who = 0; who < CLIENTS; who++) {
    const own = order.filter((m) => Number(m.split(' ')[1]) % CLIENTS === who).map((m) => Number(m.split(' ')[1]));
    assert.deepEqual(own, [...own].sort((a, b) => a - b));
  }
});

test('chat: on the wire it is what the classic server sends', async (t) => {
  const broker = await startBroker(t, { config: examplePath('chat.yaml') });
  const at = '/socket.io/?EIO=4&transport=polling';
  const call = (target, options) => request(broker.port, target, options);
  const { sid } = JSON.parse((await call(at)).text.slice(1));
  const post = (body) => call(`${at}&sid=${sid}`, { method: 'POST', body });
  const get = async () => (await call(`${at}&sid=${sid}`)).text;
  await post('40');
  assert.match(await get(), /^40\{"sid"/);
  await post('42["event:message",{"message":"hi"}]');
  assert.match(await get(), /^42\["message","\{\\"message\\":\\"hi\\"\}"(,"[^"]+")?\]$/); // with the position where recovery is on
  await post('42["event:message",{}]');
  assert.match(await get(), /^42\["message","\{\\"message\\":null\}"(,"[^"]+")?\]$/); // with the position where recovery is on
  await post('421["event:message",{"message":"with ack"}]');
  let got = '';
  while (!/431\[/.test(got)) got += await get();
  assert.match(got, /431\[\{"ok":true,"epoch":"[^"]+","offset":3\}\]/);
});

test('chat: a page of another origin may use it', async (t) => {
  const broker = await startBroker(t, { config: examplePath('chat.yaml') });
  const headers = { origin: 'http://localhost:3000' };
  const response = await request(broker.port, '/socket.io/?EIO=4&transport=polling', { headers });
  assert.equal(response.headers['access-control-allow-origin'], '*');
  // Browsers show where they come from on the WebSocket as well; its options are not held to the same origin.
  await connect(t, broker.url, { ...TRANSPORTS.websocket, extraHeaders: { Origin: 'http://localhost:3000' } });
});

test('rooms: a client without a room is refused', async (t) => {
  const broker = await startBroker(t, { config: examplePath('rooms.yaml') });
  for (const options of kinds) {
    const socket = client(t, broker.url, { ...options, reconnection: false });
    const [error] = await once(socket, 'connect_error');
    assert.equal(error.message, 'Invalid room');
  }
});

test('rooms: the others in the room get it, the sender gets its acknowledgement', async (t) => {
  const broker = await startBroker(t, { config: examplePath('rooms.yaml') });
  const seven = await crowd(t, broker.url, 6, { auth: { room: '7' } });
  const eight = await crowd(t, broker.url, 3, { extraHeaders: { room: '8' } });
  const message = { id: 'x', message: 'hi', name: 'ann', created_at: new Date().toISOString(), group_id: 7, more: [1, { two: null }] };
  for (const [who, sender] of seven.entries()) {
    const answer = await sender.timeout(5000).emitWithAck('message', { ...message, who });
    assert.equal(answer.ok, true);
    assert.equal(answer.offset, who + 1);
  }
  const answer = await eight[0].timeout(5000).emitWithAck('message', 'for eight');
  assert.equal(answer.offset, 1);
  for (const [who, c] of seven.entries()) {
    const others = [0, 1, 2, 3, 4, 5].filter((other) => other !== who);
    assert.deepEqual(await events(c, 'message', 5), others.map((other) => [{ ...message, who: other }]));
  }
  for (const c of eight.slice(1)) assert.deepEqual(await events(c, 'message', 1), [['for eight']]);
  assert.deepEqual(eight[0].of('message'), []);
});

test('durable: acknowledged messages are there after kill -9, positions go on, repetitions are recognised', async (t) => {
  const dir = tempDir(t);
  const broker = await startBroker(t, {
    config: examplePath('durable.yaml'),
    env: { STORAGE: path.join(dir, 'chat.db') },
  });
  const socket = await connect(t, broker.url);
  const send = (n) => socket.timeout(5000).emitWithAck('event:message', { id: `id-${n}`, message: `m${n}` });
  const before = [];
  for (let n = 0; n < 5; n++) before.push(await send(n));
  assert.deepEqual(before.map((r) => r.offset), [1, 2, 3, 4, 5]);
  await broker.kill();
  await broker.restart();
  await until('the client is back', () => socket.connected);
  const again = await send(3);
  assert.deepEqual({ ok: again.ok, offset: again.offset }, { ok: true, offset: before[3].offset }, 'the key is known still');
  const stranger = await connect(t, broker.url);
  const theirs = await stranger.timeout(5000).emitWithAck('event:message', { id: 'id-3', message: 'theirs' });
  assert.deepEqual({ ok: theirs.ok, offset: theirs.offset }, { ok: true, offset: 6 }, 'nobody can use up the keys of another');
  const next = await send(5);
  assert.notEqual(next.epoch, before[0].epoch); // each run has one of its own; positions of before go on
  assert.equal(next.epoch, again.epoch);
  assert.equal(next.offset, 7);
  assert.deepEqual(socket.of('message').flat(), ['m0', 'm1', 'm2', 'm3', 'm4', 'theirs', 'm5'].map((m) => `{"message":"${m}"}`));
});
