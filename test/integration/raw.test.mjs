// Raw endpoints: plain WebSocket and bare Engine.IO bound to channels, with the clients `ws` and `engine.io-client`.
import assert from 'node:assert/strict';
import { after, before } from 'node:test';

import { Socket as EngineSocket } from 'engine.io-client';
import WebSocket from 'ws';

import { configPath, defer, once, shareBroker, startBroker, test, until } from './harness.mjs';
import { OP, Ws, request } from './wire.mjs';

const shared = shareBroker({ before, after }, { config: configPath('raw.yaml') });

// A client that keeps what it gets: strings for text, Buffers for binary.
async function open(t, path) {
  const ws = new WebSocket(`ws://127.0.0.1:${shared.broker.port}${path}`);
  ws.got = [];
  ws.on('message', (data, isBinary) => ws.got.push(isBinary ? data : data.toString()));
  ws.on('close', (code, reason) => (ws.ending = { code, reason: reason.toString() }));
  defer(t, () => ws.terminate());
  await once(ws, 'open');
  return ws;
}

async function api(method, body) {
  const response = await request(shared.broker.port, `/api/${method}`, { method: 'POST', headers: { 'x-api-key': 'test-key' }, body: JSON.stringify(body) });
  assert.equal(response.status, 200, response.text);
  return response.json().result;
}

const closing = (ws, ms) => until('the connection is closed', () => ws.ending, ms);
const received = (ws, n) => until(`${n} messages`, () => ws.got.length >= n && ws.got);

test('text and binary are kept apart, and everybody sees the same order', async (t) => {
  const clients = await Promise.all([1, 2, 3].map(() => open(t, '/raw/open:mixed')));
  const sent = [...Array(200).keys()].map((i) => (i % 3 === 0 ? Buffer.from([i, 0, 255]) : `text ${i} é`));
  for (const [i, message] of sent.entries()) clients[i % 2].send(message);
  for (const client of clients) await received(client, sent.length);
  for (const client of clients) assert.deepEqual(client.got, clients[0].got, 'another order');
  // Two senders: each one's messages are in its order.
  for (const sender of [0, 1]) {
    const own = sent.filter((_, i) => i % 2 === sender);
    const seen = clients[2].got.filter((m) => own.some((o) => (Buffer.isBuffer(o) ? Buffer.isBuffer(m) && o.equals(m) : o === m)));
    assert.deepEqual(seen, own);
  }
});

test('an empty message, a NUL, and the largest that is allowed arrive as they are', async (t) => {
  const [a, b] = [await open(t, '/raw/open:exact'), await open(t, '/raw/open:exact')];
  const sent = ['', 'a\u0000b', Buffer.alloc(0), 'x'.repeat(64 * 1024), Buffer.alloc(64 * 1024, 9)];
  for (const message of sent) a.send(message);
  assert.deepEqual(await received(b, sent.length), sent);
});

test('channels do not mix', async (t) => {
  const [a, b] = [await open(t, '/raw/open:a'), await open(t, '/raw/open:b')];
  a.send('for a');
  b.send('for b');
  assert.deepEqual(await received(a, 1), ['for a']);
  assert.deepEqual(await received(b, 1), ['for b']);
});

test('the channel in the path is decoded, and may hold slashes and plus signs', async (t) => {
  for (const [path, channel] of [['/raw/open:%C3%A9%20x', 'open:é x'], ['/raw/open:a/b/c', 'open:a/b/c'], ['/raw/open:1+1', 'open:1+1'], ['/rooms/blue/ws', 'room:blue']]) {
    const ws = await open(t, path);
    await api('publish', { channel, data: 'here' });
    assert.deepEqual(await received(ws, 1), ['"here"'], channel);
  }
});

test('the query is not part of the channel', async (t) => {
  const ws = await open(t, '/raw/open:q?token=1');
  await api('publish', { channel: 'open:q', data: 1 });
  assert.deepEqual(await received(ws, 1), ['1']);
});

