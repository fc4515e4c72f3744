// Engine.IO 4 as it is on the wire: requests of node:http and frames of our own, so that nothing is repaired on the way.
// `RTBROKER=test/integration/reference.mjs` runs it against the reference server; tests marked `ours` are left out then.
import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import http from 'node:http';
import path from 'node:path';
import { after, before } from 'node:test';

import { HERE, configPath, ours, shareBroker, test, until, within } from './harness.mjs';
import { OP, Tcp, Ws, binary, close, closeOf, describe, exchange, frame, parseResponse, readResponse, request, text, upgradeRequest } from './wire.mjs';

const CLIENT_DIR = path.join(HERE, 'node_modules', 'socket.io', 'client-dist');
const shared = shareBroker({ before, after }, { config: configPath('engineio.yaml'), env: { CLIENT_DIR } });
const SID = /^([\w-]+\.)?[\w-]{20}$/;
const POLL = 'EIO=4&transport=polling';
// What the clock of a test may be late by, on a machine that is busy.
const SLACK = 200;

const call = (target, options) => request(shared.broker.port, target, options);
const get = (at, sid, options) => call(`${at}?${POLL}&sid=${sid}`, options);
const post = (at, sid, body, headers = {}) => call(`${at}?${POLL}&sid=${sid}`, { method: 'POST', body, headers });

async function handshake(at = '/engine.io/', options = {}) {
  const response = await call(`${at}?${POLL}`, options);
  assert.equal(response.status, 200, response.text);
  assert.equal(response.text[0], '0');
  return { ...JSON.parse(response.text.slice(1)), response };
}

const openWs = (at, sid, options) => Ws.open(shared.broker.port, `${at}?EIO=4&transport=websocket${sid ? `&sid=${sid}` : ''}`, options);

// A session over WebSocket, its open packet read.
async function session(at = '/engine.io/') {
  const ws = await openWs(at);
  const open = await ws.nextText();
  assert.equal(open[0], '0');
  return Object.assign(ws, { open: JSON.parse(open.slice(1)) });
}

function assertError(response, status, code, message) {
  assert.equal(response.status, status, response.text);
  assert.match(response.headers['content-type'], /^application\/json/);
  assert.deepEqual(response.json(), { code, message });
}
const assertGone = async (at, sid) => assertError(await get(at, sid), 400, 1, 'Session ID unknown');

// Everything that a polling session gives until there are `n` packets.
async function collect(at, sid, n) {
  const packets = [];
  while (packets.length < n) packets.push(...(await get(at, sid)).text.split('\x1e'));
  return packets;
}

// ---- handshake ----

test('handshake: the open packet over polling', async () => {
  const { response, ...open } = await handshake();
  assert.deepEqual(Object.keys(open), ['sid', 'upgrades', 'pingInterval', 'pingTimeout', 'maxPayload']);
  assert.match(open.sid, SID);
  assert.deepEqual({ ...open, sid: '' }, { sid: '', upgrades: ['websocket'], pingInterval: 25000, pingTimeout: 20000, maxPayload: 1000000 });
  assert.match(response.headers['content-type'], /^text\/plain; charset=UTF-8$/i);
  assert.equal(response.headers['cache-control'], 'no-store');
  assert.equal(Number(response.headers['content-length']), response.bytes.length);
});

test('handshake: the open packet over WebSocket', async () => {
  const ws = await session();
  assert.deepEqual(Object.keys(ws.open), ['sid', 'upgrades', 'pingInterval', 'pingTimeout', 'maxPayload']);
  assert.deepEqual(ws.open.upgrades, []);
  ws.destroy();
});

test('handshake: ids differ and are not to be guessed', async () => {
  const sids = new Set();
  for (let i = 0; i < 50; i++) sids.add((await handshake()).sid);
  assert.equal(sids.size, 50);
});

test('handshake: settings of the endpoint', async () => {
  const { sid: _sid, response: _response, ...rest } = await handshake('/fast/');
  assert.deepEqual(rest, { upgrades: ['websocket'], pingInterval: 300, pingTimeout: 200, maxPayload: 1000000 });
  assert.equal((await handshake('/small/')).maxPayload, 1000);
  assert.deepEqual((await handshake('/no-upgrades/')).upgrades, []);
});

test('handshake: an endpoint without WebSocket offers no upgrade', ours, async () => {
  assert.deepEqual((await handshake('/polling-only/')).upgrades, []);
});

test('handshake: other parameters, a longer path, and the last of equal names', async () => {
  for (const target of [`/engine.io/?${POLL}&t=abc123&token=x`, `/engine.io/whatever?${POLL}`, '/engine.io/?EIO=3&EIO=4&transport=no&transport=polling']) {
    const response = await call(target);
    assert.equal(response.status, 200, target);
  }
});

test('handshake: the path needs its slash', async () => {
  assert.equal((await call(`/engine.io?${POLL}`)).status, 404);
});

