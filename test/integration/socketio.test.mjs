// Socket.IO with socket.io-client over every transport, and packets of our own where a client would not send them.
// `RTBROKER=test/integration/reference.mjs` runs it against the reference server; tests marked `ours` are left out then.
import assert from 'node:assert/strict';
import { after, before } from 'node:test';

import { Manager } from 'socket.io-client';

import { REFERENCE, configPath, defer, once, ours, shareBroker, startBroker, test, until } from './harness.mjs';
import { TRANSPORTS, client, connect, connected, events, fence, settled, track } from './socketio.mjs';
import { OP, Tcp, Ws, binary, closeOf, describe, readResponse, request, text } from './wire.mjs';

const CONFIG = configPath('socketio.yaml');
const shared = shareBroker({ before, after }, { config: CONFIG });
const url = (nsp = '') => shared.broker.url + nsp;
const ask = (socket, event, ...args) => socket.timeout(5000).emitWithAck(event, ...args);

// ---- the same over every transport ----

for (const [transport, options] of Object.entries(TRANSPORTS)) {
  const open = async (t, extra) => settled(await connect(t, url(), { ...options, ...extra }));

  test(`${transport}: connects with an id, and the rules see the auth object`, async (t) => {
    const plain = await open(t);
    assert.match(plain.id, /^[\w-]{20}$/);
    assert.notEqual(plain.id, plain.io.engine.id, 'the id of the session is a secret');
    assert.deepEqual(await events(plain, 'auth', 1), [[{}]]);
    const socket = await open(t, { auth: { token: 'abc', deep: { list: [1, null] } } });
    assert.deepEqual(await events(socket, 'auth', 1), [[{ token: 'abc', deep: { list: [1, null] } }]]);
    assert.equal(socket.io.engine.transport.name, transport === 'polling' ? 'polling' : 'websocket');
  });

  test(`${transport}: events with any number of arguments of any kind`, async (t) => {
    const socket = await open(t);
    const args = [1, -0.5, 'é漢😀\u0000\u001e"\\', true, null, [], {}, { a: [{ b: null }] }, 1e21, 123456789012345];
    for (let n = 0; n <= args.length; n++) socket.emit('message', ...args.slice(0, n));
    const got = await events(socket, 'message-back', args.length + 1);
    assert.deepEqual(got, [...args.keys(), args.length].map((n) => args.slice(0, n)));
  });

  test(`${transport}: binary arguments, at any depth`, async (t) => {
    const socket = await open(t);
    const args = [Buffer.from([1, 2, 3]), { deep: [Buffer.alloc(0), { er: Buffer.alloc(1000, 7) }], text: 'x' }, 'between', new Uint8Array([9])];
    socket.emit('message', ...args);
    const [got] = await events(socket, 'message-back', 1);
    assert.deepEqual(got, [args[0], args[1], 'between', Buffer.from([9])]);
  });

  test(`${transport}: acknowledgements with values and with binary`, async (t) => {
    const socket = await open(t);
    const answer = await new Promise((resolve) => socket.emit('message-with-ack', 1, '2', { 3: [false] }, (...values) => resolve(values)));
    assert.deepEqual(answer, [1, '2', { 3: [false] }]);
    const bytes = Buffer.from([1, 0, 255]);
    const both = await new Promise((resolve) => socket.emit('message-with-ack', bytes, [bytes], (...values) => resolve(values)));
    assert.deepEqual(both, [bytes, [bytes]]);
    const constants = await new Promise((resolve) => socket.emit('constants', (...values) => resolve(values)));
    assert.deepEqual(constants, [false, 0, 'text', null, Buffer.from([1, 2, 3]), { list: [1, { two: 2 }] }]);
  });

  test(`${transport}: many events at once are answered in order`, async (t) => {
    const socket = await open(t);
    const answers = [];
    for (let i = 0; i < 500; i++) {
      socket.emit('message', i);
      socket.emit('message-with-ack', i, (n) => answers.push(n));
    }
    const numbers = [...Array(500).keys()];
    await until('all answers', () => answers.length === 500);
    assert.deepEqual(answers, numbers);
    assert.deepEqual(await events(socket, 'message-back', 500), numbers.map((i) => [i]));
  });

  test(`${transport}: several emits for one event, in order`, async (t) => {
    const socket = await open(t);
    await ask(socket, 'twice', 'x');
    await events(socket, 'second', 1);
    assert.deepEqual(socket.got.slice(-2), [['first', 'x'], ['second', 'x']]);
  });

  test(`${transport}: the broker asks, and goes on by the answer`, async (t) => {
    const socket = await open(t);
    const asked = [];
    socket.on('question', (question, answer) => {
      asked.push(question);
      if (question !== 'silence') answer(question === 'good' ? 42 : { no: 1 });
    });
    socket.emit('ask-me', 'good');
    socket.emit('ask-me', 'bad');
    const start = performance.now();
    socket.emit('ask-me', 'silence');
    await events(socket, 'no-answer', 1);
    const elapsed = performance.now() - start;
    assert.ok(elapsed > 290 && elapsed < 600, `after ${Math.round(elapsed)} ms`);
    assert.deepEqual(asked, ['good', 'bad', 'silence']);
    assert.deepEqual(socket.of('right'), [[42]]);
    assert.deepEqual(socket.of('wrong'), [[{ no: 1 }]]);
    assert.deepEqual(socket.of('no-answer'), [['silence']]);
  });

  test(`${transport}: rooms`, async (t) => {
    const [a, b, c] = await Promise.all([open(t), open(t), open(t)]);
    for (const socket of [a, b]) await ask(socket, 'join', `room-${transport}`);
    assert.equal((await ask(c, 'say', `room-${transport}`, { from: 'c' })).ok, true);
    for (const socket of [a, b]) assert.deepEqual(await events(socket, 'said', 1), [[{ from: 'c' }]]);
    assert.equal((await ask(a, 'say-others', `room-${transport}`, 2)).ok, true);
    assert.deepEqual((await events(b, 'said', 2))[1], [2]);
    await ask(b, 'leave', `room-${transport}`);
    await ask(c, 'say', `room-${transport}`, 3);
    assert.deepEqual((await events(a, 'said', 2))[1], [3], 'the sender does not get its own, but what comes later');
    await Promise.all([a, b, c].map(fence));
    assert.deepEqual([a, b, c].map((s) => s.of('said').length), [2, 2, 0]);
  });

  test(`${transport}: who is in several rooms gets it once`, async (t) => {
    const [a, b, c] = await Promise.all([open(t), open(t), open(t)]);
    const rooms = ['x', 'loose-y', 'z'].map((name) => `${name}-${transport}`);
    for (const room of rooms) await ask(a, 'join', room);
    await ask(b, 'join', rooms[2]);
    for (let i = 0; i < 20; i++) c.emit('say', rooms, i);
    await ask(c, 'say', [rooms[0], b.id, rooms[2]], 'id');
    await Promise.all([a, b, c].map(fence));
    const all = [...[...Array(20).keys()].map((i) => [i]), ['id']];
    for (const socket of [a, b]) assert.deepEqual(socket.of('said'), all);
    assert.deepEqual(c.of('said'), []);
  });

  test(`${transport}: rooms that are left out`, async (t) => {
    const [a, b, c, d] = await Promise.all([open(t), open(t), open(t), open(t)]);
    const [x, y, out, loose] = ['x', 'loose-y', 'out', 'word'].map((name) => `${name}-except-${transport}`);
    for (const socket of [a, b, c]) await ask(socket, 'join', x);
    for (const socket of [a, b]) await ask(socket, 'join', y);
    await ask(b, 'join', out);
    await ask(c, 'join', `loose-not-${loose}`);
    const say = (...args) => ask(d, 'say-except', ...args);
    await say([x, y], [], 'nobody', 1); // a, b, c
    await say([x, y], out, 'nobody', 2); // a, c
    await say([x, y], [out, 'empty'], loose, 3); // a
    await say([x, y], [a.id], loose, 4); // b
    await say([x, a.id], [out], loose, 5); // a
    await say(a.id, [y], 'nobody', 6); // nobody
    await say(b.id, [y, a.id], 'nobody', 7); // nobody
    await say(y, y, 'nobody', 8); // nobody
    await say([x], ['no\nroom', 'n'.repeat(3000), ''], 'nobody', 9); // a, b, c
    await ask(b, 'leave', out);
    await say([x, y], out, 'nobody', 10); // a, b, c
    // As they stand when it is sent, whatever comes behind.
    a.emit('join', out);
    a.emit('say-except', [x], out, 'nobody', 11); // b, c
    a.emit('leave', out);
    await ask(a, 'say-except', [x], out, 'nobody', 12); // a, b, c
    await Promise.all([a, b, c, d].map(fence));
    assert.deepEqual([a, b, c, d].map((s) => s.of('said').flat()), [[1, 2, 3, 5, 9, 10, 12], [1, 4, 9, 10, 11, 12], [1, 2, 9, 10, 11, 12], []]);
  });

  test(`${transport}: the room of the own id can be left`, async (t) => {
    const [a, b] = await Promise.all([open(t), open(t)]);
    await ask(a, 'leave', a.id);
    assert.deepEqual(await ask(a, 'rooms'), []);
    await ask(b, 'say', a.id, 1);
    await ask(a, 'join', a.id);
    await ask(b, 'say', a.id, 2);
    assert.deepEqual(await ask(a, 'rooms'), [a.id]);
    assert.deepEqual(await events(a, 'said', 1), [[2]]);
  });

  test(`${transport}: any text is a room`, async (t) => {
    const [a, b] = await Promise.all([open(t), open(t)]);
    const names = ['', '/', '/custom', '#', '/#', `#${transport}`];
    for (const name of names) await ask(a, 'join', name);
    assert.deepEqual(await ask(a, 'rooms'), [a.id, ...names]);
    for (const name of names) await ask(b, 'say', name, name);
    assert.deepEqual(await events(a, 'said', names.length), names.map((name) => [name]));
    for (const name of names) await ask(a, 'leave', name);
    assert.deepEqual(await ask(a, 'rooms'), [a.id]);
    assert.deepEqual(b.of('said'), []);
  });

  test(`${transport}: a transport that is closed is a lost connection: the client comes back`, async (t) => {
    const socket = await open(t, { reconnectionDelay: 10 });
    const gone = once(socket, 'disconnect');
    socket.emit('close');
    assert.equal((await gone)[0], 'transport close');
    await connected(socket);
    await fence(socket);
  });

  test(`${transport}: the list of rooms begins with the own id, leaving all keeps it`, async (t) => {
    const socket = await open(t);
    await ask(socket, 'join', 'r1');
    await ask(socket, 'join', 'r2');
    await ask(socket, 'join', 'r1');
    assert.deepEqual(await ask(socket, 'rooms'), [socket.id, 'r1', 'r2']);
    await ask(socket, 'leave-all');
    assert.deepEqual(await ask(socket, 'rooms'), [socket.id]);
  });

  test(`${transport}: an id is a room`, async (t) => {
    const [a, b] = [await open(t), await open(t)];
    await ask(a, 'say', b.id, 'private');
    assert.deepEqual(await events(b, 'said', 1), [['private']]);
    await fence(a);
    assert.deepEqual(a.of('said'), []);
  });

  test(`${transport}: binary reaches a room of mixed transports`, async (t) => {
    const all = await Promise.all([open(t), connect(t, url(), TRANSPORTS.polling), connect(t, url(), TRANSPORTS.websocket)]);
    for (const socket of all) await ask(socket, 'join', `mixed-${transport}`);
    const payload = { bytes: Buffer.from([0, 1, 254, 255]), more: [Buffer.alloc(3000, 8)] };
    await ask(all[0], 'say', `mixed-${transport}`, payload);
    for (const socket of all) assert.deepEqual(await events(socket, 'said', 1), [[payload]]);
  });

  test(`${transport}: everybody in the namespace, the same order for all`, async (t) => {
    const all = await Promise.all([1, 2, 3].map(() => settledIn('/custom')));
    async function settledIn(nsp) {
      return settled(await connect(t, url(nsp), options));
    }
    await Promise.all(all.flatMap((socket, who) => [...Array(30).keys()].map((i) => ask(socket, 'say-all', `${who}.${i}`))));
    const orders = [];
    for (const socket of all) orders.push((await events(socket, 'said', 90)).map(([what]) => what));
    assert.deepEqual(orders[1], orders[0]);
    assert.deepEqual(orders[2], orders[0]);
    for (const who of [0, 1, 2]) assert.deepEqual(orders[0].filter((w) => w.startsWith(`${who}.`)), [...Array(30).keys()].map((i) => `${who}.${i}`));
  });

  test(`${transport}: leaving and being sent away`, async (t) => {
    const socket = await open(t);
    socket.emit('kick');
    assert.deepEqual((await once(socket, 'disconnect'))[0], 'io server disconnect');
    assert.equal(socket.active, false, 'it would not come back by itself');
    socket.connect(); // over the same connection
    await connected(socket);
    socket.disconnect();
    assert.equal(socket.connected, false);
    socket.connect();
    await connected(socket);
    socket.emit('kick-close');
    assert.deepEqual((await once(socket, 'disconnect'))[0], 'io server disconnect');
  });
}

