// Clients of Socket.IO 2 (Engine.IO 3, `allow_eio3`): socket.io-client 2.5 over every transport, in Node and in a browser, beside one of version 4; and
// requests and frames of our own, as they are on the wire.
// `RTBROKER=test/integration/reference.mjs` runs it against the reference server; tests marked `ours` are left out then.
import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { after, before } from 'node:test';

import { chromium } from 'playwright-core';

import { CHROMIUM, REFERENCE, configPath, defer, noChromium, once, ours, shareBroker, startBroker, test, until } from './harness.mjs';
import { connect as connectNew, events, fence } from './socketio.mjs';
import { answers, ask, client, connected } from './socketio2.mjs';
import { OP, Ws, binary, closeOf, request, text } from './wire.mjs';

// What the client takes polling payloads apart with.
const require_ = createRequire(createRequire(import.meta.url).resolve('socket.io-client-v2'));
const parser = require_('engine.io-parser');

// With recovery on: nothing of it may reach old clients. (The reference sends them its offsets.)
const OPTIONS = {
  config: configPath('socketio.yaml'),
  set: { 'protocols.socketio.allow_eio3': true, 'protocols.socketio.recovery': REFERENCE ? '0' : '2m' },
};
const shared = shareBroker({ before, after }, OPTIONS);
const url = (nsp = '') => shared.broker.url + nsp;

const TRANSPORTS = {
  websocket: { transports: ['websocket'] },
  'websocket with base64': { transports: ['websocket'], forceBase64: true },
  polling: { transports: ['polling'] },
  upgrade: { transports: ['polling', 'websocket'] },
};

const settled = (socket) => until('the upgrade', () => {
  const { transport, transports } = socket.io.engine;
  return transport.name === (transports.includes('websocket') ? 'websocket' : 'polling');
}).then(() => socket);

