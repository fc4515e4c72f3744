// Peers that are broken or mean no good: an error where the protocol has one, the connection closed where not, nobody else disturbed,
// memory bounded. After each attack the same broker serves a healthy client.
import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import { spawnSync } from 'node:child_process';
import http from 'node:http';
import { after, before } from 'node:test';

import { call, ok } from './api.mjs';
import { SANITIZED, configPath, defer, shareBroker, startBroker, test as plainTest, until } from './harness.mjs';
import { connect } from './socketio.mjs';
import { OP, Tcp, Ws, binary, closeOf, cont, frame, ping, readResponse, request, text } from './wire.mjs';

const CONFIG = configPath('abuse.yaml');
const shared = shareBroker({ before, after }, { config: CONFIG });
const MIB = 1024 * 1024;

async function healthy(t, broker) {
  const socket = await connect(t, broker.url);
  assert.equal(await socket.timeout(3000).emitWithAck('message-with-ack', 'alive'), 'alive');
  socket.disconnect();
  const ws = await Ws.open(broker.port, '/echo');
  ws.send(text('alive'));
  assert.equal(await ws.nextText(3000), 'alive');
  ws.destroy();
  assert.equal((await request(broker.port, '/healthz')).status, 200);
}

// A test whose attack may not leave more than `grows` kB behind, and after which a healthy client is served.
function test(name, options, fn = options) {
  const { grows = 8 * 1024, ...rest } = typeof options === 'object' ? options : {};
  plainTest(name, rest, async (t) => {
    const { broker } = shared;
    const before_ = broker.memory();
    await fn(t, broker);
    const grown = broker.memory() - before_;
    await healthy(t, broker);
    if (!SANITIZED) assert.ok(grown < grows, `${grown} kB more`);
  });
}

const gone = (ws, ms = 5000) => ws.tcp.until('the connection ends', () => ws.tcp.ended, ms);
const metric = async (broker, name) => Number(new RegExp(`^${name.replace(/[{}"]/g, '\\$&')} (\\S+)$`, 'm').exec((await request(broker.port, '/metrics')).text)?.[1]);
const many = (n, fn) => Promise.all([...Array(n).keys()].map(fn));

// ---- frames ----

test('a flood of pings is closed with 1008', async () => {
  const ws = await Ws.open(shared.broker.port, '/echo');
  ws.send(...[...Array(2000).keys()].map((i) => ping(`${i}`)));
  const { code } = await ws.nextClose();
  assert.equal(code, 1008);
  await gone(ws);
});

test('a flood of pongs is closed as well', async () => {
  const ws = await Ws.open(shared.broker.port, '/echo');
  ws.send(Buffer.concat(Array(2000).fill(frame(OP.PONG, ''))));
  assert.equal((await ws.nextClose()).code, 1008);
});

test('pings at a human rate are not', async () => {
  const ws = await Ws.open(shared.broker.port, '/echo');
  for (let i = 0; i < 60; i++) {
    ws.send(ping(`${i}`));
    assert.equal((await ws.next()).payload.toString(), `${i}`);
  }
  ws.destroy();
});

test('a peer that sends and never reads is closed, its queue is bounded', async (t, broker) => {
  const peers = await many(10, () => Ws.open(broker.port, '/echo'));
  const block = Buffer.concat(Array(16).fill(binary(Buffer.alloc(60_000, 1))));
  for (const ws of peers) ws.tcp.socket.pause();
  const sending = peers.map(async (ws) => {
    for (let i = 0; i < 100 && !ws.tcp.socket.destroyed; i++) {
      const sent = await new Promise((resolve) => ws.tcp.socket.write(block, (error) => resolve(!error)));
      if (!sent) return;
    }
  });
  await Promise.race([Promise.all(sending), until('all are closed', async () => (await metric(broker, 'rtbroker_slow_consumers_total')) >= 10, 20_000)]);
  for (const ws of peers) ws.destroy();
  await until('they are gone', async () => (await metric(broker, 'rtbroker_connections')) <= 2);
});