const refusals = [
  ['a channel without a rule', '/raw/unknown', 4404, /channels/],
  ['a channel that nobody may subscribe to', '/raw/write:x', 4403, /subscribe.*write:\*/],
  ['an empty channel name', '/raw/', 1008, /empty/],
  ['a channel name with a control character', '/raw/open:%0A', 1008, /control/],
  ['a channel name that is too long', `/raw/open:${'n'.repeat(100)}`, 1009, /limits\.channel_name/],
];
for (const [name, path, code, reason] of refusals) {
  test(`refused: ${name}`, async (t) => {
    const ws = await open(t, path);
    const ending = await closing(ws);
    assert.equal(ending.code, code);
    assert.match(ending.reason, reason);
  });
}

test('a path that does not fit the pattern behind {channel} is none of the endpoint', async (t) => {
  for (const path of ['/rooms/blue/other', '/rooms/blue', '/rooms/a/b/ws', '/rooms/']) {
    const ws = new WebSocket(`ws://127.0.0.1:${shared.broker.port}${path}`);
    defer(t, () => ws.terminate());
    const [error] = await once(ws, 'error');
    assert.match(error.message, /404/, path);
  }
});

test('refused: publishing where only reading is allowed', async (t) => {
  const [reader, writer] = [await open(t, '/raw/read:x'), await open(t, '/raw/read:x')];
  writer.send('no');
  const ending = await closing(writer);
  assert.equal(ending.code, 4403);
  assert.match(ending.reason, /publish/);
  await api('publish', { channel: 'read:x', data: 'yes' });
  assert.deepEqual(await received(reader, 1), ['"yes"']);
});

test('what was published before a refused message still arrives', async (t) => {
  const ws = await open(t, '/raw/open:limit');
  ws.send('good');
  ws.send('x'.repeat(64 * 1024 + 1));
  const ending = await closing(ws);
  assert.deepEqual(ws.got, ['good']);
  assert.equal(ending.code, 1009);
  assert.match(ending.reason, /limits\.message/);
});

test('refused: a message beyond max_message', async (t) => {
  const ws = await open(t, '/raw/open:limit');
  ws.send('x'.repeat(128 * 1024 + 1));
  assert.equal((await closing(ws)).code, 1009);
});

test('an endpoint that does not publish ignores what comes, one that does not subscribe is sent nothing', async (t) => {
  const [feed, sink] = [await open(t, '/feed'), await open(t, '/sink')];
  const start = await api('history', { channel: 'feed' });
  feed.send('ignored');
  sink.send('taken');
  await api('publish', { channel: 'feed', data: 'fence' });
  await received(feed, 2);
  assert.deepEqual(feed.got.sort(), ['"fence"', 'taken']);
  const history = await api('history', { channel: 'feed', limit: -1, since: start });
  assert.deepEqual(history.publications.map((p) => p.data).sort(), ['fence', 'taken']);
  sink.ping();
  await once(sink, 'pong');
  assert.deepEqual(sink.got, []);
});

test('the API sees text as a JSON string and bytes as base64, and its bytes arrive as binary', async (t) => {
  const ws = await open(t, '/raw/log:api');
  ws.send('a "text"');
  await received(ws, 1);
  ws.send(Buffer.from([0, 1, 254]));
  await received(ws, 2);
  await api('publish', { channel: 'log:api', data: { json: [1, 'é'] } });
  await api('publish', { channel: 'log:api', b64data: 'AP8=' });
  const got = await received(ws, 4);
  assert.equal(got[2], '{"json":[1,"é"]}');
  assert.deepEqual(got[3], Buffer.from([0, 255]));
  const { publications } = await api('history', { channel: 'log:api', limit: -1 });
  assert.deepEqual(publications.map((p) => [p.data, p.tags?.encoding]), [['a "text"', undefined], ['AAH+', 'base64'], [{ json: [1, 'é'] }, undefined], ['AP8=', 'base64']]);
});

test('a client that leaves is no subscriber any more', async (t) => {
  const ws = await open(t, '/raw/open:leaving');
  assert.deepEqual((await api('channels', { pattern: 'open:leaving' })).channels, { 'open:leaving': { num_clients: 1 } });
  ws.close();
  await until('the channel is empty', async () => !(await api('channels', { pattern: 'open:leaving' })).channels['open:leaving']);
});

// ---- origins, silent peers ----

async function withOrigin(broker, origin) {
  const headers = { Host: `127.0.0.1:${broker.port}`, ...(origin ? { Origin: origin } : {}) };
  const ws = await Ws.open(broker.port, '/raw/open:x', { headers }).catch((error) => error.response);
  if (!(ws instanceof Ws)) return ws.status;
  ws.destroy();
  return 101;
}

