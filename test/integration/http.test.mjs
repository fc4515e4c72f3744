// The HTTP side: API, event streams, health, metrics, and what is refused before any of them sees it.
import assert from 'node:assert/strict';
import http from 'node:http';
import path from 'node:path';
import { after, before } from 'node:test';

import { call, ok, openStream } from './api.mjs';
import { assertMetrics, configPath, defer, noPromtool, shareBroker, startBroker, tempDir, test, until } from './harness.mjs';
import { Tcp, Ws, exchange, readResponse, request } from './wire.mjs';

const CONFIG = configPath('http.yaml');
const shared = shareBroker({ before, after }, { config: CONFIG });
const api = (method, body, options) => call(shared.broker, method, body, options);
const publish = (channel, data, more = {}) => ok(shared.broker, 'publish', { channel, data, ...more });
const history = (channel, more = {}) => ok(shared.broker, 'history', { channel, ...more });
let channels = 0;
const fresh = () => `log:${++channels}`;

function assertError(response, status, code, pattern = /./) {
  assert.equal(response.status, status, response.text);
  const error = response.json();
  assert.equal(error.code, code, response.text);
  assert.match(`${error.message} ${error.hint ?? ''}`, pattern);
  assert.equal(error.request_id, response.headers['x-request-id']);
  assert.deepEqual(Object.keys(error).filter((key) => !['code', 'message', 'hint', 'request_id'].includes(key)), []);
}

// ---- keys ----

test('key: missing or wrong is 401, with what to do', async () => {
  assertError(await api('info', {}, { key: null }), 401, 'unauthorized', /X-API-Key/);
  assertError(await api('info', {}, { key: 'test-ke' }), 401, 'unauthorized');
  assertError(await api('info', {}, { key: 'test-keyy' }), 401, 'unauthorized');
  assertError(await api('info', {}, { key: null, headers: { authorization: 'Bearer test-key' } }), 401, 'unauthorized');
});
test('key: in either header, any of them', async () => {
  assert.equal((await api('info', {}, { key: 'second-key' })).status, 200);
  assert.equal((await api('info', {}, { key: null, headers: { authorization: 'apikey test-key' } })).status, 200);
});
test('key: none configured closes the API, and says which setting opens it', async (t) => {
  const broker = await startBroker(t, { text: 'http: {listen: ["127.0.0.1:0"]}\n' });
  assertError(await call(broker, 'info', {}), 403, 'api_closed', /api\.keys/);
});
test('key: --dev needs none', async (t) => {
  const broker = await startBroker(t, { dev: true });
  assert.equal((await call(broker, 'info', {}, { key: null })).status, 200);
  assert.equal((await ok(broker, 'publish', { channel: 'anything', data: 1 }, { key: null })).offset, 1);
});
test('pages: --dev and the internal pages know a page from elsewhere by its Host and Origin', async (t) => {
  const broker = await startBroker(t, { dev: true });
  const ask = (path, headers, rest = {}) => request(broker.port, path, { headers, ...rest });
  const publish = (headers) => ask('/api/publish', { 'content-type': 'text/plain', ...headers }, { method: 'POST', body: '{"channel":"x","data":1}' });
  const handshake = '/socket.io/?EIO=4&transport=polling';
  const host = `127.0.0.1:${broker.port}`;
  const evil = { origin: 'http://evil.example' };
  const rebound = { host: `evil.example:${broker.port}`, origin: `http://evil.example:${broker.port}` };
  // A page elsewhere that asks, and one whose own name points here.
  assert.equal((await publish(evil)).status, 403);
  assert.equal((await publish({ origin: 'null' })).status, 403);
  for (const path of ['/', '/api/info', '/metrics', '/readyz', handshake]) assert.equal((await ask(path, rebound)).json().code, 'bad_host', path);
  assert.equal((await publish(rebound)).json().code, 'bad_host');
  assert.equal((await ask(handshake, evil)).status, 403);
  assert.equal((await ask('/metrics', evil)).status, 403);
  // A page of this machine, and what is no browser.
  for (const headers of [{}, { origin: `http://${host}`, host }, { origin: 'http://localhost:5173' }]) {
    assert.equal((await publish(headers)).status, 200);
    assert.equal((await ask(handshake, headers)).status, 200);
    assert.equal((await ask('/metrics', headers)).status, 200);
  }
});
test('pages: http.hosts names others', async (t) => {
  const broker = await startBroker(t, { config: CONFIG, set: { 'http.hosts': '["*.internal.example"]' } });
  const status = async (host) => (await request(broker.port, '/metrics', { headers: { host } })).status;
  assert.equal(await status('n1.internal.example:9000'), 200);
  assert.equal(await status('evil.example:9000'), 403);
});
test('key: a wrong one is answered before the body, counted and logged, without the key', async (t) => {
  const broker = await startBroker(t, { config: CONFIG });
  const tcp = await Tcp.open(broker.port);
  tcp.send('POST /api/publish HTTP/1.1\r\nHost: x\r\nX-API-Key: guess-123\r\nContent-Length: 1000\r\n\r\n');
  assert.equal((await readResponse(tcp)).status, 401);
  tcp.destroy();
  assert.equal((await call(broker, 'info', {}, { key: null })).status, 401);
  const { text } = await request(broker.port, '/metrics');
  assert.match(text, /^rtbroker_api_keys_refused_total\{key="unknown"\} 1$/m);
  assert.match(text, /^rtbroker_api_keys_refused_total\{key="missing"\} 1$/m);
  await until('it is in the log', () => broker.log.some((line) => line.includes('without a valid key')));
  assert.ok(!broker.log.some((line) => line.includes('guess-123')));
});
test('key: the API can be switched off', async (t) => {
  const broker = await startBroker(t, { config: CONFIG, set: { 'api.enabled': 'false' } });
  assert.equal((await call(broker, 'info', {})).status, 404);
});