// ---- namespaces ----

test('namespaces share a connection, each with its own id and rooms', async (t) => {
  const manager = new Manager(url(), TRANSPORTS.websocket);
  const [root, custom, dynamic] = ['/', '/custom', '/dyn-1'].map((nsp) => track(t, manager.socket(nsp)));
  await Promise.all([root, custom, dynamic].map(connected));
  assert.equal(new Set([root.id, custom.id, dynamic.id]).size, 3);
  await ask(root, 'join', 'same-name');
  await ask(custom, 'join', 'same-name');
  await ask(custom, 'say', 'same-name', 'for custom');
  assert.deepEqual(await events(custom, 'said', 1), [['for custom']]);
  await ask(dynamic, 'say-all', 'for dynamic');
  assert.deepEqual(await events(dynamic, 'said', 1), [['for dynamic']]);
  await fence(root);
  assert.deepEqual(root.of('said'), []);
  custom.disconnect();
  await fence(root);
  root.emit('kick');
  await once(root, 'disconnect');
  await fence(dynamic);
});

test('namespaces: rooms that are left out of all of them', async (t) => {
  const [a, b, c, d] = await Promise.all(['', '', '/custom', '/custom'].map((nsp) => connect(t, url(nsp)).then(settled)));
  for (const socket of [b, d]) await ask(socket, 'join', 'ns-out');
  await ask(a, 'all-except', 'ns-out', 'all'); // a
  await ask(a, 'each-except', 'ns-out', 'each'); // a, c
  await ask(c, 'all-except', ['ns-out', c.id], 'custom'); // nobody
  const said = (s) => s.of('said').flat().filter((x) => ['all', 'each', 'custom'].includes(x));
  await Promise.all([a, b, c, d].map(fence));
  assert.deepEqual([a, b, c, d].map(said), [['all', 'each'], [], ['each'], []]);
});