test('a flood into many that do not read is written in slices: others are answered, its sender waits', { grows: 64 * 1024 }, async (t, broker) => {
  const READERS = 300;
  const behind = 'rtbroker_publishers_put_behind_total';
  const slow = 'rtbroker_slow_consumers_total';
  const [behind_, slow_] = [await metric(broker, behind), await metric(broker, slow)];
  const readers = await many(READERS, () => Ws.open(broker.port, '/raw/loose:flood'));
  for (const ws of readers) ws.tcp.socket.pause();
  const flooder = await Ws.open(broker.port, '/raw/loose:flood');
  const block = Buffer.concat(Array(60).fill(text('x'.repeat(1000))));
  let flooding = true;
  const flood = (async () => {
    while (flooding && !flooder.tcp.socket.destroyed) await new Promise((resolve) => flooder.tcp.socket.write(block, resolve));
  })();
  flooder.tcp.socket.on('data', () => (flooder.tcp.start = flooder.tcp.end)); // reads, keeps nothing
  const quiet = await Ws.open(broker.port, '/echo');
  let answers = 0;
  const closed = until('all of them are closed', async () => (await metric(broker, slow)) - slow_ >= READERS, 60_000).finally(() => (flooding = false));
  while (flooding) {
    quiet.send(text(`${answers}`));
    assert.equal(await quiet.nextText(5000), `${answers}`);
    answers++;
  }
  await closed;
  assert.ok(answers >= 20, `${answers} answers`);
  assert.ok((await metric(broker, behind)) > behind_);
  for (const ws of [flooder, quiet, ...readers]) ws.destroy();
  await flood;
  await until('they are gone', async () => (await metric(broker, 'rtbroker_connections')) <= 2, 10_000);
});

test('fragments of one byte that never end cost their bytes', { grows: 24 * 1024 }, async (t, broker) => {
  const peers = await many(20, () => Ws.open(broker.port, '/echo'));
  const flood = Buffer.concat([binary('x', { fin: false }), ...Array(50_000).fill(cont('y', { fin: false }))]);
  for (const ws of peers) ws.send(flood);
  await healthy(t, broker);
  await until('they are read', () => peers.every((ws) => ws.tcp.socket.writableLength === 0), 10_000);
  for (const ws of peers) ws.destroy();
});

test('empty fragments without end', async (t, broker) => {
  const ws = await Ws.open(broker.port, '/echo');
  ws.send(binary('', { fin: false }), ...Array(100).fill(Buffer.concat(Array(1000).fill(cont('', { fin: false })))));
  await healthy(t, broker);
  await until('they are read', () => ws.tcp.socket.writableLength === 0, 10_000);
  ws.send(cont('done'));
  const f = await ws.next(10_000);
  assert.ok(f.opcode === OP.BINARY || f.opcode === OP.CLOSE);
  ws.destroy();
});

// A byte now and then keeps a message from its end for ever, unless it has a time of its own.
test('a message that does not come to its end is cut off, in frames and with attachments', async (t, broker) => {
  const fragment = await Ws.open(broker.port, '/echo');
  const part = await Ws.open(broker.port, '/echo');
  const parts = await Ws.open(broker.port, '/socket.io/?EIO=4&transport=websocket');
  await parts.nextText();
  parts.send(text('40'));
  await parts.nextText();
  parts.send(text('4510-["echo",' + [...Array(10).keys()].map((num) => `{"_placeholder":true,"num":${num}}`) + ']'));
  const late = 'rtbroker_messages_cut_off_total{reason="late"}';
  const before_ = await metric(broker, late);
  fragment.send(text('x', { fin: false }));
  part.send(frame(OP.BINARY, 'only this', { length: 1000 }));
  const start = performance.now();
  let pings = 0;
  const drops = setInterval(() => {
    if (!fragment.tcp.ended) fragment.send(cont('y', { fin: false }));
    if (!part.tcp.ended) part.tcp.send('z');
    if (!parts.tcp.ended && pings++ % 20 === 0) parts.send(text('3'), binary('b'));
  }, 50);
  defer(t, () => clearInterval(drops));
  assert.equal((await fragment.nextClose()).code, 1008);
  assert.equal((await part.nextClose()).code, 1008);
  assert.equal((await parts.nextClose()).code, 1005);
  assert.ok(performance.now() - start < 8000);
  assert.equal((await metric(broker, late)) - before_, 3);
});