// ---- methods ----

test('methods: POST only, and a list of what there is', async () => {
  const get = await request(shared.broker.port, '/api/publish', { headers: { 'x-api-key': 'test-key' } });
  assert.equal(get.status, 405);
  assert.equal(get.headers.allow, 'POST');
  assert.equal(get.json().code, 'method_not_allowed');
  assertError(await api('teleport', {}), 404, 'unknown_method', /publish.*history.*channels.*info/);
});

test('publish: the result has the position', async () => {
  const channel = fresh();
  const first = await publish(channel, { a: 1 });
  assert.deepEqual(Object.keys(first), ['offset', 'epoch']);
  assert.equal(first.offset, 1);
  assert.deepEqual(await publish(channel, { a: 2 }), { offset: 2, epoch: first.epoch });
  assert.deepEqual(await publish('loose:x', 1), {}, 'none without a log');
});

test('publish: data of every kind comes back as it was', async () => {
  const channel = fresh();
  const values = [null, true, 0, -1.5e300, '', 'é漢😀\u0000\u001e', [], {}, [[[]]], { a: { b: [1, { c: null }] }, '': 1 }, 'x'.repeat(60_000)];
  for (const value of values) await publish(channel, value);
  const { publications } = await history(channel, { limit: -1 });
  assert.deepEqual(publications.map((p) => p.data), values);
});

test('publish: numbers keep their digits, white space goes', async () => {
  const channel = fresh();
  assert.equal((await api('publish', `{"channel":"${channel}","data": { "n" : 123456789012345678901234567890 , "m":1.10 , "e":1E+2 } }`)).status, 200);
  const { text } = await api('history', { channel, limit: -1 });
  assert.match(text, /"data":\{"n":123456789012345678901234567890,"m":1\.10,"e":1E\+2\}/);
});

test('publish: bytes', async () => {
  const channel = fresh();
  await ok(shared.broker, 'publish', { channel, b64data: 'AAEC/w==' });
  const [p] = (await history(channel, { limit: -1 })).publications;
  assert.equal(p.data, 'AAEC/w==');
  assert.deepEqual(p.tags, { encoding: 'base64' });
});

test('publish: event names are tags', async () => {
  const channel = fresh();
  await publish(channel, 1, { event: 'created' });
  const [p] = (await history(channel, { limit: -1 })).publications;
  assert.deepEqual(p.tags, { event: 'created' });
  assert.match(p.id, /^[0-9a-f-]{36}$/);
  assert.ok(Math.abs(p.time - Date.now()) < 60_000);
});

test('publish: an idempotency key', async () => {
  const channel = fresh();
  const first = await publish(channel, 1, { idempotency_key: `k-${channel}` });
  assert.deepEqual(await publish(channel, 2, { idempotency_key: `k-${channel}` }), { ...first, duplicate: true });
  assert.equal((await history(channel)).offset, 1);
});

test('publish: an idempotency key counts for its channel', async () => {
  const channels_ = [fresh(), fresh()];
  for (const channel of channels_) assert.deepEqual((await publish(channel, channel, { idempotency_key: 'same' })).offset, 1);
  for (const channel of channels_) assert.deepEqual((await history(channel, { limit: -1 })).publications.map((p) => p.data), [channel]);
});

const wrong = [
  ['no channel', { data: 1 }, 400, 'bad_request', /channel/],
  ['an empty channel', { channel: '', data: 1 }, 400, 'bad_request', /channel/],
  ['a channel that is a number', { channel: 1, data: 1 }, 400, 'bad_request', /channel/],
  ['a channel with a control character', { channel: 'log:\n', data: 1 }, 400, 'bad_request', /control/],
  ['a channel that is too long', { channel: `log:${'x'.repeat(300)}`, data: 1 }, 413, 'limit_exceeded', /limits\.channel_name/],
  ['a channel without a rule', { channel: 'unknown', data: 1 }, 404, 'unknown_channel', /channels/],
  ['no data', { channel: 'log:x' }, 400, 'bad_request', /data/],
  ['data and b64data', { channel: 'log:x', data: 1, b64data: 'AA==' }, 400, 'bad_request', /b64data/],
  ['b64data that is none', { channel: 'log:x', b64data: '!!!' }, 400, 'bad_request', /base64/],
  ['a field that does not exist', { channel: 'log:x', data: 1, chanel: 2 }, 400, 'bad_request', /chanel/],
  ['a message that is too large', { channel: 'log:x', data: 'x'.repeat(64 * 1024) }, 413, 'limit_exceeded', /limits\.message/],
  ['a key that is too long', { channel: 'log:x', data: 1, idempotency_key: 'k'.repeat(65) }, 413, 'limit_exceeded', /64/],
  ['a key that is a number', { channel: 'log:x', data: 1, idempotency_key: 5 }, 400, 'bad_request', /idempotency_key/],
  ['no object', '[1]', 400, 'bad_request', /object/],
  ['a number', '7', 400, 'bad_request', /object/],
  ['no JSON', '{"channel":"log:x","data":}', 400, 'bad_request', /./],
  ['JSON with something behind it', '{"channel":"log:x","data":1}}', 400, 'bad_request', /./],
  ['two objects', '{"channel":"log:x","data":1}{"channel":"log:x","data":1}', 400, 'bad_request', /./],
  ['a comma too many', '{"channel":"log:x","data":[1,]}', 400, 'bad_request', /./],
  ['the same field twice', '{"channel":"log:x","channel":"log:y","data":1}', 400, 'bad_request', /channel/],
  ['a NUL in the channel', '{"channel":"log:\\u0000x","data":1}', 400, 'bad_request', /./],
  ['half a surrogate pair in the channel', '{"channel":"log:\\ud800","data":1}', 400, 'bad_request', /./],
  ['depth without end', `{"channel":"log:x","data":${'['.repeat(1000)}${']'.repeat(1000)}}`, 413, 'limit_exceeded', /deep/],
];
for (const [name, body, status, code, pattern] of wrong) {
  test(`publish refused: ${name}`, async () => assertError(await api('publish', body), status, code, pattern));
}
test('publish refused: bytes that are no UTF-8', async () => {
  for (const bytes of [[0xff], [0xed, 0xa0, 0x80], [0xc0, 0x80], [0xf5, 0x80, 0x80, 0x80]]) {
    const body = Buffer.concat([Buffer.from('{"channel":"log:x","data":"'), Buffer.from(bytes), Buffer.from('"}')]);
    const response = await request(shared.broker.port, '/api/publish', { method: 'POST', headers: { 'x-api-key': 'test-key' }, body });
    assertError(response, 400, 'bad_request', /UTF-8/);
  }
});
test('publish refused: nothing of it was stored', async () => {
  await publish('log:x', 'fence');
  assert.deepEqual((await history('log:x', { limit: -1 })).publications.map((p) => p.data), ['fence']);
});

