// Nothing is refused or dropped in silence: a counter by reason, and a line in the log that names the option to change.
import assert from 'node:assert/strict';
import { after, before } from 'node:test';

import { configPath, shareBroker, startBroker, test, until } from './harness.mjs';
import { client, connect } from './socketio.mjs';
import { Ws, binary, request, text } from './wire.mjs';

const shared = shareBroker({ before, after }, { config: configPath('refusals.yaml') });
const foreign = { Origin: 'http://elsewhere.example' };
const poll = (path, headers) => request(shared.broker.port, path, { headers });

async function counted(reason) {
  const { text: metrics } = await request(shared.broker.port, '/metrics');
  return Number(new RegExp(`^rtbroker_refusals_total{reason="${reason}"} (\\d+)$`, 'm').exec(metrics)[1]);
}

async function open(path, ...frames) {
  const ws = await Ws.open(shared.broker.port, path);
  ws.send(...frames);
  return ws;
}

// What is done, the counter, the line, and what stands in it.
const cases = [
  ['an event without a rule', 'event', /no rule matches it/, { event: 'sya', option: 'socketio.events, socketio.unmatched' },
    async (t) => (await connect(t, shared.broker.url)).emit('sya', 1)],
  ['a message over limits.message, without an acknowledgement', 'message_size', /message was refused/, { channel: 'open', option: 'limits.message' },
    async (t) => (await connect(t, shared.broker.url)).emit('say', 'x'.repeat(11_000))],
  ['a packet over max_payload', 'packet_size', /packet was refused/, { path: '/socket.io/', option: 'protocols.socketio.max_payload' },
    async (t) => (await connect(t, shared.broker.url, { transports: ['websocket'] })).emit('say', 'x'.repeat(1_100_000))],
  ['a polling body over max_payload', 'packet_size', /packet was refused/, { reason: '413' },
    async (t) => (await connect(t, shared.broker.url, { transports: ['polling'] })).emit('say', 'x'.repeat(1_100_000))],
  ['an unknown namespace', 'namespace', /nobody gets into this namespace/, { namespace: '/admin', option: 'socketio.namespaces' },
    async (t) => client(t, `${shared.broker.url}/admin`, { reconnection: false })],
  ['too many rooms', 'limit', /a limit is reached/, { reason: /limits\.channels_per_connection/ },
    async (t) => (await connect(t, shared.broker.url)).emit('fill')],
  ['a packet that is none', 'protocol', /broke the protocol/, { level: 'info' },
    async (t) => (await connect(t, shared.broker.url, { transports: ['websocket'] })).io.engine.send('9nonsense')],
  ['a page from elsewhere, over polling', 'cors', /without CORS headers/, { origin: foreign.Origin, option: 'protocols.socketio.cors.origins' },
    () => poll('/socket.io/?EIO=4&transport=polling', foreign)],
  ['a page from elsewhere, where that is enforced', 'origin', /another origin was refused/, { origin: foreign.Origin, option: 'protocols.raw[].cors.origins' },
    () => poll('/engine/?EIO=4&transport=websocket', { ...foreign, Connection: 'Upgrade', Upgrade: 'websocket', 'Sec-WebSocket-Version': '13', 'Sec-WebSocket-Key': 'AAAAAAAAAAAAAAAAAAAAAA==' })],
  ['a page from elsewhere at a raw endpoint', 'origin', /another origin was refused/, { option: 'origins', comp: 'raw' },
    () => poll('/raw/open', { ...foreign, Connection: 'Upgrade', Upgrade: 'websocket', 'Sec-WebSocket-Version': '13', 'Sec-WebSocket-Key': 'AAAAAAAAAAAAAAAAAAAAAA==' })],
  ['an unknown version', 'version', /version of Engine\.IO/, { path: '/socket.io/' },
    () => poll('/socket.io/?EIO=9&transport=polling')],
  ['a transport that is not offered', 'transport', /not offered/, { option: 'protocols.raw[].transports' },
    () => poll('/engine/?EIO=4&transport=polling')],
  ['no handshake', 'request', /no handshake/, { reason: 'Bad handshake method' },
    () => request(shared.broker.port, '/socket.io/?EIO=4&transport=polling', { method: 'PUT' })],
  ['a channel without a rule', 'channel', /no rule for this channel/, { channel: 'other', option: 'channels' }, () => open('/raw/other')],
  ['a channel that nobody may read', 'permission', /does not allow it/, { channel: 'closed', reason: /subscribe/ }, () => open('/raw/closed')],
  ['a raw message over limits.message', 'message_size', /message was refused/, { comp: 'raw' }, () => open('/raw/open', binary(Buffer.alloc(11_000)))],
  ['a raw message over max_message', 'packet_size', /packet was refused/, { comp: 'raw', option: 'protocols.raw[].max_message' }, () => open('/raw/open', binary(Buffer.alloc(21_000)))],
  ['a raw endpoint that takes none', 'unwanted', /takes none/, { path: '/deaf', option: 'protocols.raw[].publish' }, () => open('/deaf', text('hello'))],
];

const fits = (value, wanted) => (wanted instanceof RegExp ? wanted.test(value) : value === wanted);

for (const [what, reason, message, fields, act] of cases) {
  test(`told: ${what}`, async (t) => {
    const before_ = await counted(reason);
    const seen = shared.broker.entries().length;
    await act(t);
    const found = () => shared.broker.entries().slice(seen).find((e) => message.test(e.msg) && Object.entries(fields).every(([k, v]) => fits(e[k], v)));
    const entry = await until('the line is written', () => found());
    assert.match(entry.level, /warn|info/);
    assert.equal(await counted(reason), before_ + 1);
  });
}

test('a flood of refusals does not fill the log', async (t) => {
  const before_ = await counted('event');
  const lines = shared.broker.entries().length;
  const socket = await connect(t, shared.broker.url);
  for (let i = 0; i < 2000; i++) socket.emit('nothing-for-it', i);
  await until('all are counted', async () => (await counted('event')) === before_ + 2000);
  const written = shared.broker.entries().slice(lines).filter((e) => /no rule matches it/.test(e.msg));
  assert.ok(written.length <= 20, `${written.length} lines`);
});

test('--dev shows it in the terminal, and takes what Node takes', async (t) => {
  const broker = await startBroker(t, { dev: true, set: { 'socketio.events': '[{event: big, do: [{publish: {channel: big}}]}]' } });
  const socket = await connect(t, broker.url);
  socket.emit('hello');
  await until('the line', () => broker.logged('an event was dropped: no rule matches it').find((e) => e.event === 'hello'));
  const answer = await socket.timeout(5000).emitWithAck('big', 'x'.repeat(950_000));
  assert.equal(answer.ok, true, JSON.stringify(answer));
});