test('handshake: the attributes of the cookie', async () => {
  const { sid, response } = await handshake('/sticky/');
  assert.deepEqual(response.headers['set-cookie'], [`sid=${sid}; Max-Age=60; Path=/x; Secure; SameSite=None`]);
});
test('a path without a slash at its end is served with and without it', async () => {
  for (const at of ['/bare', '/bare/']) {
    const { sid } = await handshake(at);
    await post(at, sid, '4x');
    assert.equal((await get(at, sid)).text, '4x');
    (await openWs(at)).destroy();
  }
});
test('handshake: a cookie for sticky balancing', async () => {
  const { sid, response } = await handshake('/cookie/');
  assert.deepEqual(response.headers['set-cookie'], [`io=${sid}; Path=/; HttpOnly; SameSite=Lax`]);
  const next = get('/cookie/', sid);
  await post('/cookie/', sid, '4x');
  assert.equal((await next).headers['set-cookie'], undefined);
});

// ---- errors ----

const errors = [
  ['no transport', 'GET', 'EIO=4', 400, 0, 'Transport unknown'],
  ['no parameters', 'GET', '', 400, 0, 'Transport unknown'],
  ['another transport', 'GET', 'EIO=4&transport=carrier-pigeon', 400, 0, 'Transport unknown'],
  ['webtransport', 'GET', 'EIO=4&transport=webtransport', 400, 0, 'Transport unknown'],
  ['an unknown session', 'GET', `${POLL}&sid=AAAAAAAAAAAAAAAAAAAA`, 400, 1, 'Session ID unknown'],
  ['a session id that is none', 'GET', `${POLL}&sid=__proto__`, 400, 1, 'Session ID unknown'],
  ['POST to an unknown session', 'POST', `${POLL}&sid=AAAAAAAAAAAAAAAAAAAA`, 400, 1, 'Session ID unknown'],
  ['a handshake by POST', 'POST', POLL, 400, 2, 'Bad handshake method'],
  ['a handshake by PUT', 'PUT', POLL, 400, 2, 'Bad handshake method'],
  ['a handshake by DELETE', 'DELETE', POLL, 400, 2, 'Bad handshake method'],
  ['a preflight where CORS is off', 'OPTIONS', POLL, 400, 2, 'Bad handshake method'],
  ['websocket without an upgrade', 'GET', 'EIO=4&transport=websocket', 400, 3, 'Bad request'],
  ['protocol version 3', 'GET', 'EIO=3&transport=polling', 400, 5, 'Unsupported protocol version'],
  ['no protocol version', 'GET', 'transport=polling', 400, 5, 'Unsupported protocol version'],
  ['a protocol version that is none', 'GET', 'EIO=abc&transport=polling', 400, 5, 'Unsupported protocol version'],
];
for (const [name, method, query, ...expected] of errors) {
  test(`error: ${name}`, async () => assertError(await call(`/engine.io/?${query}`, { method }), ...expected));
}
test('error: a transport that the endpoint does not have', async () => {
  assertError(await call(`/websocket-only/?${POLL}`), 400, 0, 'Transport unknown');
});
test('error: WebSocket where there is polling only', ours, async () => {
  await assert.rejects(openWs('/polling-only/'), (error) => error.response.status === 400 && error.response.text === 'Transport unknown');
});
test('error: a polling session asked for as websocket without an upgrade', async () => {
  const { sid } = await handshake();
  assertError(await call(`/engine.io/?EIO=4&transport=websocket&sid=${sid}`), 400, 3, 'Bad request');
});
test('error: a WebSocket session asked for as polling', async () => {
  const ws = await session();
  assertError(await get('/engine.io/', ws.open.sid), 400, 3, 'Bad request');
  assertError(await post('/engine.io/', ws.open.sid, '4x'), 400, 3, 'Bad request');
  ws.send(text('4still here'));
  assert.equal(await ws.nextText(), '4still here');
  ws.destroy();
});
test('error: other methods with a session', async () => {
  const { sid } = await handshake();
  for (const method of ['PUT', 'DELETE', 'PATCH']) {
    const response = await call(`/engine.io/?${POLL}&sid=${sid}`, { method });
    assert.equal(response.status, 500, method);
    assert.equal(response.text, '');
  }
});
const upgradeErrors = [
  ['an unknown transport', '/engine.io/?EIO=4&transport=abc', 'Transport unknown'],
  ['an unknown session', '/engine.io/?EIO=4&transport=websocket&sid=AAAAAAAAAAAAAAAAAAAA', 'Session ID unknown'],
];
for (const [name, target, message] of upgradeErrors) {
  test(`error: an upgrade to ${name}`, async () => {
    await assert.rejects(Ws.open(shared.broker.port, target), ({ response }) => {
      assert.equal(response.status, 400);
      assert.match(response.headers['content-type'], /^text\/html/);
      assert.equal(response.text, message);
      assert.equal(response.headers.connection, 'close');
      return true;
    });
  });
}
// The reference answers 101 first, and then 400 on the same connection.
test('error: an upgrade with protocol version 3 is refused before the 101', ours, async () => {
  await assert.rejects(Ws.open(shared.broker.port, '/engine.io/?EIO=3&transport=websocket'), /status 400.*Unsupported protocol version/);
});