test('namespaces: one that does not exist is refused, the connection stays', async (t) => {
  const manager = new Manager(url(), TRANSPORTS.websocket);
  const [good, bad] = [track(t, manager.socket('/')), track(t, manager.socket('/unknown'))];
  const [error] = await once(bad, 'connect_error');
  assert.equal(error.message, 'Invalid namespace');
  await connected(good);
  await fence(good);
  assert.equal(bad.connected, false);
});

test('namespaces: a rule refuses with message and data, and lets in who knows the word', async (t) => {
  const socket = client(t, url('/secret'), { auth: { token: 'guess' } });
  const [error] = await once(socket, 'connect_error');
  assert.equal(error.message, 'not authorized');
  assert.deepEqual(error.data, { code: 4401, token: 'guess' });
  assert.equal(socket.active, false);
  socket.auth = { token: 'open sesame' };
  socket.connect();
  await connected(socket);
  assert.deepEqual(await events(socket, 'auth', 1), [[{ token: 'open sesame' }]]);
});

// ---- acknowledgements of the table ----

test('ack: an event without publish is answered with nothing, at once', async (t) => {
  const socket = await connect(t, url());
  const answer = await new Promise((resolve) => socket.emit('join', 'x', (...args) => resolve(args)));
  assert.deepEqual(answer, []);
});