test('unfinished messages of many have one budget: the oldest are cut off', { grows: 40 * 1024 }, async (t, broker) => {
  const peers = await many(60, () => Ws.open(broker.port, '/echo'));
  const memory = 'rtbroker_messages_cut_off_total{reason="memory"}';
  const before_ = await metric(broker, memory);
  for (const ws of peers) ws.send(frame(OP.BINARY, Buffer.alloc(900_000), { length: 1_000_000 }));
  await until('they are cut off', async () => (await metric(broker, memory)) - before_ >= 30, 10_000);
  assert.ok((await metric(broker, 'rtbroker_receive_buffer_bytes')) <= 24 * MIB);
  // Whoever sends a message in one go is served meanwhile.
  const ws = await Ws.open(broker.port, '/echo');
  ws.send(binary(Buffer.alloc(60_000, 1)));
  assert.equal((await ws.next(3000)).payload.length, 60_000);
  for (const peer of [ws, ...peers]) peer.destroy();
  await until('all of it is given back', async () => (await metric(broker, 'rtbroker_receive_buffer_bytes')) < 1000);
});

test('a length that is declared and not sent costs nothing', async (t, broker) => {
  const peers = await many(100, () => Ws.open(broker.port, '/large'));
  const before_ = broker.memory();
  for (const ws of peers) ws.send(frame(OP.BINARY, 'only this', { length: 60 * MIB }));
  await healthy(t, broker);
  const grown = broker.memory() - before_;
  if (!SANITIZED) assert.ok(grown < 8 * 1024, `${grown} kB for 100 declared lengths of 60 MiB`);
  for (const ws of peers) ws.destroy();
});

test('a length beyond the limit is refused with the header, in frames and over fragments', async () => {
  for (const frames of [[frame(OP.BINARY, 'x', { length: MIB + 1 })], [frame(OP.TEXT, 'x', { length: 2 ** 40 })], [binary('x', { fin: false }), frame(OP.CONT, 'x', { length: MIB })]]) {
    const ws = await Ws.open(shared.broker.port, '/echo');
    ws.send(...frames);
    assert.equal((await ws.nextClose()).code, 1009);
    await gone(ws);
  }
});

test('random bytes in place of frames', async (t, broker) => {
  const peers = await many(200, () => Ws.open(broker.port, '/echo'));
  for (const ws of peers) ws.send(randomBytes(2000));
  // Whatever they happen to mean: most break a rule at once, the rest waits for bytes that do not come.
  await until('most are closed', () => peers.filter((ws) => ws.tcp.ended).length > 150, 10_000);
  for (const ws of peers) ws.destroy();
});

// ---- HTTP ----

test('a request that comes drop by drop is 408', async (t, broker) => {
  const start = performance.now();
  const peers = await many(100, async () => {
    const tcp = await Tcp.open(broker.port);
    tcp.send('GET /healthz HTTP/1.1\r\n');
    return tcp;
  });
  const drops = setInterval(() => peers.forEach((tcp) => tcp.closed || tcp.send('X')), 50);
  defer(t, () => clearInterval(drops));
  await healthy(t, broker);
  for (const tcp of peers) {
    const response = await readResponse(tcp, 4000);
    assert.equal(response.status, 408);
    assert.equal(JSON.parse(response.text).code, 'request_timeout');
    await tcp.until('the end', () => tcp.ended);
    tcp.destroy();
  }
  clearInterval(drops);
  const elapsed = performance.now() - start;
  assert.ok(elapsed > 900 && elapsed < 3000, `after ${Math.round(elapsed)} ms`);
});