// ---- polling ----

test('polling: a GET is held until there is something', async () => {
  const { sid } = await handshake();
  const held = get('/engine.io/', sid);
  const sent = await post('/engine.io/', sid, '4hello');
  assert.equal(sent.status, 200);
  assert.equal(sent.text, 'ok');
  assert.match(sent.headers['content-type'], /^text\/html/);
  const answer = await held;
  assert.equal(answer.text, '4hello');
  assert.match(answer.headers['content-type'], /^text\/plain; charset=UTF-8$/i);
  assert.equal(answer.headers['cache-control'], 'no-store');
});

test('polling: what is there is answered at once, in order, all of it', async () => {
  const { sid } = await handshake();
  await post('/engine.io/', sid, '4one\x1e4two\x1ebAQIDBA==');
  await post('/engine.io/', sid, '4é漢😀');
  assert.deepEqual(await collect('/engine.io/', sid, 4), ['4one', '4two', 'bAQIDBA==', '4é漢😀']);
});

test('polling: packets on one keep-alive connection', async () => {
  const agent = new http.Agent({ keepAlive: true, maxSockets: 1 });
  const { sid } = await handshake('/engine.io/', { agent });
  for (let i = 0; i < 20; i++) {
    await call(`/engine.io/?${POLL}&sid=${sid}`, { method: 'POST', body: `4${i}`, agent });
    assert.equal((await get('/engine.io/', sid, { agent })).text, `4${i}`);
  }
  agent.destroy();
});

test('polling: base64 of any client', async () => {
  const { sid } = await handshake();
  const long = Buffer.alloc(100, 0xfb);
  const lines = `${long.toString('base64').replace(/.{76}/g, '$&\n')}\n`;
  for (const encoded of ['b+/8=', 'b-_8', 'b+/8', `b${lines}`]) {
    const held = get('/engine.io/', sid);
    await post('/engine.io/', sid, encoded);
    const expected = encoded.length > 10 ? long : Buffer.from([0xfb, 0xff]);
    assert.equal((await held).text, `b${expected.toString('base64')}`, encoded);
  }
});

test('polling: at most 16 packets in one answer', ours, async () => {
  const { sid } = await handshake();
  const sent = [...Array(50).keys()].map((i) => `4m${i}`);
  await post('/engine.io/', sid, sent.join('\x1e'));
  const got = [];
  while (got.length < 50) {
    const packets = (await get('/engine.io/', sid)).text.split('\x1e');
    assert.ok(packets.length <= 16, `${packets.length} packets`);
    got.push(...packets);
  }
  assert.deepEqual(got, sent);
});

test('polling: many packets in one POST', ours, async () => {
  const { sid } = await handshake();
  const sent = [...Array(2000).keys()].map((i) => `4${i}`);
  assert.equal((await post('/engine.io/', sid, sent.join('\x1e'))).status, 200);
  assert.deepEqual(await collect('/engine.io/', sid, 2000), sent);
});

test('polling: a second GET ends the session', async () => {
  const { sid } = await handshake();
  const first = get('/engine.io/', sid);
  await until('the first GET is held', async () => (await call('/engine.io/?EIO=4')).status === 400);
  const second = await get('/engine.io/', sid);
  assert.equal(second.status, 400);
  const released = await first;
  assert.equal(released.status, 200);
  assert.equal(released.text, '1');
  await assertGone('/engine.io/', sid);
});

test('polling: a second POST ends the session', async () => {
  const { sid } = await handshake();
  const first = await Tcp.open(shared.broker.port);
  first.send(`POST /engine.io/?${POLL}&sid=${sid} HTTP/1.1\r\nHost: x\r\nContent-Length: 10\r\n\r\n4unfi`);
  await until('the second POST is refused', async () => (await post('/engine.io/', sid, '4x')).status === 400);
  await assertGone('/engine.io/', sid);
  first.destroy();
});

test('polling: application/octet-stream is refused and ends the session', async () => {
  const { sid } = await handshake();
  const held = get('/engine.io/', sid);
  const response = await post('/engine.io/', sid, Buffer.from([4, 1, 2]), { 'content-type': 'application/octet-stream' });
  assert.equal(response.status, 400);
  await held.catch(() => {});
  await assertGone('/engine.io/', sid);
});

test('polling: a body beyond max_payload is 413, and the session goes on', async () => {
  const { sid } = await handshake('/small/');
  const { responses } = await exchange(shared.broker.port, `POST /small/?${POLL}&sid=${sid} HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: 1001\r\n\r\n4${'x'.repeat(1000)}`);
  assert.equal(responses[0].status, 413);
  await post('/small/', sid, `4${'y'.repeat(999)}`);
  assert.equal((await get('/small/', sid)).text, `4${'y'.repeat(999)}`);
});