test('ack: a logged publish is answered with its position, which rises by one', ours, async (t) => {
  const socket = await connect(t, url());
  const answers = [];
  for (let i = 0; i < 20; i++) answers.push(await ask(socket, 'say', 'room-positions', i));
  for (const [i, answer] of answers.entries()) {
    assert.deepEqual(Object.keys(answer), ['ok', 'epoch', 'offset']);
    assert.equal(answer.epoch, answers[0].epoch);
    assert.equal(answer.offset, answers[0].offset + i);
  }
});

test('ack: a channel without log has no position', ours, async (t) => {
  const socket = await connect(t, url());
  assert.deepEqual(await ask(socket, 'say', 'loose-1', 1), { ok: true });
});

test('ack: what is refused says why', ours, async (t) => {
  const socket = await connect(t, url());
  const answer = await ask(socket, 'say', 'room-1', 'x'.repeat(256 * 1024 + 1));
  assert.equal(answer.ok, false);
  assert.equal(answer.error, 'refused');
  assert.match(answer.message, /limits\.message/);
  assert.equal((await ask(socket, 'say', 'r'.repeat(300), 1)).error, 'refused');
  assert.match((await ask(socket, 'say')).message, /room is missing/);
});

test('ack: none, and dropped events, are not answered', async (t) => {
  const socket = await connect(t, url());
  const answered = [];
  for (const event of ['quiet', 'dropped']) socket.emit(event, () => answered.push(event));
  await fence(socket);
  assert.deepEqual(answered, []);
});

test('ack: a key makes the second publish a repetition', ours, async (t) => {
  const [a, b] = [await connect(t, url()), await connect(t, url())];
  await ask(b, 'join', 'once-1');
  const first = await ask(a, 'say-once', 'once-1', 'k1');
  assert.deepEqual(await ask(a, 'say-once', 'once-1', 'k1'), first);
  await ask(a, 'say-once', 'once-1', 'k2');
  assert.deepEqual(await events(b, 'said', 2), [['k1'], ['k2']]);
});

test('ack: clients with `retries` get on', async (t) => {
  const [a, b] = [await connect(t, url(), { retries: 3, ackTimeout: 2000 }), await connect(t, url())];
  await ask(b, 'join', 'retries-1');
  for (let i = 0; i < 100; i++) a.emit('say', 'retries-1', i);
  assert.deepEqual(await events(b, 'said', 100), [...Array(100).keys()].map((i) => [i]));
  await until('the queue of the client is empty', () => a._queue.length === 0);
});

// ---- conditions, templates ----

test('values: conditions on the kind of an argument', async (t) => {
  const socket = await connect(t, url());
  assert.equal(await ask(socket, 'only-binary', Buffer.from('x')), 'binary');
  assert.equal(await ask(socket, 'only-binary', 'x'), 'other');
});

test('values: globs match whole names', ours, async (t) => {
  const socket = await connect(t, url());
  assert.equal(await ask(socket, 'glob-anything at all'), 'glob-anything at all');
  assert.equal(await ask(socket, 'xlob'), 'xlob');
  await assert.rejects(socket.timeout(100).emitWithAck('xxlob'));
});

test('values: the handshake, as applications know it', async (t) => {
  const socket = await connect(t, url(), { auth: { a: 1 }, query: { name: 'é & =', flag: '' }, extraHeaders: { 'x-Custom': 'yes' } });
  const handshake = await ask(socket, 'handshake');
  const { query } = handshake;
  assert.deepEqual([query.name, query.flag, query.EIO, query.transport], ['é & =', '', '4', 'websocket']);
  assert.equal(handshake.headers['x-custom'], 'yes');
  assert.deepEqual(handshake.auth, { a: 1 });
  assert.match(handshake.address, /127\.0\.0\.1$/);
  assert.equal(handshake.xdomain, false);
  assert.equal(handshake.secure, false);
  assert.match(handshake.url, /^\/socket\.io\/\?.*name=/);
  assert.equal(typeof handshake.issued, 'number');
  assert.ok(Math.abs(Date.now() - handshake.issued) < 60_000);
  assert.ok(!Number.isNaN(Date.parse(handshake.time)));
  assert.deepEqual(Object.keys(handshake).filter((key) => key !== 'query' && key !== 'auth').sort(), ['address', 'headers', 'issued', 'secure', 'time', 'url', 'xdomain']);
});