test('history: position only, all, a page, backwards', async () => {
  const channel = fresh();
  for (let n = 1; n <= 20; n++) await publish(channel, n);
  const { epoch } = await history(channel);
  const data = async (more) => {
    const result = await history(channel, more);
    assert.equal(result.epoch, epoch);
    assert.equal(result.offset, 20);
    return result.publications.map((p) => p.data);
  };
  const all = [...Array(20).keys()].map((i) => i + 1);
  assert.deepEqual(await data({}), []);
  assert.deepEqual(await data({ limit: 0 }), []);
  assert.deepEqual(await data({ limit: -1 }), all);
  assert.deepEqual(await data({ limit: 3 }), [1, 2, 3]);
  assert.deepEqual(await data({ limit: 3, reverse: true }), [20, 19, 18]);
  assert.deepEqual(await data({ limit: 3, since: { offset: 17, epoch } }), [18, 19, 20]);
  assert.deepEqual(await data({ limit: -1, since: { offset: 17 } }), [18, 19, 20]);
  assert.deepEqual(await data({ limit: -1, since: { offset: 20, epoch } }), []);
  assert.deepEqual(await data({ limit: 2, since: { offset: 5, epoch }, reverse: true }), [4, 3]);
  assert.deepEqual(await data({ limit: -1, since: { offset: 1, epoch }, reverse: true }), []);
  assertError(await api('history', { channel, limit: -1, since: { offset: 5, epoch: 'another' } }), 416, 'unrecoverable_position', /epoch/);
});

test('history: a channel that was never seen has a position, a channel without log has none', async () => {
  const result = await history('log:never');
  assert.deepEqual([result.publications, result.offset], [[], 0]);
  assert.equal((await history('log:never')).epoch, result.epoch);
  assert.equal((await publish('log:never', 1)).epoch, result.epoch);
  assertError(await api('history', { channel: 'loose:x' }), 404, 'unknown_channel', /log/);
  assertError(await api('history', { channel: 'unknown' }), 404, 'unknown_channel', /channels/);
  assertError(await api('history', { channel: 'log:x', since: 5 }), 400, 'bad_request', /since/);
  assertError(await api('history', { channel: 'log:x', limit: 'all' }), 400, 'bad_request', /limit/);
});

test('history: what memory has dropped is a gap, not silence', async () => {
  const channel = fresh();
  for (let n = 1; n <= 60; n++) await publish(channel, n); // history.size is 50
  const result = await history(channel, { limit: -1, since: { offset: 5 } });
  assert.equal(result.gap, true);
  assert.equal((await history(channel, { limit: -1, since: { offset: 10 } })).gap, undefined);
});

test('channels and info count clients', async (t) => {
  const before_ = await ok(shared.broker, 'info', {});
  const open = [];
  for (const channel of ['loose:c1', 'loose:c1', 'loose:c2']) open.push(await Ws.open(shared.broker.port, `/raw/${channel}`));
  defer(t, () => open.forEach((ws) => ws.destroy()));
  assert.deepEqual((await ok(shared.broker, 'channels', { pattern: 'loose:c*' })).channels, { 'loose:c1': { num_clients: 2 }, 'loose:c2': { num_clients: 1 } });
  assert.deepEqual((await ok(shared.broker, 'channels', { pattern: 'nothing' })).channels, {});
  const [node] = (await ok(shared.broker, 'info', {})).nodes;
  assert.deepEqual(Object.keys(node), ['uid', 'name', 'version', 'num_clients', 'num_channels', 'num_subs', 'uptime']);
  assert.equal(node.name, 'tester');
  assert.equal(node.num_subs - before_.nodes[0].num_subs, 3);
});

test('an empty body is an empty object', async () => {
  const response = await request(shared.broker.port, '/api/info', { method: 'POST', headers: { 'x-api-key': 'test-key' } });
  assert.equal(response.status, 200);
});