test('polling: a chunked body beyond max_payload is 413', async () => {
  const { sid } = await handshake('/small/');
  const chunk = `${(2000).toString(16)}\r\n4${'x'.repeat(1999)}\r\n0\r\n\r\n`;
  const { responses } = await exchange(shared.broker.port, `POST /small/?${POLL}&sid=${sid} HTTP/1.1\r\nHost: x\r\nConnection: close\r\nTransfer-Encoding: chunked\r\n\r\n${chunk}`);
  assert.equal(responses[0].status, 413);
});

test('polling: a chunked body is taken', async () => {
  const { sid } = await handshake();
  const tcp = await Tcp.open(shared.broker.port);
  tcp.send(`POST /engine.io/?${POLL}&sid=${sid} HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n3\r\n4ab\r\n1\r\nc\r\n0\r\n\r\n`);
  assert.equal((await readResponse(tcp)).text, 'ok');
  assert.equal((await get('/engine.io/', sid)).text, '4abc');
  tcp.destroy();
});

for (const [name, body] of [['a type that does not exist', '7'], ['a letter', 'abc'], ['nothing', ''], ['an empty packet between two', '4a\x1e\x1e4b'], ['a ping', '2'], ['a ping with probe', '2probe']]) {
  test(`polling: a POST of ${name} ends the session`, async () => {
    const { sid } = await handshake();
    // 400, or the connection is dropped.
    const response = await post('/engine.io/', sid, body).catch((error) => error);
    if (!(response instanceof Error)) assert.ok([200, 400].includes(response.status), String(response.status));
    await until('the session is gone', async () => {
      const next = await post('/engine.io/', sid, '4x');
      return next.status === 400 && next.json().code === 1;
    });
  });
}

for (const [name, body] of [['pong', '3'], ['upgrade', '5'], ['noop', '6']]) {
  test(`polling: a ${name} that nobody asked for is ignored`, async () => {
    const { sid } = await handshake();
    assert.equal((await post('/engine.io/', sid, body)).status, 200);
    await post('/engine.io/', sid, '4x');
    assert.equal((await get('/engine.io/', sid)).text, '4x');
  });
}

test('polling: packet 1 closes: the held GET gets 6, the POST ok', async () => {
  for (let i = 0; i < 20; i++) {
    const { sid } = await handshake();
    const [held, sent] = await Promise.all([get('/engine.io/', sid), post('/engine.io/', sid, '1')]);
    assert.equal(sent.status, 200);
    assert.equal(sent.text, 'ok');
    assert.equal(held.status, 200);
    assert.equal(held.text, '6');
    await assertGone('/engine.io/', sid);
  }
});

test('polling: a GET that the client drops ends the session', async () => {
  const { sid } = await handshake();
  const tcp = await Tcp.open(shared.broker.port);
  tcp.send(`GET /engine.io/?${POLL}&sid=${sid} HTTP/1.1\r\nHost: x\r\n\r\n`);
  // The POST is answered after the GET was seen, and its echo would release it: so take the pong, which does not.
  await post('/engine.io/', sid, '3');
  tcp.destroy();
  await until('the session is gone', async () => (await post('/engine.io/', sid, '3')).status === 400);
});

test('polling: a POST that the client drops ends the session', async () => {
  const { sid } = await handshake();
  const tcp = await Tcp.open(shared.broker.port);
  tcp.send(`POST /engine.io/?${POLL}&sid=${sid} HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\n4unfinished`);
  await post('/engine.io/', (await handshake()).sid, '3'); // by now it was seen
  tcp.destroy();
  await until('the session is gone', async () => {
    const response = await get('/engine.io/', sid, { ms: 1000 });
    return response.status === 400 && response.json().code === 1;
  });
});

test('polling: JSONP', async () => {
  const response = await call(`/engine.io/?${POLL}&j=7`);
  assert.equal(response.status, 200);
  const open = JSON.parse(/^___eio\[7\]\((.*)\);$/.exec(response.text)[1]);
  assert.equal(open[0], '0');
  const { sid } = JSON.parse(open.slice(1));
  const body = `d=${encodeURIComponent('4a\\nb')}`;
  assert.equal((await call(`/engine.io/?${POLL}&j=8&sid=${sid}`, { method: 'POST', body, headers: { 'content-type': 'application/x-www-form-urlencoded' } })).status, 200);
  const next = await call(`/engine.io/?${POLL}&j=9&sid=${sid}`);
  assert.match(next.text, /^___eio\[[79]\]\("4a\\nb"\);$/);
});

// ---- WebSocket ----

test('WebSocket: text, and binary as it is', async () => {
  const ws = await session();
  ws.send(text('4hello'), binary(Buffer.from([1, 2, 3])), text('4'), text('bAQID'));
  assert.equal(await ws.nextText(), '4hello');
  for (const payload of ['\x01\x02\x03', null, '\x01\x02\x03']) {
    const f = await ws.next();
    if (payload === null) assert.equal(f.payload.toString(), '4');
    else assert.deepEqual([f.opcode, f.payload.toString('latin1')], [OP.BINARY, payload]);
  }
  ws.destroy();
});