for (const [transport, options] of Object.entries(TRANSPORTS)) {
  const open = async (t, target = url()) => settled(await connected(client(t, target, { ...options })));

  test(`${transport}: connects by itself, with the id that the client gives itself`, async (t) => {
    const socket = await open(t);
    assert.deepEqual(await events(socket, 'auth', 1), [[{}]]);
    assert.equal(socket.id, socket.io.engine.id);
    assert.deepEqual(await ask(socket, 'rooms'), [socket.id]);
  });

  test(`${transport}: events with any number of arguments of any kind`, async (t) => {
    const socket = await open(t);
    const args = [1, -0.5, 'é漢😀😀\u0000\u001e"\\', true, null, [], {}, { a: [{ b: '𝄞' }] }, 1e21, '\ufffd'];
    for (let n = 0; n <= args.length; n++) socket.emit('message', ...args.slice(0, n));
    const got = await events(socket, 'message-back', args.length + 1);
    assert.deepEqual(got, [...args.keys(), args.length].map((n) => args.slice(0, n)));
  });

  test(`${transport}: binary arguments, at any depth`, async (t) => {
    const socket = await open(t);
    const args = [Buffer.from([1, 2, 3]), { deep: [Buffer.alloc(0), { er: Buffer.alloc(1000, 7) }], text: '😀' }, 'between', Buffer.from([4, 0, 255])];
    socket.emit('message', ...args);
    assert.deepEqual((await events(socket, 'message-back', 1))[0], args);
  });

  test(`${transport}: acknowledgements both ways, with values and with binary`, async (t) => {
    const socket = await open(t);
    assert.deepEqual(await answers(socket, 'message-with-ack', 1, '2', { 3: [false] }), [1, '2', { 3: [false] }]);
    const bytes = Buffer.from([1, 0, 255]);
    assert.deepEqual(await answers(socket, 'message-with-ack', bytes, [bytes]), [bytes, [bytes]]);
    assert.deepEqual(await answers(socket, 'constants'), [false, 0, 'text', null, Buffer.from([1, 2, 3]), { list: [1, { two: 2 }] }]);
    socket.on('question', (question, answer) => answer(question === 'good' ? 42 : bytes));
    socket.emit('ask-me', 'good');
    socket.emit('ask-me', 'bad');
    await events(socket, 'wrong', 1);
    assert.deepEqual(socket.of('right'), [[42]]);
  });

  test(`${transport}: many packets in one payload, in order`, async (t) => {
    const socket = await open(t);
    const numbers = [...Array(300).keys()];
    const got = [];
    for (const i of numbers) {
      socket.emit('message', i, i % 50 ? '€' : Buffer.from([i % 256]));
      socket.emit('message-with-ack', i, (n) => got.push(n));
    }
    await until('all answers', () => got.length === numbers.length);
    assert.deepEqual(got, numbers);
    assert.deepEqual((await events(socket, 'message-back', 300)).map(([i]) => i), numbers);
  });

  test(`${transport}: rooms with clients of version 4 in them: all get the same, and no position`, async (t) => {
    const [a, b] = [await open(t), await open(t)];
    const news = [await connectNew(t, url()), await connectNew(t, url(), { transports: ['polling'] })];
    const room = `shared-${transport}`;
    for (const socket of [a, b]) await ask(socket, 'join', room);
    for (const socket of news) await socket.emitWithAck('join', room);
    const said = [['text 😀'], [{ bytes: Buffer.from([0, 4, 255]), more: [Buffer.alloc(3000, 8)] }], [7]];
    assert.equal((await ask(a, 'say', room, said[0][0])).ok, true);
    await news[0].emitWithAck('say', room, said[1][0]);
    await ask(a, 'say-others', room, said[2][0]);
    for (const socket of [b, ...news]) assert.deepEqual(await events(socket, 'said', 3), said);
    await ask(a, 'leave', room);
    assert.deepEqual(a.of('said'), said.slice(0, 2));
  });

  test(`${transport}: an id is a room, of either kind of client`, async (t) => {
    const [a, b, c] = [await open(t), await open(t), await connectNew(t, url())];
    await ask(a, 'say', b.id, 'private');
    await c.emitWithAck('say', b.id, Buffer.from([9]));
    await ask(a, 'say', c.id, 'to the new one');
    assert.deepEqual(await events(b, 'said', 2), [['private'], [Buffer.from([9])]]);
    assert.deepEqual(await events(c, 'said', 1), [['to the new one']]);
    assert.deepEqual(a.of('said'), []);
  });

  test(`${transport}: namespaces, whose query is the auth object`, async (t) => {
    const root = await open(t);
    const custom = root.io.socket('/custom', { query: 'token=a%20b&x=1' });
    custom.got = [];
    custom.on('auth', (...args) => custom.got.push(args));
    await connected(custom);
    await until('its event', () => custom.got.length);
    assert.deepEqual(custom.got, [[{ token: 'a b', x: '1' }]]);
    assert.equal(custom.id, `/custom#${root.id}`);
    assert.deepEqual(await ask(custom, 'rooms'), [custom.id]);
    const other = await open(t, url('/custom'));
    const said = once(custom, 'said');
    await ask(other, 'say', custom.id, 'private');
    assert.equal((await said)[0], 'private');
    custom.close();
    await ask(root, 'message-with-ack', 'still here');
  });

  test(`${transport}: the transport is closed, the client comes back`, async (t) => {
    const socket = await open(t);
    const gone = once(socket, 'disconnect');
    const back = once(socket, 'reconnect');
    socket.emit('close');
    assert.equal((await gone)[0], 'transport close');
    await back;
    assert.equal(await ask(socket, 'message-with-ack', 'again'), 'again');
  });

  test(`${transport}: leaving and being sent away`, async (t) => {
    const socket = await open(t);
    socket.emit('kick');
    assert.equal((await once(socket, 'disconnect'))[0], 'io server disconnect');
    socket.open();
    await connected(socket);
    const gone = once(socket, 'disconnect');
    socket.close();
    assert.equal((await gone)[0], 'io client disconnect');
    socket.open();
    await settled(await connected(socket));
    socket.emit('kick-close');
    assert.equal((await once(socket, 'disconnect'))[0], 'io server disconnect');
  });
}

test('namespaces: an error is the data of the refusal', async (t) => {
  const refused = client(t, url('/secret'), { query: { token: 'guess' } });
  assert.deepEqual(await once(refused, 'error'), [{ code: 4401, token: 'guess' }]);
  const welcome = await connected(client(t, url('/secret'), { query: { token: 'open sesame' } }));
  assert.deepEqual(await events(welcome, 'auth', 1), [[{ token: 'open sesame' }]]);
  const unknown = client(t, url('/unknown'));
  assert.deepEqual(await once(unknown, 'error'), [{ message: 'Invalid namespace' }]);
});