test('X-Request-Id of a trusted proxy is kept', async () => {
  const response = await api('teleport', {}, { headers: { 'x-request-id': 'abc-123' } });
  assert.equal(response.headers['x-request-id'], 'abc-123');
  assert.equal(response.json().request_id, 'abc-123');
  for (const id of ['has space', 'x'.repeat(65), 'quote"']) assert.notEqual((await api('info', {}, { headers: { 'x-request-id': id } })).headers['x-request-id'], id);
});

test('many calls on one connection, and many at once', async (t) => {
  const channel = fresh();
  const agent = new http.Agent({ keepAlive: true, maxSockets: 1 });
  defer(t, () => agent.destroy());
  for (let n = 1; n <= 200; n++) assert.equal((await ok(shared.broker, 'publish', { channel, data: n }, { agent })).offset, n);
  const results = await Promise.all([...Array(200).keys()].map((n) => publish(channel, n)));
  assert.deepEqual(results.map((r) => r.offset).sort((a, b) => a - b), [...Array(200).keys()].map((n) => n + 201));
});

// ---- streams ----

// Reads a stream of server-sent events: `events` are {id, event, data}.
const stream = (t, query, { headers, broker = shared.broker } = {}) => openStream(t, broker, query, headers);
const streamed = (s, n) => until(`${n} events`, () => s.events.length >= n && s.events);

test('stream: what is published, with its position', async (t) => {
  const channel = fresh();
  await publish(channel, 'before');
  const s = await stream(t, `channel=${channel}`);
  assert.equal(s.status, 200);
  assert.equal(s.headers['content-type'], 'text/event-stream');
  assert.equal(s.headers['cache-control'], 'no-store');
  const { epoch } = await publish(channel, { text: 'a\nb\r\n\u2028', n: 1 }, { event: 'created' });
  const [event] = await streamed(s, 1);
  assert.equal(event.id, `${epoch}:2`);
  assert.deepEqual([event.data.data, event.data.offset, event.data.tags], [{ text: 'a\nb\r\n\u2028', n: 1 }, 2, { event: 'created' }]);
});

test('stream: since, in the query or as Last-Event-ID', async (t) => {
  const channel = fresh();
  for (let n = 1; n <= 10; n++) await publish(channel, n);
  const { epoch } = await history(channel);
  const offsets = (s) => s.events.map((e) => e.data.offset);
  for (const [query, headers, from] of [
    [`&since=0`, {}, 1], [`&since=7`, {}, 8], [`&since=${epoch}:7`, {}, 8], ['', { 'last-event-id': `${epoch}:4` }, 5], [`&since=1`, { 'last-event-id': `${epoch}:9` }, 10],
  ]) {
    const s = await stream(t, `channel=${channel}${query}`, { headers });
    assert.deepEqual(offsets({ events: await streamed(s, 11 - from) }), [...Array(11 - from).keys()].map((i) => i + from), query);
    s.close();
  }
});

test('stream: a position that is gone is announced', async (t) => {
  const channel = fresh();
  for (let n = 1; n <= 60; n++) await publish(channel, n);
  for (const since of ['3', 'another-epoch:3']) {
    const s = await stream(t, `channel=${channel}&since=${since}`);
    assert.equal((await streamed(s, 1))[0].event, 'gap');
    s.close();
  }
});

test('stream: cut again and again while messages flow, nothing is missing and nothing twice', async (t) => {
  const channel = fresh();
  const N = 600;
  let sent = 0;
  const sending = (async () => {
    for (; sent < N; sent++) await publish(channel, sent + 1);
  })();
  const got = [];
  let last = '0';
  while (got.length < N) {
    const s = await stream(t, `channel=${channel}&since=0`, last === '0' ? {} : { headers: { 'last-event-id': last } });
    const wanted = Math.min(N - got.length, 40);
    const events = (await streamed(s, wanted)).slice();
    s.close();
    assert.ok(events.every((e) => e.event === undefined), 'a gap');
    got.push(...events.map((e) => e.data.data));
    last = events.at(-1).id;
  }
  await sending;
  assert.deepEqual(got, [...Array(N).keys()].map((i) => i + 1));
});

test('stream: a long log comes page by page while messages flow, and nothing is missing', async (t) => {
  const broker = await startBroker(t, { config: CONFIG, set: { 'storage.path': path.join(tempDir(t), 'log.db') } });
  const channel = fresh();
  const put = (n) => ok(broker, 'publish', { channel, data: n });
  for (let n = 0; n < 900; n += 30) await Promise.all([...Array(30).keys()].map((k) => put(n + k)));
  const s = await stream(t, `channel=${channel}&since=0`, { broker });
  for (let n = 900; n < 1000; n += 10) await Promise.all([...Array(10).keys()].map((k) => put(n + k)));
  const events = await streamed(s, 1000);
  assert.deepEqual(events.map((e) => Number(e.id.split(':')[1])), [...Array(1000).keys()].map((n) => n + 1));
  assert.equal(new Set(events.map((e) => e.data.data)).size, 1000);
});
test('stream: what is refused', async () => {
  const get = (query, headers = { 'x-api-key': 'test-key' }) => request(shared.broker.port, `/api/stream${query}`, { headers });
  assertError(await get('?channel=log:x', {}), 401, 'unauthorized');
  assertError(await get(''), 400, 'bad_request', /channel/);
  assertError(await get('?channel=unknown'), 404, 'unknown_channel', /channels/);
  assertError(await get('?channel=log:x&since=soon'), 400, 'bad_request', /OFFSET/);
  assertError(await api('stream', {}), 405, 'method_not_allowed');
});