test('WebSocket: b64=1 asks for binary as text', async () => {
  const ws = await Ws.open(shared.broker.port, '/engine.io/?EIO=4&transport=websocket&b64=1');
  await ws.nextText();
  ws.send(text('bAQID'));
  assert.equal(await ws.nextText(), 'bAQID');
  ws.destroy();
});

for (const [name, sent] of [['an empty packet', text('')], ['a type that does not exist', text('7')], ['a letter', text('abc')], ['a ping', text('2')]]) {
  test(`WebSocket: ${name} closes the session`, async () => {
    const ws = await session();
    ws.send(sent);
    const { code } = await ws.nextClose();
    assert.equal(code, 1005);
    ws.send(close());
    await ws.ended();
    await until('the session is gone', async () => (await get('/engine.io/', ws.open.sid)).json().code === 1);
  });
}
// The reference ignores it and waits for the ping timeout.
test('WebSocket: packet 1 closes the session', ours, async () => {
  const ws = await session();
  ws.send(text('1'));
  assert.equal((await ws.nextClose()).code, 1005);
  await until('the session is gone', async () => (await get('/engine.io/', ws.open.sid)).json().code === 1);
  ws.destroy();
});
for (const [name, sent] of [['pong', '3'], ['upgrade', '5'], ['noop', '6']]) {
  test(`WebSocket: a ${name} that nobody asked for is ignored`, async () => {
    const ws = await session();
    ws.send(text(sent), text('4x'));
    assert.equal(await ws.nextText(), '4x');
    ws.destroy();
  });
}
test('WebSocket: a message beyond max_payload is 1009, bad UTF-8 1007', async () => {
  for (const [sent, code] of [[text('4'.repeat(1001)), 1009], [frame(OP.BINARY, 'x', { length: 1001 }), 1009], [text(Buffer.from([0x34, 0xff])), 1007]]) {
    const ws = await session('/small/');
    ws.send(sent);
    assert.equal((await ws.nextClose()).code, code);
    ws.destroy();
  }
});
test('WebSocket: a client that closes is answered, and its session is gone', async () => {
  const ws = await session();
  ws.send(close(1000));
  assert.equal((await ws.nextClose()).code, 1000);
  await ws.ended();
  ws.destroy();
  await until('the session is gone', async () => (await get('/engine.io/', ws.open.sid)).json().code === 1);
});
test('WebSocket: a message in the segment of the request is not lost', ours, async () => {
  const ws = await openWs('/engine.io/', null, { early: text('4early') });
  assert.equal((await ws.nextText())[0], '0');
  assert.equal(await ws.nextText(), '4early');
  ws.destroy();
});

// ---- heartbeat ----

test('heartbeat: pings over WebSocket come every interval while they are answered', async () => {
  const ws = await session('/fast/');
  let last = performance.now();
  for (let i = 0; i < 4; i++) {
    assert.equal(await ws.nextText(1000), '2');
    const now = performance.now();
    assert.ok(now - last > 290 && now - last < 300 + SLACK, `a ping after ${Math.round(now - last)} ms`);
    last = now;
    ws.send(text('3'));
  }
  ws.send(text('4alive'));
  assert.equal(await ws.nextText(), '4alive');
  ws.destroy();
});

test('heartbeat: without a pong a WebSocket session ends exactly after interval and timeout', async () => {
  const start = performance.now();
  const ws = await session('/fast/');
  assert.equal(await ws.nextText(1000), '2');
  assert.equal((await ws.nextClose(1000)).code, 1005);
  const elapsed = performance.now() - start;
  assert.ok(elapsed > 490 && elapsed < 500 + SLACK, `after ${Math.round(elapsed)} ms`);
  ws.destroy();
});

test('heartbeat: other packets are no pong', async () => {
  const start = performance.now();
  const ws = await session('/fast/');
  const timer = setInterval(() => ws.send(text('4x')), 40);
  let f;
  do f = await ws.next(1000);
  while (f && f.opcode !== OP.CLOSE);
  clearInterval(timer);
  assert.ok(f, 'no Close frame');
  assert.ok(performance.now() - start < 500 + SLACK);
  ws.destroy();
});

test('heartbeat: over polling, and the session is unknown exactly when its time is over', async () => {
  const start = performance.now();
  const { sid } = await handshake('/fast/');
  assert.equal((await get('/fast/', sid)).text, '2');
  const ping = performance.now() - start;
  assert.ok(ping > 290 && ping < 300 + SLACK, `a ping after ${Math.round(ping)} ms`);
  await post('/fast/', sid, '3');
  assert.equal((await get('/fast/', sid)).text, '2');
  // Not answered now: the deadline is absolute, not that of a coarse timer.
  await until('the session is gone', async () => (await post('/fast/', sid, '6')).status === 400, 2000);
  const elapsed = performance.now() - start;
  assert.ok(elapsed > 790 && elapsed < 800 + 2 * SLACK, `after ${Math.round(elapsed)} ms`);
});