test('a body that comes drop by drop is 408, its session gone', async (t, broker) => {
  const { sid } = JSON.parse((await request(broker.port, '/engine.io/?EIO=4&transport=polling')).text.slice(1));
  const targets = [`/engine.io/?EIO=4&transport=polling&sid=${sid}`, '/api/info'];
  for (const target of targets) {
    const tcp = await Tcp.open(broker.port);
    tcp.send(`POST ${target} HTTP/1.1\r\nHost: x\r\nX-API-Key: test-key\r\nContent-Length: 100\r\n\r\n`);
    const drops = setInterval(() => tcp.closed || tcp.send('4'), 50);
    const response = await readResponse(tcp, 4000).finally(() => clearInterval(drops));
    assert.equal(response.status, 408, target);
    tcp.destroy();
  }
  await until('the session is gone', async () => (await request(broker.port, targets[0])).status === 400);
});

test('a connection that says nothing is closed without a word', async (t, broker) => {
  const peers = await many(50, () => Tcp.open(broker.port));
  for (const tcp of peers) assert.equal((await tcp.readAll(4000)).length, 0);
});

test('an idle connection is closed', async (t, broker) => {
  const tcp = await Tcp.open(broker.port);
  tcp.send('GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n');
  assert.equal((await readResponse(tcp)).status, 200);
  const start = performance.now();
  await tcp.until('the end', () => tcp.ended, 5000);
  const elapsed = performance.now() - start;
  assert.ok(elapsed > 1900 && elapsed < 4000, `after ${Math.round(elapsed)} ms`);
  tcp.destroy();
});

test('random bytes in place of requests', async (t, broker) => {
  const peers = await many(200, () => Tcp.open(broker.port));
  for (const tcp of peers) tcp.send(randomBytes(1000));
  for (const tcp of peers) await tcp.until('the end', () => tcp.ended, 5000);
});

test('heads without end', async (t, broker) => {
  const peers = await many(50, () => Tcp.open(broker.port));
  const junk = `X-Junk: ${'j'.repeat(1000)}\r\n`.repeat(200);
  for (const tcp of peers) tcp.send(`GET / HTTP/1.1\r\nHost: x\r\n${junk}`);
  for (const tcp of peers) {
    // The answer, or a reset because we were still sending.
    await tcp.until('the end', () => tcp.ended, 5000);
    if (!tcp.error) assert.equal((await readResponse(tcp)).status, 431);
    tcp.destroy();
  }
});

test('chunks of one byte without end', async (t, broker) => {
  const tcp = await Tcp.open(broker.port);
  tcp.send('POST /api/info HTTP/1.1\r\nHost: x\r\nX-API-Key: test-key\r\nTransfer-Encoding: chunked\r\n\r\n');
  tcp.send('1;extension=long\r\nx\r\n'.repeat(200_000));
  await tcp.until('the end', () => tcp.ended, 5000);
  tcp.destroy();
});

test('requests that are never read', async (t, broker) => {
  const peers = await many(10, () => Tcp.open(broker.port));
  const pipeline = 'GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n'.repeat(2000);
  for (const tcp of peers) {
    tcp.socket.pause();
    tcp.send(pipeline);
  }
  await healthy(t, broker);
  for (const tcp of peers) tcp.destroy();
});

// ---- sessions ----

test('unknown sessions', async (t, broker) => {
  const agent = new http.Agent({ keepAlive: true, maxSockets: 10 });
  defer(t, () => agent.destroy());
  await many(2000, async (i) => {
    const response = await request(broker.port, `/socket.io/?EIO=4&transport=polling&sid=${i}`, { agent });
    assert.equal(response.status, 400);
  });
});

// Many requests over one connection, which no limit of connections sees. How many were answered with 200 before another status came.
async function handshakes(broker, n, localAddress) {
  const tcp = await Tcp.open(broker.port, '127.0.0.1', { localAddress });
  for (let done = 0; done < n; done++) {
    if (done % 500 === 0) tcp.send('GET /socket.io/?EIO=4&transport=polling HTTP/1.1\r\nHost: x\r\n\r\n'.repeat(500));
    const { status } = await readResponse(tcp);
    if (status !== 200) return { done, status };
  }
  return { done: n, status: 200 };
}