// ---- health and metrics ----

test('health and readiness', async () => {
  const health = await request(shared.broker.port, '/healthz');
  assert.deepEqual([health.status, health.text], [200, 'ok\n']);
  const ready = await request(shared.broker.port, '/readyz');
  assert.equal(ready.status, 200);
  const { since, ...log } = ready.json().backends.log;
  assert.ok(Date.now() - Date.parse(since) < 600_000, since);
  assert.deepEqual(log, { kind: 'memory', required: true, up: true, last_error: '' });
  assert.deepEqual({ ...ready.json(), backends: {} }, { ready: true, serving: true, backends: {} });
  const head = await request(shared.broker.port, '/healthz', { method: 'HEAD' });
  assert.deepEqual([head.status, head.text, head.headers['content-length']], [200, '', '3']);
});

test('metrics: promtool has nothing to say', { skip: noPromtool() }, async () => {
  await publish('log:metrics', 1);
  const metrics = await request(shared.broker.port, '/metrics');
  assert.equal(metrics.status, 200);
  assert.match(metrics.headers['content-type'], /^text\/plain; version=0\.0\.4/);
  assertMetrics(metrics.text);
});

test('metrics: the text format', async () => {
  const { text } = await request(shared.broker.port, '/metrics');
  assert.ok(text.endsWith('\n'));
  const families = new Map();
  const series = new Set();
  let family;
  for (const line of text.trimEnd().split('\n')) {
    const [, kind, name, rest] = /^# (HELP|TYPE) ([a-z_][a-z0-9_]*) (.+)$/.exec(line) ?? [];
    if (kind === 'HELP') {
      assert.ok(!families.has(name), `${name} comes twice`);
      families.set(name, (family = { name }));
    } else if (kind === 'TYPE') {
      assert.equal(family.name, name);
      family.type = rest;
      assert.match(rest, /^(counter|gauge|histogram)$/);
      assert.equal(rest === 'counter', name.endsWith('_total'), name);
    } else {
      const [, sample, labels = '', value] = /^([a-z_][a-z0-9_]*)(\{(?:[a-z_]+="(?:[^"\\\n]|\\.)*",?)+\})? (\S+)$/.exec(line) ?? assert.fail(line);
      assert.ok(sample === family.name || (family.type === 'histogram' && sample.startsWith(family.name)), line);
      assert.ok(Number.isFinite(Number(value)), line);
      assert.ok(!series.has(sample + labels), `${sample}${labels} comes twice`);
      series.add(sample + labels);
      if (family.type !== 'histogram') continue;
      if (sample.endsWith('_bucket')) {
        assert.ok(Number(value) >= (family.last ?? 0) || /le="[^"]*"/.exec(labels)[0] === family.first, 'buckets are cumulative');
        family.first ??= /le="[^"]*"/.exec(labels)[0];
        family.last = Number(value);
        family.infinite = /le="\+Inf"/.test(labels) ? family.last : undefined;
      } else if (sample.endsWith('_count')) {
        assert.equal(Number(value), family.infinite, `${sample} is its last bucket`);
      }
    }
  }
  assert.ok(families.size > 20);
});

test('metrics: prefixes, no channel or user in them, and they move', async () => {
  const read = async () => {
    const { text } = await request(shared.broker.port, '/metrics');
    const values = {};
    for (const line of text.split('\n').filter((l) => l && !l.startsWith('#'))) {
      const at = line.lastIndexOf(' ');
      values[line.slice(0, at)] = Number(line.slice(at + 1));
    }
    return values;
  };
  const first = await read();
  assert.ok(Object.keys(first).every((name) => /^(rtbroker|process)_/.test(name)), Object.keys(first).find((name) => !/^(rtbroker|process)_/.test(name)));
  await publish('log:secret-name', 1);
  const ws = await Ws.open(shared.broker.port, '/raw/loose:secret-name');
  await api('publish', { channel: 'unknown', data: 1 });
  const second = await read();
  ws.destroy();
  assert.ok(Object.keys(second).every((name) => !name.includes('secret-name')));
  const moved = (name) => second[name] - first[name];
  assert.equal(moved('rtbroker_publishes_total{result="ok"}'), 1);
  assert.equal(moved('rtbroker_publishes_total{result="refused"}'), 1);
  assert.equal(moved('rtbroker_api_requests_total{result="ok"}'), 1);
  assert.equal(moved('rtbroker_subscriptions'), 1);
  assert.ok(second.rtbroker_process_resident_memory_bytes > 1e6 || second.process_resident_memory_bytes > 1e6);
});

test('an internal listener takes API, health and metrics over', async (t) => {
  const broker = await startBroker(t, { config: CONFIG, set: { 'http.internal': '127.0.0.2:0' } });
  const [host, port] = broker.addresses[1].split(':');
  const internal = { host, port: Number(port) };
  for (const target of ['/healthz', '/readyz', '/metrics']) {
    assert.equal((await request(broker.port, target)).status, 404, target);
    assert.equal((await request(internal.port, target, { host })).status, 200, target);
  }
  assert.equal((await call(broker, 'info', {})).status, 404);
  assert.equal((await call(internal, 'info', {})).status, 200);
  (await Ws.open(broker.port, '/raw/loose:x')).destroy();
});