test('heartbeat: a ping is queued while no GET is held, and the time runs', async () => {
  const { sid } = await handshake('/fast/');
  await until('the session is gone', async () => (await post('/fast/', sid, '6')).status === 400, 2000);
  assertError(await get('/fast/', sid), 400, 1, 'Session ID unknown');
});

test('heartbeat: a held GET is answered when the session ends', async () => {
  const { sid } = await handshake('/fast/');
  assert.equal((await get('/fast/', sid)).text, '2');
  const last = await get('/fast/', sid);
  assert.ok(last.status === 400 || /^[16]$/.test(last.text), `${last.status} ${last.text}`);
});

// The reference forgets the deadline with the upgrade, and then never pings again.
test('heartbeat: a pong that is due stays due through the upgrade', ours, async () => {
  const start = performance.now();
  const { sid } = await handshake('/fast/');
  assert.equal((await get('/fast/', sid)).text, '2');
  const ws = await openWs('/fast/', sid);
  ws.send(text('2probe'));
  assert.equal(await ws.nextText(), '3probe');
  ws.send(text('5'));
  assert.equal((await ws.nextClose(1000)).code, 1005);
  const elapsed = performance.now() - start;
  assert.ok(elapsed > 490 && elapsed < 500 + SLACK, `after ${Math.round(elapsed)} ms`);
  ws.destroy();
});

test('heartbeat: goes on after the upgrade', async () => {
  const { sid } = await handshake('/fast/');
  const ws = await openWs('/fast/', sid);
  ws.send(text('2probe'));
  await ws.nextText();
  ws.send(text('5'));
  for (let i = 0; i < 3; i++) {
    assert.equal(await ws.nextText(1000), '2');
    ws.send(text('3'));
  }
  ws.destroy();
});

// ---- upgrade ----

async function probe(at, sid) {
  const ws = await openWs(at, sid);
  ws.send(text('2probe'));
  assert.equal(await ws.nextText(), '3probe');
  return ws;
}

test('upgrade: probe, release of the held GET, switch, and polling is over', async () => {
  const { sid } = await handshake();
  const held = get('/engine.io/', sid);
  const ws = await probe('/engine.io/', sid);
  assert.equal((await held).text, '6');
  ws.send(text('5'), text('4over websocket'));
  assert.equal(await ws.nextText(), '4over websocket');
  assertError(await get('/engine.io/', sid), 400, 3, 'Bad request');
  assertError(await post('/engine.io/', sid, '4x'), 400, 3, 'Bad request');
  ws.destroy();
});

test('upgrade: a GET after the probe is released too, but not in a tight loop', async () => {
  const { sid } = await handshake();
  const ws = await probe('/engine.io/', sid);
  const start = performance.now();
  for (let i = 0; i < 4; i++) assert.equal((await get('/engine.io/', sid)).text, '6');
  assert.ok(performance.now() - start > 150, 'a client would spin');
  ws.send(text('5'));
  ws.send(text('4x'));
  assert.equal(await ws.nextText(), '4x');
  ws.destroy();
});

test('upgrade: what is queued when the switch comes goes over WebSocket, in order', async () => {
  const { sid } = await handshake();
  const ws = await probe('/engine.io/', sid);
  await post('/engine.io/', sid, '4a\x1ebAQI=\x1e4b');
  ws.send(text('5'));
  ws.send(text('4c'));
  const got = [];
  while (got.length < 4) got.push(await ws.next());
  assert.deepEqual(got.map((f) => f.payload.toString('latin1')), ['4a', '\x01\x02', '4b', '4c']);
  assert.deepEqual(got.map((f) => f.opcode), [OP.TEXT, OP.BINARY, OP.TEXT, OP.TEXT]);
  ws.destroy();
});

test('upgrade: polling carries data until the switch', async () => {
  const { sid } = await handshake();
  const ws = await openWs('/engine.io/', sid); // not probed yet
  await post('/engine.io/', sid, '4one');
  assert.equal((await get('/engine.io/', sid)).text, '4one');
  ws.send(text('2probe'));
  assert.equal(await ws.nextText(), '3probe');
  assert.equal((await post('/engine.io/', sid, '6')).status, 200); // what a client in a hurry sends
  ws.send(text('5'), text('4two'));
  assert.equal(await ws.nextText(), '4two');
  ws.destroy();
});

for (const [name, first] of [['a message', text('4x')], ['another ping', text('2other')], ['an upgrade', text('5')], ['binary', binary('x')]]) {
  // The reference takes an upgrade without a probe.
  test(`upgrade: ${name} in place of the probe closes that WebSocket only`, name === 'an upgrade' ? ours : {}, async () => {
    const { sid } = await handshake();
    const ws = await openWs('/engine.io/', sid);
    ws.send(first);
    await ws.nextClose();
    await post('/engine.io/', sid, '4still polling');
    assert.equal((await get('/engine.io/', sid)).text, '4still polling');
    const again = await probe('/engine.io/', sid);
    again.send(text('5'), text('4upgraded'));
    assert.equal(await again.nextText(), '4upgraded');
    again.destroy();
    ws.destroy();
  });
}