test('an error without data is its message, also of the namespace that nobody asked for', ours, async (t) => {
  const text_ = 'http: {listen: ["127.0.0.1:0"]}\nprotocols: {socketio: {allow_eio3: true}}\nsocketio:\n  on_connect:\n    - do: [{refuse: {message: "not \\"you\\""}}]\n';
  const broker = await startBroker(t, { text: text_ });
  for (const transports of [['websocket'], ['polling']])
    assert.deepEqual(await once(client(t, broker.url, { transports }), 'error'), ['not "you"']);
});

test('the handshake has the query of the connection', async (t) => {
  const socket = await connected(client(t, url(), { query: { user: 'x y' }, transports: ['websocket'] }));
  const handshake = await ask(socket, 'handshake');
  assert.deepEqual(handshake.query, { EIO: '3', transport: 'websocket', user: 'x y' });
  assert.deepEqual(handshake.auth, {});
});

test('bare Engine.IO: text and binary, each as what it was', ours, async (t) => {
  const broker = await startBroker(t, {
    text: 'http: {listen: ["127.0.0.1:0"]}\nprotocols: {raw: [{path: /bare/, protocol: engineio, channel: "{sid}", allow_eio3: true}]}\n',
  });
  const engine = require_('engine.io-client');
  for (const options of Object.values(TRANSPORTS)) {
    const socket = engine(broker.url, { path: '/bare/', ...options });
    defer(t, () => socket.close());
    const got = [];
    socket.on('message', (data) => got.push(data));
    const sent = ['é😀', Buffer.from([4, 0, 255]), Buffer.alloc(1000, 7), 'x'.repeat(1000)];
    for (const data of sent) socket.send(data);
    await until('what was sent', () => got.length === sent.length);
    assert.deepEqual(got, sent, JSON.stringify(options));
  }
});

// ---- in a browser: binary XHR, and JSONP ----

test('a browser: binary over polling, base64, JSONP, WebSocket and the upgrade', { skip: noChromium() }, async (t) => {
  const browser = await chromium.launch({ executablePath: CHROMIUM, args: ['--no-sandbox'] });
  defer(t, () => browser.close());
  const page = await browser.newPage();
  const types = new Set();
  page.on('response', (response) => response.request().method() === 'GET' && types.add(response.headers()['content-type']));
  await page.goto(`${url()}/socket.io/?no-transport`); // an error in JSON, which a browser shows as a page
  await page.addScriptTag({ content: readFileSync(require_.resolve('socket.io-client-v2/dist/socket.io.js'), 'utf8') });
  const talk = (options) => page.evaluate((opts) => new Promise((resolve, reject) => {
    const socket = window.io({ forceNew: true, ...opts });
    setTimeout(() => reject(new Error(`no answer: ${JSON.stringify(opts)}`)), 5000);
    socket.on('error', reject);
    socket.on('connect', () => socket.emit('message-with-ack', '漢😀\n\\n', { deep: new Uint8Array([4, 0, 255]).buffer }, (words, back) => {
      socket.close();
      resolve([words, [...new Uint8Array(back.deep)]]);
    }));
  }), options);
  const want = ['漢😀\n\\n', [4, 0, 255]];
  for (const options of [
    { transports: ['polling'] }, { transports: ['polling'], forceBase64: true }, { transports: ['polling'], forceJSONP: true },
    { transports: ['websocket'] }, {},
  ]) assert.deepEqual(await talk(options), want, JSON.stringify(options));
  assert.ok(types.has('application/octet-stream'), [...types].join());
});

// ---- on the wire ----

const POLL = 'EIO=3&transport=polling';
const call = (query, options) => request(shared.broker.port, `/socket.io/?${query}`, options);
const decode = (response) => {
  const packets = [];
  const octets = response.headers['content-type'] === 'application/octet-stream';
  parser.decodePayload(octets ? response.bytes : response.text, null, (packet) => void packets.push(packet));
  return packets;
};

async function handshake(query = POLL) {
  const response = await call(query);
  assert.equal(response.status, 200, response.text);
  const [open] = decode(response);
  assert.equal(open.type, 'open');
  return { response, ...JSON.parse(open.data) };
}
const get = (sid, options) => call(`${POLL}&sid=${sid}`, options);
const post = (sid, body, headers = {}) => call(`${POLL}&sid=${sid}`, { method: 'POST', body, headers });
const OCTETS = { 'content-type': 'application/octet-stream' };