test('values: the address behind a trusted proxy', ours, async (t) => {
  const behind = async (headers) => {
    const handshake = await ask(await connect(t, url(), { extraHeaders: headers }), 'handshake');
    return [handshake.address, handshake.secure];
  };
  assert.deepEqual(await behind({ 'X-Forwarded-For': '203.0.113.7', 'X-Forwarded-Proto': 'https' }), ['203.0.113.7', true]);
  assert.deepEqual(await behind({ 'X-Forwarded-For': '6.6.6.6, 203.0.113.7, 127.0.0.1' }), ['203.0.113.7', false], 'the last that is no proxy of ours');
  assert.deepEqual(await behind({ 'X-Forwarded-For': '2001:db8::1' }), ['2001:db8::1', false]);
  assert.deepEqual(await behind({ 'X-Forwarded-For': 'nonsense' }), ['127.0.0.1', false]);
  const broker = await startBroker(t, { config: CONFIG, set: { 'http.trusted_proxies': '[]' } });
  const socket = await connect(t, broker.url, { extraHeaders: { 'X-Forwarded-For': '203.0.113.7', 'X-Forwarded-Proto': 'https' } });
  const { address, secure } = await ask(socket, 'handshake');
  assert.deepEqual([address, secure], ['127.0.0.1', false], 'believed from nobody');
});