test('upgrade: one that is not completed in time is closed, and polling goes on', async () => {
  const start = performance.now();
  const { sid } = await handshake('/fast/');
  const ws = await probe('/fast/', sid);
  await ws.nextClose();
  const elapsed = performance.now() - start;
  assert.ok(elapsed > 240 && elapsed < 250 + 2 * SLACK, `after ${Math.round(elapsed)} ms`);
  await post('/fast/', sid, '4x');
  assert.match((await get('/fast/', sid)).text, /4x/);
  ws.destroy();
});

test('upgrade: a WebSocket that goes away during the probe leaves the polling session', async () => {
  const { sid } = await handshake();
  (await probe('/engine.io/', sid)).tcp.reset();
  await post('/engine.io/', sid, '4x');
  await until('the message', async () => (await get('/engine.io/', sid)).text === '4x');
});

test('upgrade: a second WebSocket is accepted, then closed; the first goes on', async () => {
  const { sid } = await handshake();
  const first = await probe('/engine.io/', sid);
  const second = await openWs('/engine.io/', sid);
  await second.nextClose();
  second.destroy();
  first.send(text('5'), text('4first'));
  assert.equal(await first.nextText(), '4first');
  const third = await openWs('/engine.io/', sid);
  await third.nextClose();
  third.destroy();
  first.send(text('4still'));
  assert.equal(await first.nextText(), '4still');
  first.destroy();
});

test('upgrade: with protocol errors of the request it is refused before the 101', ours, async () => {
  const { sid } = await handshake();
  for (const [headers, status] of [[{ 'Sec-WebSocket-Version': '8' }, 426], [{ 'Sec-WebSocket-Key': 'short' }, 400]]) {
    const tcp = await Tcp.open(shared.broker.port);
    tcp.send(upgradeRequest(`/engine.io/?EIO=4&transport=websocket&sid=${sid}`, headers).text);
    assert.equal((await readResponse(tcp)).status, status);
    tcp.destroy();
  }
  await post('/engine.io/', sid, '4x');
  assert.equal((await get('/engine.io/', sid)).text, '4x');
});

// ---- CORS ----

const corsHeaders = (response) => Object.fromEntries(Object.entries(response.headers).filter(([name]) => /^access-control|^vary$/.test(name)));
const A = 'https://app.example';
const B = 'https://evil.example';
const cors = [
  ['off', '/engine.io/', A, {}],
  ['any origin', '/any/', B, { 'access-control-allow-origin': '*' }],
  ['any origin, none sent', '/any/', undefined, { 'access-control-allow-origin': '*' }],
  ['one origin', '/one/', A, { 'access-control-allow-origin': A, vary: 'Origin' }],
  ['one origin, another sent', '/one/', B, { 'access-control-allow-origin': A, vary: 'Origin' }],
  ['a list', '/list/', A, { 'access-control-allow-origin': A, vary: 'Origin', 'access-control-allow-credentials': 'true' }],
  ['a pattern', '/list/', 'https://x.example.org', { 'access-control-allow-origin': 'https://x.example.org', vary: 'Origin', 'access-control-allow-credentials': 'true' }],
  ['a list, another sent: served without the header', '/list/', B, { vary: 'Origin', 'access-control-allow-credentials': 'true' }],
];
for (const [name, at, origin, expected] of cors) {
  test(`CORS: ${name}`, async () => {
    const headers = origin ? { origin } : {};
    const { sid, response } = await handshake(at, { headers });
    assert.deepEqual(corsHeaders(response), expected);
    assert.deepEqual(corsHeaders(await call(`${at}?${POLL}&sid=${sid}`, { method: 'POST', body: '4x', headers })), expected);
    assert.deepEqual(corsHeaders(await call(`${at}?${POLL}&sid=${sid}`, { headers })), expected);
    assert.deepEqual(corsHeaders(await call(`${at}?EIO=4`, { headers })), expected, 'on errors as well');
  });
}
const METHODS = 'GET,HEAD,PUT,PATCH,POST,DELETE';
const preflights = [
  ['any origin', '/any/', { 'access-control-allow-origin': '*', 'access-control-allow-methods': METHODS, 'access-control-allow-headers': 'x-asked', vary: 'Access-Control-Request-Headers' }],
  ['configured methods', '/methods/', { 'access-control-allow-origin': '*', 'access-control-allow-methods': 'GET,POST', 'access-control-allow-headers': 'x-asked', vary: 'Access-Control-Request-Headers' }],
  ['configured headers', '/headers/', { 'access-control-allow-origin': '*', 'access-control-allow-methods': METHODS, 'access-control-allow-headers': 'x-one,x-two', 'access-control-max-age': '600' }],
];
for (const [name, at, expected] of preflights) {
  test(`CORS: preflight, ${name}`, async () => {
    const response = await call(`${at}?${POLL}`, { method: 'OPTIONS', headers: { origin: A, 'access-control-request-method': 'POST', 'access-control-request-headers': 'x-asked' } });
    assert.equal(response.status, 204);
    assert.deepEqual(corsHeaders(response), expected);
    assert.equal(response.text, '');
  });
}
test('CORS: the files of the client as everything else', async () => {
  for (const [origin, allowed] of [[A, true], [B, false]]) {
    const { status, headers } = await call('/socket.io/socket.io.js', { headers: { origin } });
    assert.equal(status, 200);
    assert.equal(headers['access-control-allow-origin'], allowed ? origin : undefined);
    assert.equal(headers['access-control-allow-credentials'], 'true');
    assert.match(headers.vary, /Origin/);
  }
});
test('CORS: enforce_origin refuses another origin, also the WebSocket', async () => {
  assertError(await call(`/enforced/?${POLL}`, { headers: { origin: B } }), 403, 4, 'Forbidden');
  await assert.rejects(openWs('/enforced/', null, { headers: { Origin: B } }), ({ response }) => response.text === 'Forbidden');
  for (const origin of [A, `http://127.0.0.1:${shared.broker.port}`, undefined]) {
    await handshake('/enforced/', { headers: origin ? { origin } : {} });
    (await openWs('/enforced/', null, { headers: { Host: `127.0.0.1:${shared.broker.port}`, ...(origin ? { Origin: origin } : {}) } })).destroy();
  }
});
test('CORS: the refusal of an upgrade has a status that a client can read', ours, async () => {
  await assert.rejects(openWs('/enforced/', null, { headers: { Origin: B } }), ({ response }) => response.status === 403);
});