test('a path prefix is in front of everything', async (t) => {
  const broker = await startBroker(t, { config: CONFIG, set: { 'http.path_prefix': '/rt' } });
  assert.equal((await request(broker.port, '/rt/healthz')).status, 200);
  assert.equal((await request(broker.port, '/healthz')).status, 404);
  assert.equal((await request(broker.port, '/rtx/healthz')).status, 404);
  assert.equal((await request(broker.port, '/rt/socket.io/?EIO=4&transport=polling')).status, 200);
  (await Ws.open(broker.port, '/rt/raw/loose:x')).destroy();
});

test('UNIX sockets', async (t) => {
  const socketPath = path.join(tempDir(t), 'public.sock');
  const broker = await startBroker(t, { config: CONFIG, listen: ['127.0.0.1:0', `unix:${socketPath}`] });
  assert.equal((await request(0, '/healthz', { socketPath })).status, 200);
  await broker.stop();
  await assert.rejects(request(0, '/healthz', { socketPath }), /ENOENT|ECONNREFUSED/);
});

// ---- malformed requests ----

const H = 'Host: x\r\n';
const post = (headers, body) => `POST /api/info HTTP/1.1\r\n${H}X-API-Key: test-key\r\n${headers}\r\n${body}`;
const manyHeaders = (n) => [...Array(n).keys()].map((i) => `X-${i}: ${i}\r\n`).join('');
const malformed = [
  ['garbage', '\x00\x01\x02\x03garbage\r\n\r\n', 400],
  ['a TLS hello', '\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03', 400],
  ['HTTP/0.9', 'GET /healthz\r\n\r\n', 400],
  ['HTTP/2.0', `GET /healthz HTTP/2.0\r\n${H}\r\n`, 505],
  ['HTTP/1.2', `GET /healthz HTTP/1.2\r\n${H}\r\n`, 505],
  ['HTTP/3', `GET /healthz HTTP/3\r\n${H}\r\n`, 400],
  ['the preface of HTTP/2', 'PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n', [400, 501, 505]],
  ['another protocol', `GET /healthz RTSP/1.0\r\n${H}\r\n`, 400],
  ['a lower case protocol', `GET /healthz http/1.1\r\n${H}\r\n`, 400],
  ['two spaces before the target', `GET  /healthz HTTP/1.1\r\n${H}\r\n`, 400],
  ['two spaces behind the target', `GET /healthz  HTTP/1.1\r\n${H}\r\n`, 400],
  ['a tab in the request line', `GET\t/healthz HTTP/1.1\r\n${H}\r\n`, [400, 501]],
  ['a space before the method', ` GET /healthz HTTP/1.1\r\n${H}\r\n`, 400],
  ['a lower case method', `get /healthz HTTP/1.1\r\n${H}\r\n`, [400, 501]],
  ['an unknown method', `BREW /pot HTTP/1.1\r\n${H}\r\n`, [400, 501]],
  ['CONNECT', 'CONNECT example.com:443 HTTP/1.1\r\nHost: example.com:443\r\n\r\n', 501],
  ['a target without a slash', `GET healthz HTTP/1.1\r\n${H}\r\n`, 400],
  ['a target with a fragment', `GET /healthz#x HTTP/1.1\r\n${H}\r\n`, 400],
  ['a star that is no OPTIONS', `GET * HTTP/1.1\r\n${H}\r\n`, 400],
  ['a NUL in the target', `GET /health\x00z HTTP/1.1\r\n${H}\r\n`, 400],
  ['another scheme', `GET ftp://x/healthz HTTP/1.1\r\n${H}\r\n`, 400],
  ['no Host', 'GET /healthz HTTP/1.1\r\n\r\n', 400],
  ['two Hosts', `GET /healthz HTTP/1.1\r\n${H}${H}\r\n`, 400],
  ['a Host with a slash', 'GET /healthz HTTP/1.1\r\nHost: a/b\r\n\r\n', 400],
  ['a Host with a space', 'GET /healthz HTTP/1.1\r\nHost: a b\r\n\r\n', 400],
  ['a folded header', `GET /healthz HTTP/1.1\r\n${H}X-A: 1\r\n continued\r\n\r\n`, 400],
  ['a header that starts with a space', `GET /healthz HTTP/1.1\r\n X-A: 1\r\n${H}\r\n`, 400],
  ['a space before the colon', `GET /healthz HTTP/1.1\r\n${H}X-A : 1\r\n\r\n`, 400],
  ['an empty header name', `GET /healthz HTTP/1.1\r\n${H}: 1\r\n\r\n`, 400],
  ['a header without a colon', `GET /healthz HTTP/1.1\r\n${H}X-A\r\n\r\n`, 400],
  ['a header name with a space', `GET /healthz HTTP/1.1\r\n${H}X A: 1\r\n\r\n`, 400],
  ['a header name with a bracket', `GET /healthz HTTP/1.1\r\n${H}X(A): 1\r\n\r\n`, 400],
  ['bare line feeds', 'GET /healthz HTTP/1.1\nHost: x\n\n', 400],
  ['one bare line feed', `GET /healthz HTTP/1.1\r\n${H}X-A: 1\n\r\n`, 400],
  ['a bare carriage return', `GET /healthz HTTP/1.1\r\n${H}X-A: 1\rX-B: 2\r\n\r\n`, 400],
  ['a carriage return behind the colon', `GET /healthz HTTP/1.1\r\n${H}X:\rTransfer-Encoding: chunked\r\n\r\n`, 400],
  ['a NUL in a header', `GET /healthz HTTP/1.1\r\n${H}X-A: a\x00b\r\n\r\n`, 400],
  ['a negative length', post('Content-Length: -1\r\n', ''), 400],
  ['a length with a plus', post('Content-Length: +2\r\n', '{}'), 400],
  ['a hexadecimal length', post('Content-Length: 0x2\r\n', '{}'), 400],
  ['an empty length', post('Content-Length:\r\n', ''), 400],
  ['a length with a space inside', post('Content-Length: 1 0\r\n', '{}'), 400],
  ['a list of lengths', post('Content-Length: 2, 2\r\n', '{}'), 400],
  ['two equal lengths', post('Content-Length: 2\r\nContent-Length: 2\r\n', '{}'), 400],
  ['two lengths', post('Content-Length: 2\r\nContent-Length: 40\r\n', '{}'), 400],
  ['a length beyond 64 bits', post('Content-Length: 99999999999999999999999\r\n', ''), 400],
  ['a length that wraps around', post('Content-Length: 18446744073709551618\r\n', '{}'), 400],
  ['a length and chunks', post('Content-Length: 2\r\nTransfer-Encoding: chunked\r\n', '2\r\n{}\r\n0\r\n\r\n'), 400],
  ['chunks and a length', post('Transfer-Encoding: chunked\r\nContent-Length: 2\r\n', '2\r\n{}\r\n0\r\n\r\n'), 400],
  ['gzip as coding', post('Transfer-Encoding: gzip\r\n', ''), [400, 501]],
  ['gzip and chunked', post('Transfer-Encoding: gzip, chunked\r\n', '0\r\n\r\n'), [400, 501]],
  ['chunked twice', post('Transfer-Encoding: chunked, chunked\r\n', '0\r\n\r\n'), [400, 501]],
  ['two Transfer-Encodings', post('Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n', '0\r\n\r\n'), [400, 501]],
  ['chunked, then identity', post('Transfer-Encoding: chunked, identity\r\n', '0\r\n\r\n'), [400, 501]],
  ['xchunked', post('Transfer-Encoding: xchunked\r\n', '0\r\n\r\n'), [400, 501]],
  ['chunked in quotes', post('Transfer-Encoding: "chunked"\r\n', '0\r\n\r\n'), [400, 501]],
  ['a vertical tab before chunked', post('Transfer-Encoding: \x0bchunked\r\n', '0\r\n\r\n'), [400, 501]],
  ['chunks in HTTP/1.0', `POST /api/info HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n`, 400],
  ['a chunk size with 0x', post('Transfer-Encoding: chunked\r\n', '0x2\r\n{}\r\n0\r\n\r\n'), 400],
  ['a negative chunk size', post('Transfer-Encoding: chunked\r\n', '-2\r\n{}\r\n0\r\n\r\n'), 400],
  ['a chunk size with a space before it', post('Transfer-Encoding: chunked\r\n', ' 2\r\n{}\r\n0\r\n\r\n'), 400],
  ['a chunk size beyond 64 bits', post('Transfer-Encoding: chunked\r\n', 'fffffffffffffffff\r\n{}\r\n0\r\n\r\n'), [400, 413]],
  ['a chunk that is longer than it says', post('Transfer-Encoding: chunked\r\n', '1\r\n{}\r\n0\r\n\r\n'), 400],
  ['chunks with bare line feeds', post('Transfer-Encoding: chunked\r\n', '2\n{}\n0\n\n'), 400],
  ['a bad trailer', post('Transfer-Encoding: chunked\r\n', '2\r\n{}\r\n0\r\nX A: 1\r\n\r\n'), 400],
  ['an empty chunk size', post('Transfer-Encoding: chunked\r\n', '\r\n{}\r\n0\r\n\r\n'), 400],
  ['too many headers', `GET /healthz HTTP/1.1\r\n${H}${manyHeaders(101)}\r\n`, 431],
  ['headers that are too long', `GET /healthz HTTP/1.1\r\n${H}X-A: ${'a'.repeat(33 * 1024)}\r\n\r\n`, 431],
  ['a target that is too long', `GET /${'a'.repeat(33 * 1024)} HTTP/1.1\r\n${H}\r\n`, 414],
  ['another expectation', post('Expect: 200-ok\r\nContent-Length: 2\r\n', '{}'), 417],
  ['a body that is too long, by its length', post('Content-Length: 10000000\r\n', ''), 413],
  ['a body that is too long, by its chunk', post('Transfer-Encoding: chunked\r\n', '989680\r\n'), 413],
];
for (const [name, bytes, status] of malformed) {
  test(`malformed: ${name}`, async () => {
    const { responses, rest } = await exchange(shared.broker.port, Buffer.from(bytes, 'latin1'));
    assert.equal(responses.length, 1, `${responses.length} responses, ${JSON.stringify(rest.toString())}`);
    assert.ok([status].flat().includes(responses[0].status), `${responses[0].status} ${responses[0].text}`);
    assert.equal(responses[0].headers.connection, 'close');
    const error = JSON.parse(responses[0].text);
    assert.ok(error.code && error.message && error.request_id, responses[0].text);
    assert.equal(rest.length, 0);
  });
}