test('values: variables, texts and functions', ours, async (t) => {
  const socket = await connect(t, url('/custom'), { query: { name: 'first' }, extraHeaders: { 'User-Agent': 'tests/1' } });
  const before_ = Date.now();
  const [ids, from, made] = await new Promise((resolve) => socket.emit('values', 'one', { deep: [2] }, '{"parsed":[1.50]}', (...args) => resolve(args)));
  assert.equal(ids.sid, socket.id);
  assert.equal(ids.namespace, '/custom');
  assert.equal(ids.event, 'values');
  assert.match(ids.uuid, /^[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$/);
  assert.match(ids.now, /^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z$/);
  assert.ok(ids.ms >= before_ - 1000 && ids.ms <= Date.now() + 1000);
  assert.match(ids.address, /127\.0\.0\.1$/);
  assert.ok(ids.user === null || ids.user === '');
  assert.equal(from.query.name, 'first');
  assert.equal(from.name, 'first');
  assert.equal(from.agent, 'tests/1');
  assert.equal(from.text, '<one|2>');
  assert.deepEqual(made, ['{"deep":[2]}', { parsed: [1.5] }, 'fallback', '$literal', '{brace']);
});

test('values: JSON passes as it was written', ours, async (t) => {
  const ws = await packets(t);
  // 18 digits, an exponent, an escape and a duplicate key survive.
  ws.send(text('42["message",123456789012345678,1.50e+3,"\\u00e9\\/",{"a":1,"a":2}]'));
  const f = await ws.nextText();
  assert.match(f, /^42\["message-back",123456789012345678,1\.50e\+3,"\\u00e9\\\/",\{"a":1,"a":2\}/);
  ws.destroy();
});

// ---- volatile ----

test('volatile: arrives where the client can take it', async (t) => {
  for (const options of [TRANSPORTS.websocket, TRANSPORTS.polling]) {
    const socket = await connect(t, url(), options);
    await fence(socket);
    // A polling client has no GET held for a moment after each answer.
    await until('a volatile event', async () => {
      socket.emit('volatile', 1, [2]);
      await fence(socket);
      return socket.of('volatile').length > 0;
    });
    assert.deepEqual(socket.of('volatile')[0], [1, [2]]);
  }
});

test('volatile: is dropped while a polling client holds no GET', async () => {
  const at = `/socket.io/?EIO=4&transport=polling`;
  const call = (target, options) => request(shared.broker.port, target, options);
  const { sid } = JSON.parse((await call(at)).text.slice(1));
  const post = (body) => call(`${at}&sid=${sid}`, { method: 'POST', body });
  const get = async () => (await call(`${at}&sid=${sid}`)).text;
  await post('40');
  assert.match(await get(), /^40\{"sid"/);
  await post('42["volatile",1]\x1e421["message-with-ack","after"]');
  let got = '';
  while (!got.includes('431["after"]')) got += `\n${await get()}`;
  assert.doesNotMatch(got, /volatile/);
  await post('1');
});

// ---- events that no rule matches ----

test('unmatched: ignored by default, also with an acknowledgement', async (t) => {
  const socket = await connect(t, url());
  let answered = false;
  socket.emit('nobody-knows', 1, () => (answered = true));
  await fence(socket);
  assert.equal(answered, false);
  assert.equal(socket.of('nobody-knows').length, 0);
});

test('unmatched: ack', ours, async (t) => {
  const broker = await startBroker(t, { config: CONFIG, set: { 'socketio.unmatched': 'ack' } });
  const socket = await connect(t, broker.url);
  const answer = await new Promise((resolve) => socket.emit('nobody-knows', 1, (...args) => resolve(args)));
  assert.deepEqual(answer, []);
});

test('unmatched: publish goes to the namespace, and is answered with the position', ours, async (t) => {
  const broker = await startBroker(t, { config: CONFIG, set: { 'socketio.unmatched': 'publish' } });
  const [a, b] = [await connect(t, broker.url), await connect(t, broker.url)];
  const other = await connect(t, `${broker.url}/custom`);
  const answer = await ask(a, 'anything', 1, { two: Buffer.from([3]) });
  assert.equal(answer.ok, true);
  assert.equal(answer.offset, 1);
  for (const socket of [a, b]) assert.deepEqual(await events(socket, 'anything', 1), [[1, { two: Buffer.from([3]) }]]);
  await fence(other);
  assert.equal(other.of('anything').length, 0);
});

test('unmatched: disconnect', ours, async (t) => {
  const broker = await startBroker(t, { config: CONFIG, set: { 'socketio.unmatched': 'disconnect' } });
  const socket = await connect(t, broker.url);
  socket.emit('nobody-knows');
  assert.equal((await once(socket, 'disconnect'))[0], 'io server disconnect');
});

// ---- the API and Socket.IO ----

test('a publish of the API is an event', ours, async (t) => {
  const socket = await connect(t, url('/custom'));
  const api = (body) => request(shared.broker.port, '/api/publish', { method: 'POST', headers: { 'x-api-key': 'test-key' }, body: JSON.stringify({ channel: '/custom', ...body }) });
  await api({ event: 'news', data: { headline: 'é' } });
  await api({ event: 'bytes', b64data: 'AAEC' });
  await api({ data: 'no event' });
  await fence(socket);
  assert.deepEqual(socket.of('news'), [[{ headline: 'é' }]]);
  assert.deepEqual(socket.of('bytes'), [[Buffer.from([0, 1, 2])]]);
  assert.deepEqual(socket.of('message'), [['no event']], 'without an event name it is what socket.send() makes');
});

test('Socket.IO and plain WebSocket share channels', ours, async (t) => {
  const socket = await connect(t, url());
  await ask(socket, 'join', 'cross-1');
  const ws = await Ws.open(shared.broker.port, '/ws/cross-1');
  defer(t, () => ws.destroy());
  await ask(socket, 'say', 'cross-1', { a: 'é' });
  assert.equal(await ws.nextText(), '{"a":"é"}', 'the argument alone');
  ws.send(text('plain text'), binary(Buffer.from([1, 2, 255])));
  assert.deepEqual(await events(socket, 'message', 2), [['plain text'], [Buffer.from([1, 2, 255])]]);
  await ask(socket, 'say', 'cross-1', Buffer.from([7]));
  assert.match(await ws.nextText(), /plain text/);
  for (const expected of [[1, 2, 255], [7]]) {
    const f = await ws.next();
    assert.deepEqual([f.opcode, [...f.payload]], [OP.BINARY, expected], 'its own, and the binary argument');
  }
});

test('a publish to a client that is in many rooms comes once for each channel', ours, async (t) => {
  const [a, b] = [await connect(t, url()), await connect(t, url())];
  for (const room of ['m1', 'm2']) await ask(a, 'join', room);
  await ask(b, 'say', 'm1', 1);
  await ask(b, 'say', 'm2', 2);
  assert.deepEqual(await events(a, 'said', 2), [[1], [2]]);
});

// ---- packets ----

// A WebSocket session that is connected to "/", with everything that comes before read.
async function packets(t, { connectPacket = '40', broker = shared.broker } = {}) {
  const ws = await Ws.open(broker.port, '/socket.io/?EIO=4&transport=websocket');
  defer(t, () => ws.destroy());
  assert.equal((await ws.nextText())[0], '0');
  if (connectPacket === null) return ws;
  ws.send(text(connectPacket));
  assert.match(await ws.nextText(), /^40/);
  assert.match(await ws.nextText(), /^42(\/\w+,)?\["auth",/);
  return ws;
}

test('packets: the reply to CONNECT', async (t) => {
  const ws = await packets(t, { connectPacket: null });
  ws.send(text('40{"token":"x"}'));
  const reply = await ws.nextText();
  assert.equal(reply.slice(0, 2), '40');
  assert.deepEqual(Object.keys(JSON.parse(reply.slice(2))), ['sid', 'pid']);
  assert.match(await ws.nextText(), /^42\["auth",\{"token":"x"\},"[^"]+"\]$/, 'with the position that recovery needs');
});

test('packets: without recovery there is no pid and no position', async (t) => {
  const broker = await startBroker(t, { config: CONFIG, set: { 'protocols.socketio.recovery': '0' } });
  const ws = await packets(t, { connectPacket: null, broker });
  ws.send(text('40'));
  assert.deepEqual(Object.keys(JSON.parse((await ws.nextText()).slice(2))), ['sid']);
  assert.equal(await ws.nextText(), '42["auth",{}]');
});

test('packets: acknowledgements are compact and byte-exact, ids are kept as they are', async (t) => {
  const ws = await packets(t);
  for (const [sent, expected] of [
    ['42456["message-with-ack",1,"2",{"3":[false]}]', '43456[1,"2",{"3":[false]}]'],
    ['420["message-with-ack"]', '430[]'],
    ['429007199254740991["message-with-ack",null]', '439007199254740991[null]'],
    ['421["message-with-ack",1,2]', '431[1,2]'],
  ]) {
    ws.send(text(sent));
    assert.equal(await ws.nextText(), expected);
  }
});

test('packets: placeholders with more in them, as the reference takes them', async (t) => {
  const ws = await packets(t);
  const place = '{"_placeholder":true,"num":0}';
  for (const sent of [
    '{"_placeholder":true,"num":0,"x":1}',
    '{"y":{"num":7},"num":0,"_placeholder":true}',
    '{"_placeholder":true,"num":9,"num":0}',
    '{"_placeholder":true,"num":0,"in":{"_placeholder":true,"num":9}}',
  ]) {
    ws.send(text(`451-5["message-with-ack",{"deep":[${sent}]}]`), binary(Buffer.from([1, 2])));
    assert.equal((await ws.nextText()).replaceAll(' ', ''), `461-5[{"deep":[${place}]}]`);
    assert.deepEqual((await ws.next()).payload, Buffer.from([1, 2]));
  }
});

test('packets: a binary acknowledgement', async (t) => {
  const ws = await packets(t);
  ws.send(text('452-789["message-with-ack",{"_placeholder":true,"num":0},{"_placeholder":true,"num":1}]'), binary(Buffer.from([1, 2, 3])), binary(Buffer.from([4, 5, 6])));
  assert.equal(await ws.nextText(), '462-789[{"_placeholder":true,"num":0},{"_placeholder":true,"num":1}]');
  for (const expected of ['\x01\x02\x03', '\x04\x05\x06']) {
    const f = await ws.next();
    assert.deepEqual([f.opcode, f.payload.toString('latin1')], [OP.BINARY, expected]);
  }
});

test('packets: a namespace with and without its comma, and in the query form', async (t) => {
  for (const connectPacket of ['40/custom', '40/custom,', '40/custom,{"a":1}']) {
    const ws = await packets(t, { connectPacket });
    ws.send(text('42/custom,7["message-with-ack",1]'));
    assert.equal(await ws.nextText(), '43/custom,7[1]');
    ws.destroy();
  }
});

test('packets: DISCONNECT is not answered, and the others stay', async (t) => {
  const ws = await packets(t);
  ws.send(text('40/custom,'));
  await ws.nextText();
  await ws.nextText();
  ws.send(text('41/custom,'), text('421["message-with-ack"]'));
  assert.equal(await ws.nextText(), '431[]');
  ws.send(text('41'), text('40/custom,'));
  assert.match(await ws.nextText(), /^40\/custom,/);
  assert.match(await ws.nextText(), /^42\/custom,/);
  ws.send(text('40'));
  assert.match(await ws.nextText(), /^40\{"sid":/, 'connected anew');
});

test('packets: an unknown namespace', async (t) => {
  const ws = await packets(t, { connectPacket: null });
  ws.send(text('40/random'));
  assert.equal(await ws.nextText(), '44/random,{"message":"Invalid namespace"}');
  ws.send(text('40'));
  assert.match(await ws.nextText(), /^40/);
});

const bad = {
  'an unknown type': ['47'],
  'a type that is none': ['4abc'],
  'no type': ['4'],
  'bad JSON': ['42["message"'],
  'JSON with something behind it': ['42["message"]x'],
  'an event that is an object': ['42{}'],
  'an event that is an empty array': ['42[]'],
  'an event whose name is an object': ['42[{}]'],
  'an event whose name is null': ['42[null]'],
  'an id that is none': ['42abc["message"]'],
  'the reserved name connect': ['42["connect"]'],
  'the reserved name connect_error': ['42["connect_error"]'],
  'the reserved name disconnect': ['42["disconnect"]'],
  'the reserved name disconnecting': ['42["disconnecting"]'],
  'the reserved name newListener': ['42["newListener"]'],
  'the reserved name removeListener': ['42["removeListener"]'],
  'an ack that is an object': ['431{}'],
  'a CONNECT to where it is connected': ['40'],
  'a CONNECT with an array': ['40/custom,[]'],
  'a CONNECT with a string': ['40/custom,"x"'],
  'a DISCONNECT with payload': ['41{}'],
  'a CONNECT_ERROR': ['44{"message":"x"}'],
  'a DISCONNECT from where it is not': ['41/custom,'],
  'an event for a namespace that it has not joined': ['42/custom,["message"]'],
  'binary when none is expected': [Buffer.from([1])],
  'text when binary is expected': ['451-["message",{"_placeholder":true,"num":0}]', '42["message"]'],
  'a placeholder out of range': ['451-["message",{"_placeholder":true,"num":1}]', Buffer.from([1])],
  'a placeholder with a negative number': ['451-["message",{"_placeholder":true,"num":-1}]', Buffer.from([1])],
  'a placeholder whose number is text': ['451-["message",{"_placeholder":true,"num":"0"}]', Buffer.from([1])],
  'a placeholder without a number': ['451-["message",{"_placeholder":true,"x":{"num":0}}]', Buffer.from([1])],
  'eleven attachments': ['4511-["message"]'],
  'a binary event without a count': ['45["message"]'],
  'a binary event with a count that is none': ['45x-["message"]'],
};
for (const [name, sent] of Object.entries(bad)) {
  test(`packets: the connection is closed for ${name}`, async (t) => {
    const ws = await packets(t);
    ws.send(...sent.map((s) => (typeof s === 'string' ? text(s) : binary(s))));
    const f = await ws.next();
    assert.equal(f?.opcode, OP.CLOSE, describe(f));
    assert.equal(closeOf(f).code, 1005);
    ws.send(); // the broker does not wait for our Close
  });
}
test('packets: a breach over polling loses nothing that was queued before', async () => {
  const at = '/socket.io/?EIO=4&transport=polling';
  const poll = (sid, options) => request(shared.broker.port, `${at}&sid=${sid}`, options);
  const { sid } = JSON.parse((await request(shared.broker.port, at)).text.slice(1));
  for (const body of ['40', '421["message-with-ack",1]', '4abc']) assert.equal((await poll(sid, { method: 'POST', body })).text, 'ok');
  const got = (await poll(sid)).text.split('\x1e');
  assert.match(got[0], /^40\{"sid":/);
  assert.match(got[1], /^42\["auth",/);
  assert.equal(got[2], '431[1]');
  assert.equal((await poll(sid)).text, '6\x1e1');
  assert.deepEqual((await poll(sid)).json(), { code: 1, message: 'Session ID unknown' });
});
// Both requests are there when the broker looks: what the event brings goes before the noop that lets the client change over.
test('packets: an answer that is ready goes before the noop of an upgrade', { skip: REFERENCE && 'its process is that of the wrapper' }, async () => {
  const at = '/socket.io/?EIO=4&transport=polling';
  const poll = (sid, options) => request(shared.broker.port, `${at}&sid=${sid}`, options);
  for (const [event, expected] of [['42["message",1]', /^42\["message-back",1/], ['42["say-all",1]', /^42\["said",1/]]) {
    const { sid } = JSON.parse((await request(shared.broker.port, at)).text.slice(1));
    await poll(sid, { method: 'POST', body: '40' });
    await poll(sid);
    const [held, tcp] = [await Tcp.open(shared.broker.port), await Tcp.open(shared.broker.port)];
    const sent = (connection, bytes) => new Promise((resolve) => connection.socket.write(bytes, resolve));
    await sent(held, `GET ${at}&sid=${sid} HTTP/1.1\r\nHost: x\r\n\r\n`);
    const ws = await Ws.open(shared.broker.port, `/socket.io/?EIO=4&transport=websocket&sid=${sid}`);
    process.kill(shared.broker.pid, 'SIGSTOP');
    try {
      await sent(tcp, `POST ${at}&sid=${sid} HTTP/1.1\r\nHost: x\r\nContent-Length: ${event.length}\r\n\r\n${event}`);
      await sent(ws.tcp, text('2probe'));
    } finally {
      process.kill(shared.broker.pid, 'SIGCONT');
    }
    assert.match((await readResponse(held)).text, expected);
    assert.equal(await ws.nextText(), '3probe');
    for (const connection of [ws, held, tcp]) connection.destroy();
  }
});
test('packets: the first must be CONNECT', async (t) => {
  for (const sent of ['42["message"]', '41', '431[]']) {
    const ws = await packets(t, { connectPacket: null });
    ws.send(text(sent));
    assert.equal((await ws.nextClose()).code, 1005, sent);
  }
});
const good = {
  'an event without payload': '42',
  'an event that nobody knows': '42["whatever"]',
  'an event named error': '42["error",1]',
  'a number as the name': '42[123]',
  'an ack that nobody waits for': '4399[]',
  'a binary event without attachments': '450-["whatever"]',
};
for (const [name, sent] of Object.entries(good)) {
  // The reference stumbles over the last.
  test(`packets: fine: ${name}`, name === 'a binary event without attachments' ? ours : {}, async (t) => {
    const ws = await packets(t);
    ws.send(text(sent), text('421["message-with-ack"]'));
    assert.equal(await ws.nextText(), '431[]');
  });
}

test('packets: who joins no namespace in time is closed', async (t) => {
  const broker = await startBroker(t, { config: CONFIG, set: { 'protocols.socketio.connect_timeout': '300ms' } });
  const start = performance.now();
  const ws = await packets(t, { connectPacket: null, broker });
  await ws.nextClose();
  const elapsed = performance.now() - start;
  assert.ok(elapsed > 290 && elapsed < 700, `after ${Math.round(elapsed)} ms`);
  const good_ = await packets(t, { broker });
  const other = await packets(t, { connectPacket: null, broker });
  await other.nextClose();
  good_.send(text('421["message-with-ack"]'));
  assert.equal(await good_.nextText(), '431[]');
});

test('packets: a refused CONNECT does not count as joined', async (t) => {
  const broker = await startBroker(t, { config: CONFIG, set: { 'protocols.socketio.connect_timeout': '300ms' } });
  const ws = await packets(t, { connectPacket: null, broker });
  ws.send(text('40/secret,'));
  assert.match(await ws.nextText(), /^44\/secret,/);
  await ws.nextClose();
});