// ---- the client's files ----

const files = ['socket.io.js', 'socket.io.min.js', 'socket.io.esm.min.js', 'socket.io.msgpack.min.js', 'socket.io.js.map', 'socket.io.min.js.map', 'socket.io.esm.min.js.map'];
test('files: the browser client', async () => {
  for (const name of files) {
    const response = await call(`/socket.io/${name}`);
    assert.equal(response.status, 200, name);
    assert.ok(response.bytes.equals(readFileSync(path.join(CLIENT_DIR, name))), `${name} is another`);
    assert.match(response.headers['content-type'], name.endsWith('.map') ? /^application\/json/ : /^application\/javascript/);
    assert.equal(response.headers['cache-control'], 'public, max-age=0');
    assert.match(response.headers.etag, /^"[^"]+"$/);
  }
});
test('files: 304 for who has it', async () => {
  const { headers } = await call('/socket.io/socket.io.js');
  const again = await call('/socket.io/socket.io.js', { headers: { 'if-none-match': headers.etag } });
  assert.equal(again.status, 304);
  assert.equal(again.text, '');
  assert.equal((await call('/socket.io/socket.io.js', { headers: { 'if-none-match': '"another"' } })).status, 200);
});
test('files: weak tags, lists of tags, and HEAD', ours, async () => {
  const { headers, bytes } = await call('/socket.io/socket.io.js');
  for (const tag of [`W/${headers.etag}`, `"x", ${headers.etag}`, '*']) assert.equal((await call('/socket.io/socket.io.js', { headers: { 'if-none-match': tag } })).status, 304, tag);
  const head = await call('/socket.io/socket.io.js', { method: 'HEAD' });
  assert.equal(head.status, 200);
  assert.equal(head.text, '');
  assert.equal(Number(head.headers['content-length']), bytes.length);
});
test('files: nothing else of the disk', async () => {
  const targets = [
    '/socket.io/../package.json', '/socket.io/..%2fpackage.json', '/socket.io/%2e%2e/package.json', '/socket.io/%2e%2e%2fpackage.json', '/socket.io/..%5cpackage.json',
    '/socket.io/socket.io.js/../../package.json', '/socket.io/socket.io.js%00.map', '/socket.io//etc/passwd', '/socket.io/%2fetc%2fpasswd', '/socket.io/....//package.json',
    '/socket.io/socket.io.js/', '/socket.io/.', '/socket.io/', '/socket.io/socket.io.js.bak', '/socket.io/SOCKET.IO.JS/../x',
  ];
  for (const target of targets) {
    const { responses } = await exchange(shared.broker.port, `GET ${target} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n`);
    assert.ok([400, 404].includes(responses[0].status), `${target}: ${responses[0].status}`);
    assert.doesNotMatch(responses[0].text, /"dependencies"|root:/);
  }
});
test('files: the endpoint answers requests of Engine.IO all the same', async () => {
  await handshake('/socket.io/');
});

// ---- many at once ----

test('many polling sessions at once do not disturb each other', async () => {
  const opened = await Promise.all([...Array(100).keys()].map(() => handshake()));
  await Promise.all(opened.map(async ({ sid }, i) => {
    const held = get('/engine.io/', sid);
    await post('/engine.io/', sid, `4for ${i}`);
    assert.equal((await held).text, `4for ${i}`);
    await post('/engine.io/', sid, '1');
  }));
});