const fine = [
  ['empty lines before the request', `\r\n\r\nGET /healthz HTTP/1.1\r\n${H}Connection: close\r\n\r\n`],
  ['HTTP/1.0 without a Host', 'GET /healthz HTTP/1.0\r\n\r\n'],
  ['the absolute form', 'GET http://example.com/healthz HTTP/1.1\r\nHost: example.com\r\nConnection: close\r\n\r\n'],
  ['an empty Host', 'GET /healthz HTTP/1.1\r\nHost:\r\nConnection: close\r\n\r\n'],
  ['a Host that is an IPv6 address', 'GET /healthz HTTP/1.1\r\nHost: [::1]:8000\r\nConnection: close\r\n\r\n'],
  ['header names in any case, values with white space around', 'GET /healthz HTTP/1.1\r\nhOsT: \t x \t\r\nCONNECTION:close\r\n\r\n'],
  ['chunks with extensions and trailers', post('Transfer-Encoding: Chunked\r\nConnection: close\r\n', '1;a=b\r\n{\r\n1\r\n}\r\n0\r\nX-Trailer: 1\r\n\r\n')],
  ['hundred headers', `GET /healthz HTTP/1.1\r\n${H}Connection: close\r\n${manyHeaders(98)}\r\n`],
];
for (const [name, bytes] of fine) {
  test(`fine: ${name}`, async () => {
    const { responses } = await exchange(shared.broker.port, Buffer.from(bytes, 'latin1'));
    assert.equal(responses.length, 1);
    assert.equal(responses[0].status, 200, responses[0].text);
  });
}
test('fine: the same octet by octet', async () => {
  for (const [, bytes] of fine) {
    const tcp = await Tcp.open(shared.broker.port);
    await tcp.sendChopped(Buffer.from(bytes, 'latin1'), 1);
    assert.equal((await readResponse(tcp)).status, 200);
    tcp.destroy();
  }
});