test('handshakes that nobody follows up', { grows: 12 * 1024 }, async (t, broker) => {
  const rejected = await metric(broker, 'rtbroker_sessions_rejected_total{path="/socket.io/",reason="unconfirmed"}');
  assert.deepEqual(await handshakes(broker, 20_000, '127.0.0.7'), { done: 500, status: 503 }); // half of sessions_per_ip
  // Nobody else notices, and they are gone soon.
  await healthy(t, broker);
  assert.ok((await metric(broker, 'rtbroker_sessions_rejected_total{path="/socket.io/",reason="unconfirmed"}')) > rejected);
  await until('they are gone', async () => (await metric(broker, 'rtbroker_sessions{path="/socket.io/",protocol="socketio"}')) === 0);
  assert.ok((await metric(broker, 'rtbroker_session_closes_total{path="/socket.io/",reason="no request followed"}')) >= 500);
});

test('a polling client that never fetches is closed at the cap of its queue', async (t, broker) => {
  const at = '/engine.io/?EIO=4&transport=polling';
  const { sid } = JSON.parse((await request(broker.port, at)).text.slice(1));
  let status = 200;
  for (let i = 0; i < 40 && status === 200; i++) status = (await request(broker.port, `${at}&sid=${sid}`, { method: 'POST', body: `4${'x'.repeat(60_000)}` })).status;
  assert.equal(status, 400, 'it took everything');
});

test('rooms beyond the limit are refused, the client stays', async (t, broker) => {
  const socket = await connect(t, broker.url);
  for (let i = 0; i < 100; i++) await socket.timeout(3000).emitWithAck('join', `room-${i}`);
  const rooms = await socket.timeout(3000).emitWithAck('rooms');
  assert.ok(rooms.length <= 21 && rooms.length >= 19, `${rooms.length} rooms`);
});

test('questions that are never answered are bounded', { grows: 16 * 1024 }, async (t, broker) => {
  const socket = await connect(t, broker.url);
  socket.on('question', () => {});
  for (let i = 0; i < 50_000; i++) socket.emit('ask-me', i);
  await until('the flood is over', async () => {
    if (!socket.connected) return true;
    return socket.timeout(5000).emitWithAck('message-with-ack', 1).then(() => true, () => false);
  }, 20_000);
});

// Packets that are nearly right. Whatever they do, it is this connection's matter only.
const seeds = [
  '40', '40/x,', '40{"a":1}', '41', '42["message-with-ack"]', '42/x,1["a"]', '421["message-with-ack",{"a":[1,2,{"b":null}]}]', '431["x"]', '451-["echo",{"_placeholder":true,"num":0}]',
  '461-1[{"_placeholder":true,"num":0}]', '44{"message":"x"}', '2', '3', '2probe', '5', '6', '1', 'bAQID', '0{}',
];
function mutate(seed) {
  const bytes = Buffer.from(seed);
  for (let n = 1 + Math.floor(Math.random() * 3); n > 0; n--) {
    const at = Math.floor(Math.random() * (bytes.length || 1));
    const dice = Math.random();
    if (dice < 0.4 && bytes.length > 0) bytes[at] = 32 + Math.floor(Math.random() * 95);
    else if (dice < 0.7) return Buffer.concat([bytes.subarray(0, at), Buffer.from('[{"\\,:1-/'[Math.floor(Math.random() * 9)]), bytes.subarray(at)]);
    else return bytes.subarray(0, at);
  }
  return bytes;
}
test('packets that are nearly right', async (t, broker) => {
  for (let round = 0; round < 10; round++) {
    const peers = await many(40, () => Ws.open(broker.port, '/socket.io/?EIO=4&transport=websocket'));
    for (const ws of peers) {
      ws.send(text('40'));
      for (let i = 0; i < 5; i++) ws.send(text(mutate(seeds[Math.floor(Math.random() * seeds.length)])));
      if (round % 2) ws.send(binary(randomBytes(10)));
    }
    await healthy(t, broker);
    for (const ws of peers) ws.destroy();
  }
});