test('origins: pages of the same host, and clients that are no browsers', async () => {
  const { broker } = shared;
  for (const [origin, status] of [[undefined, 101], [`http://127.0.0.1:${broker.port}`, 101], ['https://evil.example', 403], [`http://127.0.0.1:${broker.port + 1}`, 403], ['null', 403]])
    assert.equal(await withOrigin(broker, origin), status, origin);
});

test('origins: those that are configured', async (t) => {
  const broker = await startBroker(t, { config: configPath('raw.yaml'), set: { origins: '["https://app.example", "https://*.example.org"]' } });
  for (const [origin, status] of [
    ['https://app.example', 101], ['https://a.example.org', 101], ['http://app.example', 403], ['https://app.example.evil', 403], ['https://evilexample.org', 403], ['https://app.example:444', 403],
    [`http://127.0.0.1:${broker.port}`, 101],
  ]) assert.equal(await withOrigin(broker, origin), status, origin);
});

test('a silent peer is pinged, and closed when it does not answer', async (t) => {
  const broker = await startBroker(t, { text: 'http: {listen: ["127.0.0.1:0"]}\nprotocols: {raw: [{path: /echo, ping_interval: 200ms, ping_timeout: 300ms}]}\n' });
  const start = performance.now();
  const [mute, polite] = [await Ws.open(broker.port, '/echo'), new WebSocket(`ws://127.0.0.1:${broker.port}/echo`)];
  defer(t, () => (mute.destroy(), polite.terminate()));
  let pings = 0;
  polite.on('ping', () => pings++);
  await once(polite, 'open');
  assert.equal((await mute.next(1000)).opcode, OP.PING);
  await mute.tcp.until('its end', () => mute.tcp.ended, 2000);
  const elapsed = performance.now() - start;
  assert.ok(elapsed > 450 && elapsed < 1200, `after ${Math.round(elapsed)} ms`);
  await until('more pings', () => pings >= 4);
  assert.equal(polite.readyState, WebSocket.OPEN);
});

// ---- bare Engine.IO ----

async function openEngine(t, options, path = '/engine.io/') {
  const socket = new EngineSocket(`http://127.0.0.1:${shared.broker.port}`, { path, ...options });
  socket.got = [];
  socket.binaryType = 'nodebuffer';
  socket.on('message', (data) => socket.got.push(data));
  defer(t, () => socket.close());
  await once(socket, 'open');
  return socket;
}

for (const [name, options] of [['polling', { transports: ['polling'] }], ['websocket', { transports: ['websocket'] }], ['upgrade', {}]]) {
  test(`bare Engine.IO echoes text and binary: ${name}`, async (t) => {
    const socket = await openEngine(t, options);
    const sent = [...Array(60).keys()].map((i) => (i % 4 === 0 ? Buffer.from([i, 0, 30, 255]) : `message ${i} é`));
    // While an upgrade is under way as well.
    for (const message of sent.slice(0, 30)) socket.send(message);
    if (name === 'upgrade') await once(socket, 'upgrade');
    for (const message of sent.slice(30)) socket.send(message);
    await received(socket, sent.length);
    assert.deepEqual(socket.got, sent);
    assert.equal(socket.transport.name, name === 'polling' ? 'polling' : 'websocket');
  });
}

test('bare Engine.IO and plain WebSocket share a channel', async (t) => {
  const clients = [await openEngine(t, { transports: ['polling'] }, '/engine-feed/'), await openEngine(t, { transports: ['websocket'] }, '/engine-feed/'), await open(t, '/feed')];
  clients[0].send('from polling');
  await received(clients[2], 1);
  clients[1].send(Buffer.from('from websocket'));
  for (const client of clients) assert.deepEqual(await received(client, 2), ['from polling', Buffer.from('from websocket')]);
});

test('bare Engine.IO: a session that closes is gone', async (t) => {
  const socket = await openEngine(t, { transports: ['websocket'] });
  const { id } = socket;
  socket.close();
  await until('its id is unknown', async () => {
    const response = await request(shared.broker.port, `/engine.io/?EIO=4&transport=polling&sid=${id}`, { method: 'POST', body: '4x' });
    return response.status === 400 && response.json().code === 1;
  });
});