// Polls until there are `n` messages.
async function messages(sid, n, seen = []) {
  const list = [];
  while (list.length < n) {
    const response = await get(sid);
    assert.equal(response.status, 200, response.text);
    seen.push(response);
    list.push(...decode(response).filter(({ type }) => type === 'message').map(({ data }) => data));
  }
  return list;
}

test('wire: the open packet, and CONNECT unasked with the next request', async () => {
  const { response, ...open } = await handshake();
  assert.equal(response.headers['content-type'], 'text/plain; charset=UTF-8');
  assert.match(response.text, /^\d+:0\{/);
  assert.deepEqual({ ...open, sid: '' }, { sid: '', upgrades: ['websocket'], pingInterval: 25000, pingTimeout: 20000, maxPayload: 1000000 });
  assert.deepEqual(await messages(open.sid, 2), ['0', '2["auth",{}]']);
});

test('wire: lengths are UTF-16 code units', async () => {
  const { sid } = await handshake();
  await messages(sid, 2);
  const packet = '42["message","é漢😀"]', back = '42["message-back","é漢😀"]';
  assert.equal((await post(sid, `${packet.length}:${packet}`)).text, 'ok');
  assert.equal((await get(sid)).text, `${back.length}:${back}`);
  assert.equal((await post(sid, '0:1:2')).text, 'ok');
  assert.equal((await get(sid)).text, '1:3');
});

test('wire: binary in both framings', async () => {
  for (const b64 of [false, true]) {
    const { sid } = await handshake(b64 ? `${POLL}&b64=1` : POLL);
    await messages(sid, 2);
    const packets = [{ type: 'message', data: '51-["message","漢😀",{"_placeholder":true,"num":0}]' }, { type: 'message', data: Buffer.from([0, 4, 255]) }];
    const body = await new Promise((resolve) => parser.encodePayload(packets, !b64, resolve));
    assert.equal(typeof body === 'string', b64);
    assert.equal((await post(sid, body, b64 ? {} : OCTETS)).text, 'ok');
    const seen = [];
    assert.deepEqual(await messages(sid, 2, seen), ['51-["message-back","漢😀",{"_placeholder":true,"num":0}]', Buffer.from([0, 4, 255])]);
    assert.equal(seen.at(-1).headers['content-type'], b64 ? 'text/plain; charset=UTF-8' : 'application/octet-stream');
  }
});

test('wire: WebSocket frames of bytes begin with their type', async () => {
  const ws = await Ws.open(shared.broker.port, '/socket.io/?EIO=3&transport=websocket');
  assert.match(await ws.nextText(), /^0\{/);
  assert.equal(await ws.nextText(), '40');
  assert.equal(await ws.nextText(), '42["auth",{}]');
  ws.send(text('451-["message",{"_placeholder":true,"num":0}]'), binary([4, 7, 8]));
  assert.equal(await ws.nextText(), '451-["message-back",{"_placeholder":true,"num":0}]');
  const bytes = await ws.next();
  assert.deepEqual([bytes.opcode, [...bytes.payload]], [OP.BINARY, [4, 7, 8]]);
  ws.send(text('2'));
  assert.equal(await ws.nextText(), '3');
  ws.destroy();
});

test('wire: probe and upgrade, with what was queued', async () => {
  const { sid } = await handshake();
  await messages(sid, 2);
  const ws = await Ws.open(shared.broker.port, `/socket.io/?EIO=3&transport=websocket&sid=${sid}`);
  ws.send(text('2probe'));
  assert.equal(await ws.nextText(), '3probe');
  assert.equal((await get(sid)).text, '1:6');
  await post(sid, '20:42["message","over"]');
  ws.send(text('5'));
  assert.equal(await ws.nextText(), '42["message-back","over"]');
  ws.destroy();
});

test('wire: one session, one revision', async () => {
  const { sid } = await handshake();
  const mixed = await call(`EIO=4&transport=polling&sid=${sid}`);
  assert.deepEqual([mixed.status, mixed.json()], [400, { code: 3, message: 'Bad request' }]);
});

const length = (n) => Buffer.from([...String(n)].map(Number));
const octets = (kind, n, ...bytes) => Buffer.concat([Buffer.from([kind]), length(n), Buffer.from([255, ...bytes])]);
const malformed = {
  nothing: '', 'no length': ':2', 'no colon': '12', 'a length that is too long': '9:42["x"]', 'a negative one': '-1:2', 'one with a sign': '+1:2',
  'a fraction': '1.0:2', 'one of very many digits': `${'9'.repeat(400)}:2`, 'one past 64 bits': '18446744073709551617:2', 'an exponent': '1e0:2',
  'a cut pair of surrogates': '3:4"😀', 'a type that is none': '1:7', 'no packet but words': 'hello', 'what is left over': '1:2x',
  'binary that is no message': '3:b2A', 'base64 that is none': '4:b4!!', 'invalid UTF-8': Buffer.from([0x32, 0x3a, 0x34, 0xff]),
};
const malformedBytes = {
  'a kind that is none': octets(2, 1, 0x32), 'no digits': Buffer.from([0, 255, 0x32]), 'no end of the digits': Buffer.from([0, 1]),
  'a digit that is none': Buffer.from([0, 10, 255, 0x32]), 'very many digits': Buffer.concat([Buffer.from([0]), Buffer.alloc(400, 9), Buffer.from([255, 0x32])]),
  'a length that is too long': octets(0, 9, 0x32), 'an empty packet': octets(0, 0), 'a binary type that is none': octets(1, 2, 9, 1), 'invalid UTF-8': octets(0, 2, 0x34, 0xff),
};
async function refusals() {
  const { text: metrics } = await request(shared.broker.port, '/metrics');
  return Number(/^rtbroker_refusals_total\{[^}]*reason="protocol"[^}]*\} (\d+)/m.exec(metrics)[1]);
}