test('JSON that is deep or has too many parts', async (t, broker) => {
  for (const body of [`42["echo",${'['.repeat(100_000)}${']'.repeat(100_000)}]`, `42["echo",${'{"a":'.repeat(50_000)}1${'}'.repeat(50_000)}]`, `42["echo",[${'1,'.repeat(400_000)}1]]`, `42["echo","${'\\u0041'.repeat(100_000)}"]`]) {
    const ws = await Ws.open(broker.port, '/socket.io/?EIO=4&transport=websocket');
    await ws.nextText();
    ws.send(text('40'));
    await ws.nextText();
    ws.send(text(body));
    ws.send(text('421["message-with-ack"]'));
    // It is echoed, or the connection is closed.
    await ws.next(10_000);
    ws.destroy();
  }
});

test('attachments: those that do not come cost nothing, those that are too large together end the connection', { grows: 24 * 1024 }, async (t, broker) => {
  const announce = text(`4510-["echo",${[...Array(10).keys()].map((num) => `{"_placeholder":true,"num":${num}}`)}]`);
  const open = () => Ws.open(broker.port, '/socket.io/?EIO=4&transport=websocket');
  const waiting = await many(100, open);
  for (const ws of waiting) ws.send(text('40'), announce);
  // max_payload is 1 MB, a packet with its attachments may have twice that.
  const large = await many(5, open);
  const attachment = binary(Buffer.alloc(900_000, 1));
  for (const ws of large) {
    ws.send(text('40'), announce);
    for (let i = 0; i < 9; i++) ws.send(attachment);
  }
  for (const ws of large) assert.equal((await ws.nextClose(10_000)).code, 1005);
  await healthy(t, broker);
  for (const ws of [...waiting, ...large]) ws.destroy();
});

test('coming and going without end', async (t, broker) => {
  for (let round = 0; round < 10; round++) {
    const peers = await many(50, (i) => Ws.open(broker.port, `/raw/loose:${round}-${i}`));
    for (const [i, ws] of peers.entries()) {
      if (i % 3 === 0) ws.tcp.reset();
      else ws.destroy();
    }
  }
  await until('channels nobody is in are forgotten', async () => (await metric(broker, 'rtbroker_subscriptions')) === 0);
});

test('channels without end', { grows: 32 * 1024 }, async (t, broker) => {
  const ws = await Ws.open(broker.port, '/socket.io/?EIO=4&transport=websocket');
  await ws.nextText();
  ws.send(text('40'));
  await ws.nextText();
  const N = 50_000, forgotten = await metric(broker, 'rtbroker_channels_forgotten_total');
  for (let n = 0; n < N; n += 1000) ws.send(Buffer.concat([...Array(1000).keys()].map((i) => text(`42["log-to","log:${n + i}"]`))));
  await until('all are forgotten but the newest', async () => (await metric(broker, 'rtbroker_channels_forgotten_total')) - forgotten > N / 2, 60_000);
  assert.ok((await metric(broker, 'rtbroker_channels')) < 20_000);
  assert.ok((await metric(broker, 'rtbroker_channels_unused_bytes')) + (await metric(broker, 'rtbroker_history_bytes')) <= 8 * MIB);
  ws.destroy();
});

test('a peer that half-closes is closed', async (t, broker) => {
  const ws = await Ws.open(broker.port, '/echo');
  ws.tcp.socket.end();
  await gone(ws);
});

// ---- slow consumers ----