test('Expect: 100-continue is answered before the body', async () => {
  const tcp = await Tcp.open(shared.broker.port);
  tcp.send(post('Expect: 100-continue\r\nContent-Length: 2\r\n', ''));
  assert.equal((await readResponse(tcp)).status, 100);
  tcp.send('{}');
  assert.equal((await readResponse(tcp)).status, 200);
  tcp.destroy();
});

test('a refusal comes before the body is sent', async () => {
  const tcp = await Tcp.open(shared.broker.port);
  tcp.send(post('Content-Length: 100000000\r\n', 'x'));
  assert.equal((await readResponse(tcp)).status, 413);
  await tcp.until('the end', () => tcp.ended);
  tcp.destroy();
});

test('requests in one segment are answered in order', async () => {
  const requests = ['/healthz', '/nothing', '/readyz', '/healthz'].map((target) => `GET ${target} HTTP/1.1\r\n${H}\r\n`);
  const { responses } = await exchange(shared.broker.port, `${requests.join('')}GET /healthz HTTP/1.1\r\n${H}Connection: close\r\n\r\nGET /metrics HTTP/1.1\r\n${H}\r\n`);
  assert.deepEqual(responses.map((r) => r.status), [200, 404, 200, 200, 200]);
});

// ---- smuggling: what stands in a body is never a request ----

const smuggled = 'GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n';
const attempts = [
  ['CL.TE', post(`Content-Length: ${smuggled.length + 5}\r\nTransfer-Encoding: chunked\r\n`, `0\r\n\r\n${smuggled}`)],
  ['TE.CL', post('Transfer-Encoding: chunked\r\nContent-Length: 4\r\n', `${smuggled.length.toString(16)}\r\n${smuggled}\r\n0\r\n\r\n`)],
  ['TE.TE', post('Transfer-Encoding: chunked\r\nTransfer-Encoding: cow\r\n', `0\r\n\r\n${smuggled}`)],
  ['TE with a space before the colon', post('Transfer-Encoding : chunked\r\n', `0\r\n\r\n${smuggled}`)],
  ['TE hidden behind a bare carriage return', post('X: a\rTransfer-Encoding: chunked\r\n', `0\r\n\r\n${smuggled}`)],
  ['TE in a folded line', post('Transfer-Encoding:\r\n chunked\r\n', `0\r\n\r\n${smuggled}`)],
  ['two lengths', post(`Content-Length: 0\r\nContent-Length: ${smuggled.length}\r\n`, smuggled)],
  ['a chunk extension with a bare line feed', post('Transfer-Encoding: chunked\r\n', `2;\n${smuggled}\r\n0\r\n\r\n`)],
  ['a chunk size that overflows', post('Transfer-Encoding: chunked\r\n', `10000000000000002\r\n{}\r\n0\r\n\r\n${smuggled}`)],
];
for (const [name, bytes] of attempts) {
  test(`smuggling: ${name}`, async () => {
    const { responses, rest } = await exchange(shared.broker.port, Buffer.from(bytes, 'latin1'));
    assert.equal(responses.length, 1);
    assert.ok(responses[0].status >= 400, String(responses[0].status));
    assert.equal(rest.length, 0);
  });
}
test('smuggling: the body of a GET is a body', async () => {
  const { responses } = await exchange(shared.broker.port, `GET /healthz HTTP/1.1\r\n${H}Content-Length: ${smuggled.length}\r\n\r\n${smuggled}GET /healthz HTTP/1.1\r\n${H}Connection: close\r\n\r\n`);
  assert.ok(responses.length <= 2);
  assert.ok(responses.every((r) => r.text === 'ok\n' || r.status >= 400), 'the body was taken for a request');
});
test('smuggling: a refused upgrade ends the connection', async () => {
  const { responses } = await exchange(shared.broker.port, `GET /healthz HTTP/1.1\r\n${H}Upgrade: websocket\r\nConnection: Upgrade\r\n\r\n${smuggled}`);
  assert.equal(responses.length, 1);
});