test('wire: malformed payloads are refused, end the session, and are counted', ours, async () => {
  const list = [...Object.entries(malformed).map((row) => [...row, {}]), ...Object.entries(malformedBytes).map((row) => [...row, OCTETS])];
  const first = await refusals();
  for (const [name, body, headers] of list) {
    const { sid } = await handshake();
    assert.equal((await post(sid, body, headers)).status, 400, name);
    assert.deepEqual((await get(sid)).json(), { code: 1, message: 'Session ID unknown' }, name);
  }
  assert.equal(await refusals(), first + list.length);
});

test('wire: a pong of a client breaks the protocol', async () => {
  const ws = await Ws.open(shared.broker.port, '/socket.io/?EIO=3&transport=websocket');
  ws.send(text('3'));
  assert.equal((await ws.nextClose()).code, 1005);
  ws.destroy();
});

test('heartbeat: who pings stays, who does not is closed', async (t) => {
  const broker = await startBroker(t, {
    ...OPTIONS, set: { ...OPTIONS.set, 'protocols.socketio.ping_interval': '300ms', 'protocols.socketio.ping_timeout': '200ms' },
  });
  const alive = await connected(client(t, broker.url, { transports: ['polling'] }));
  let pongs = 0;
  alive.on('pong', () => pongs++);
  const ws = await Ws.open(broker.port, '/socket.io/?EIO=3&transport=websocket');
  const start = performance.now();
  let f;
  do f = await ws.next();
  while (f && f.opcode === OP.TEXT && f.payload.toString() !== '2');
  assert.equal(f?.opcode, OP.CLOSE, 'the server does not ping');
  assert.equal(closeOf(f).code, 1005);
  ws.destroy();
  assert.ok(performance.now() - start >= 490, `after ${performance.now() - start} ms`);
  await until('two pongs', () => pongs >= 2);
  assert.equal(alive.connected, true);
});

test('off: refused with the error that they know, and the log says what would let them in', ours, async (t) => {
  const broker = await startBroker(t, { config: configPath('socketio.yaml') });
  const response = await request(broker.port, `/socket.io/?${POLL}`);
  assert.deepEqual([response.status, response.json()], [400, { code: 5, message: 'Unsupported protocol version' }]);
  await until('a line of the log', () => broker.log.some((line) => line.includes('protocols.socketio.allow_eio3')));
});

test('metrics: sessions of old clients are counted', ours, async (t) => {
  const count = async () => Number(/^rtbroker_sessions_opened_eio3_total\{[^}]*\} (\d+)/m.exec((await request(shared.broker.port, '/metrics')).text)[1]);
  const before_ = await count();
  await connectNew(t, url()).then(fence);
  await connected(client(t, url()));
  assert.equal(await count(), before_ + 1);
});