test('peers that do not read are closed at the cap, the others get everything', { grows: 24 * 1024 }, async (t, broker) => {
  const slow = await many(40, () => Ws.open(broker.port, '/raw/loose:fan'));
  for (const ws of slow) ws.tcp.socket.pause();
  const fast = await Ws.open(broker.port, '/raw/loose:fan');
  const closedBefore = await metric(broker, 'rtbroker_slow_consumers_total');
  const agent = new http.Agent({ keepAlive: true, maxSockets: 1 });
  defer(t, () => agent.destroy());
  const N = 300;
  let slowest = 0;
  for (let n = 0; n < N; n++) {
    const start = performance.now();
    await ok(broker, 'publish', { channel: 'loose:fan', data: { n, fill: 'f'.repeat(40_000) } }, { agent });
    assert.equal(JSON.parse(await fast.nextText()).n, n);
    slowest = Math.max(slowest, performance.now() - start);
  }
  await until('the slow ones are closed', async () => (await metric(broker, 'rtbroker_slow_consumers_total')) - closedBefore === slow.length);
  assert.deepEqual((await ok(broker, 'channels', { pattern: 'loose:fan' })).channels, { 'loose:fan': { num_clients: 1 } });
  assert.ok(slowest < 1000, `${Math.round(slowest)} ms for one message`);
  for (const ws of [...slow, fast]) ws.destroy();
});

// ---- caps ----

plainTest('connections beyond the cap get 503, those that are there go on', async (t) => {
  const broker = await startBroker(t, { config: CONFIG, set: { 'limits.connections': '20', 'limits.connect_timeout': '60s' } });
  const ws = await Ws.open(broker.port, '/echo');
  const open = await many(19, () => Tcp.open(broker.port));
  for (let i = 0; i < 30; i++) {
    const tcp = await Tcp.open(broker.port);
    const response = await readResponse(tcp);
    assert.equal(response.status, 503);
    assert.equal(response.headers['retry-after'], '5');
    assert.deepEqual(JSON.parse(response.text), { code: 'connection_limit', message: 'the connection limit is reached' });
    await tcp.until('the end', () => tcp.ended);
    tcp.destroy();
  }
  ws.send(text('still here'));
  assert.equal(await ws.nextText(), 'still here');
  for (const tcp of open) tcp.destroy();
  await until('there is room again', async () => (await request(broker.port, '/healthz')).status === 200);
  ws.destroy();
  await healthy(t, broker);
});

plainTest('connections of one address beyond its cap', async (t) => {
  const broker = await startBroker(t, { config: CONFIG, set: { 'limits.connections_per_ip': '5', 'limits.connect_timeout': '60s' } });
  const open = await many(5, () => Tcp.open(broker.port));
  const tcp = await Tcp.open(broker.port);
  assert.equal((await readResponse(tcp)).status, 503);
  tcp.destroy();
  const other = await Tcp.open(broker.port, '127.0.0.1', { localAddress: '127.0.0.9' });
  other.send('GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n');
  assert.equal((await readResponse(other)).status, 200);
  for (const o of [other, ...open]) o.destroy();
  await until('there is room again', async () => (await request(broker.port, '/healthz')).status === 200);
});

const prlimit = spawnSync('prlimit', ['--version']).status === 0;
plainTest('descriptors: the cap lies below the limit of the process', { skip: !prlimit && 'there is no prlimit' }, async (t) => {
  const broker = await startBroker(t, { config: CONFIG, before: ['prlimit', '--nofile=200:200', '--'], set: { 'limits.connect_timeout': '60s' } });
  const ws = await Ws.open(broker.port, '/echo');
  const open = await many(300, () => Tcp.open(broker.port));
  await until('some are refused', () => open.filter((tcp) => tcp.received.includes('HTTP/1.1 503')).length >= 100);
  assert.ok(open.every((tcp) => !tcp.ended || tcp.received.includes('HTTP/1.1 503')), 'closed without telling');
  ws.send(text('still here'));
  assert.equal(await ws.nextText(), 'still here');
  for (const tcp of open) tcp.destroy();
  await until('there is room again', async () => (await request(broker.port, '/healthz')).status === 200);
  assert.ok((await ok(broker, 'info', {})).nodes.length === 1);
  ws.destroy();
  await healthy(t, broker);
});

plainTest('after all of that nothing is left', async () => {
  const { broker } = shared;
  await until('all connections are gone', async () => (await metric(broker, 'rtbroker_connections')) <= 1, 10_000);
  await until('all sessions are gone', async () => (await metric(broker, 'rtbroker_socketio_sockets')) === 0, 10_000);
  assert.equal((await call(broker, 'info', {})).result.nodes[0].num_subs, 0);
});
