// Sessions that come back on another node: real Redis and Kafka, three nodes, socket.io-client behind a proxy that leads it
// from one node to another.
import assert from 'node:assert/strict';
import { after, before } from 'node:test';

import { shareCluster } from './cluster.mjs';
import { configPath, defer, test, until } from './harness.mjs';
import { TRANSPORTS, connect, events, fence } from './socketio.mjs';
import * as old from './socketio2.mjs';
import { assertRecovered, back, comeBack, goAway, portOf as nodePort, traveller as travel } from './traveller.mjs';
import { Ws, text } from './wire.mjs';

const holder = shareCluster({ before, after }, { nodes: 3, config: configPath('socketio.yaml'), without: ['nginx', 'postgres'], proxied: ['n2'], set: { 'protocols.socketio.ping_interval': '2s', 'protocols.socketio.allow_eio3': 'true' } });
const ask = (socket, event, ...args) => socket.timeout(10_000).emitWithAck(event, ...args);
const numbers = (n, from = 0) => [...Array(n).keys()].map((i) => i + from);
const portOf = (name) => nodePort(holder.cluster, name);
const traveller = (t, from, nsp, options) => travel(t, holder.cluster, from, nsp, options);
const name = (() => {
  let n = 0;
  return (what) => `${what}-${++n}`;
})();

function lead(socket, to) {
  socket.proxy.target = portOf(to);
  socket.proxy.cut();
}

for (const [transport, options] of Object.entries(TRANSPORTS)) {
  test(`${transport}: from node to node while messages flow`, async (t) => {
    const nsp = `/dyn-${name('travel')}`;
    const socket = await traveller(t, 'n1', nsp, options);
    const control = await connect(t, holder.cluster.nodeUrl('n3') + nsp);
    const publisher = await connect(t, holder.cluster.nodeUrl('n2') + nsp);
    for (const s of [socket, control]) for (const room of ['a', 'b', 'c']) await ask(s, 'join', room);
    const inFlight = new Set();
    for (let i = 0; i < 600; i++) {
      if (i % 150 === 75) {
        await until('the client is back', () => socket.connected, 20_000);
        lead(socket, ['n2', 'n3', 'n1', 'n2'][Math.floor(i / 150)]);
      }
      const sent = ask(publisher, 'say', 'abc'[i % 3], i).then(() => inFlight.delete(sent));
      inFlight.add(sent);
      if (inFlight.size >= 8) await Promise.race(inFlight);
    }
    await Promise.all(inFlight);
    await events(control, 'said', 600, 20_000);
    await events(socket, 'said', 600, 20_000);
    assertRecovered(socket);
    // Each room in its order; all of it once.
    const got = socket.of('said').flat();
    assert.deepEqual([...got].sort((a, b) => a - b), numbers(600));
    for (const k of [0, 1, 2]) assert.deepEqual(got.filter((i) => i % 3 === k), numbers(600).filter((i) => i % 3 === k));
    assert.deepEqual((await ask(socket, 'rooms')).sort(), [socket.id, 'a', 'b', 'c'].sort());
  });
}

test('what was missed while away, without any event before; the sender does not get its own', async (t) => {
  const room = name('away');
  const socket = await traveller(t, 'n1', '/quiet');
  const publisher = await connect(t, `${holder.cluster.nodeUrl('n2')}/quiet`);
  await ask(socket, 'join', room);
  await ask(socket, 'say-others', room, 'own');
  await ask(socket, 'say-others-once', room, 'own with a key', name('key'));
  await goAway(socket);
  for (const i of numbers(20)) await ask(publisher, 'say', room, i);
  comeBack(socket, holder.cluster, 'n3');
  await back(socket, 1);
  assertRecovered(socket);
  await ask(publisher, 'say', room, 'after');
  await events(socket, 'said', 21, 20_000);
  assert.deepEqual(socket.of('said').flat(), [...numbers(20), 'after']);
  assertRecovered(socket);
});

test('rooms that are left out, on every node; of what was missed, and of what goes to an id, as well', async (t) => {
  const [room, loose, out] = [name('room'), name('loose'), name('out')];
  const socket = await traveller(t, 'n1', '/quiet');
  const there = await Promise.all(['n1', 'n2', 'n3'].map((node) => connect(t, `${holder.cluster.nodeUrl(node)}/quiet`)));
  for (const s of [socket, ...there]) for (const r of [room, loose]) await ask(s, 'join', r);
  for (const s of [socket, there[2]]) await ask(s, 'join', out);
  const { id } = socket;
  const say = (...args) => ask(there[1], 'say-except', ...args);
  const say6 = async (from) => {
    await say([room, loose], out, '', from); // those of n1 and n2
    await say([room], [there[0].id, there[2].id], '', from + 1); // n2, and the one that comes back
    await say([room], [id], '', from + 2); // all but that one
    await say(id, [out], '', from + 3); // nobody
    await say([loose], [out, there[1].id], '', from + 4); // n1
    await say([room], 'nobody', '', from + 5); // all
  };
  await say6(0);
  await Promise.all([socket, there[2]].map((s) => events(s, 'said', 2, 20_000)));
  await goAway(socket);
  await say6(10);
  comeBack(socket, holder.cluster, 'n3');
  await back(socket, 1);
  assertRecovered(socket);
  // Behind everything, on both ways.
  for (const r of [room, loose]) await ask(there[1], 'say', r, `end of ${r}`);
  const ends = (s) => until('both ends', () => s.of('said').flat().filter((x) => typeof x === 'string').length === 2, 20_000);
  await Promise.all([socket, ...there].map(ends));
  const got = (s) => s.of('said').flat().filter((x) => typeof x === 'number').sort((a, b) => a - b);
  const both = (...list) => [...list, ...list.map((x) => x + 10)];
  assert.deepEqual([socket, ...there].map(got), [both(1, 5), both(0, 2, 4, 5), both(0, 1, 2, 5), both(2, 5)]);
  assertRecovered(socket);
});

test('without a log: what the former node has sent, and the others have not heard yet, does not come again', async (t) => {
  const { cluster } = holder;
  const loose = name('loose');
  const socket = await traveller(t, 'n2', '/');
  const publisher = await connect(t, `${cluster.nodeUrl('n2')}/`);
  await ask(socket, 'join', loose);
  const link = cluster.proxies.n2;
  defer(t, () => link.hush(false));
  link.hush();
  publisher.emit('say', loose, 'once');
  await events(socket, 'said', 1, 20_000);
  await goAway(socket);
  comeBack(socket, cluster, 'n3');
  await until('n3 has claimed it', async () => (await cluster.redis('HGET', keyOf(socket), 'o')).endsWith('n3'));
  link.hush(false);
  await back(socket, 1);
  assertRecovered(socket);
  await ask(publisher, 'say', loose, 'end');
  await until('the end is there', () => socket.of('said').flat().includes('end'), 20_000);
  assert.deepEqual(socket.of('said').flat(), ['once', 'end']);
});

test('without a log: a former node that does not answer is not waited for any longer than it may take', async (t) => {
  const { cluster } = holder;
  const silent = () => cluster.metric('n1', 'socketio_former_node_silent_total');
  const loose = name('loose');
  const socket = await traveller(t, 'n3', '/');
  await ask(socket, 'join', loose);
  await goAway(socket);
  const before = await silent();
  defer(t, () => cluster.act('resume', 'n3'));
  await cluster.act('pause', 'n3');
  comeBack(socket, cluster, 'n1');
  await back(socket, 1);
  assertRecovered(socket);
  assert.equal(await silent(), before + 1);
  await ask(socket, 'say', loose, 'here');
  await events(socket, 'said', 1, 20_000);
});

test('half-open: the node that has it still lets it go', async (t) => {
  const room = name('half');
  const socket = await traveller(t, 'n1', '/quiet');
  const publisher = await connect(t, `${holder.cluster.nodeUrl('n2')}/quiet`);
  await ask(socket, 'join', room);
  const before = await holder.cluster.metric('n1', 'socketio_sockets');
  socket.proxy.target = portOf('n2');
  socket.proxy.abandon();
  await back(socket, 1);
  assertRecovered(socket);
  await until('n1 has let it go', async () => (await holder.cluster.metric('n1', 'socketio_sockets')) < before, 20_000);
  await ask(publisher, 'say', room, 1);
  await events(socket, 'said', 1, 20_000);
  assert.deepEqual(socket.of('said').flat(), [1]);
});

test('two connections with one token: the last one has the session', async (t) => {
  const socket = await traveller(t, 'n1', '/quiet');
  const pid = socket._pid;
  const id = socket.id;
  await goAway(socket);
  const sockets = async () => (await Promise.all(['n1', 'n2', 'n3'].map((n) => holder.cluster.metric(n, 'socketio_sockets')))).reduce((a, b) => a + b);
  const others = await sockets(); // of earlier tests, which may go meanwhile
  const come = async (node) => {
    const ws = await Ws.open(portOf(node), '/socket.io/?EIO=4&transport=websocket');
    await ws.nextText();
    ws.send(text(`40/quiet,${JSON.stringify({ pid })}`));
    return ws;
  };
  const peers = await Promise.all(['n1', 'n2', 'n3'].map(come));
  const answers = await Promise.all(peers.map(async (ws) => JSON.parse((await ws.nextText()).slice('40/quiet,'.length))));
  const same = answers.filter((a) => a.sid === id);
  assert.ok(same.length >= 1, JSON.stringify(answers));
  assert.ok(answers.every((a) => (a.sid === id) === (a.pid === pid)));
  // Of those that had it, one after the other, only the last one is left.
  await until('one is left', async () => (await sockets()) <= others + 1 + answers.length - same.length, 20_000);
  for (const ws of peers) ws.destroy();
});

test('many races for one session', async (t) => {
  const socket = await traveller(t, 'n1', '/quiet');
  const pid = socket._pid;
  const id = socket.id;
  await goAway(socket);
  for (const round of numbers(25)) {
    const peers = await Promise.all(['n1', 'n2', 'n3', 'n1', 'n2'].map(async (node) => {
      const ws = await Ws.open(portOf(node), '/socket.io/?EIO=4&transport=websocket');
      await ws.nextText();
      ws.send(text(`40/quiet,${JSON.stringify({ pid })}`));
      return ws;
    }));
    const sids = await Promise.all(peers.map(async (ws) => JSON.parse((await ws.nextText()).slice('40/quiet,'.length)).sid));
    assert.ok(sids.includes(id), `round ${round}: nobody has it`);
    // One of those that had it is still there, the others are closed.
    const winners = peers.filter((_, i) => sids[i] === id);
    let left = winners.length;
    for (const ws of winners) ws.nextClose(30_000).then(() => left--, () => {});
    await until('one is left', () => left === 1, 20_000);
    for (const ws of peers) ws.destroy();
  }
});

test('a message to the id of a socket on another node, and of one that is away', async (t) => {
  const socket = await traveller(t, 'n1', '/quiet');
  const publisher = await connect(t, `${holder.cluster.nodeUrl('n2')}/quiet`);
  for (const i of numbers(3)) await ask(publisher, 'say', socket.id, i);
  await events(socket, 'said', 3, 20_000);
  await goAway(socket);
  const received = await holder.cluster.metric('n1', 'socketio_mailed_total{direction="in"}');
  for (const i of numbers(3, 3)) await ask(publisher, 'say', socket.seen[0], i);
  await until('they have come', async () => (await holder.cluster.metric('n1', 'socketio_mailed_total{direction="in"}')) === received + 3, 20_000);
  socket.proxy.refuse(false);
  await back(socket, 1);
  await events(socket, 'said', 6, 20_000);
  assert.deepEqual(socket.of('said').flat(), numbers(6));
  assertRecovered(socket);
});

test('a message to the id of a client of Socket.IO 2 on another node', async (t) => {
  for (const nsp of ['', '/quiet'])
    for (const transports of [['polling'], ['websocket']]) {
      const socket = await old.connected(old.client(t, holder.cluster.nodeUrl('n1') + nsp, { transports }));
      const publisher = await connect(t, holder.cluster.nodeUrl('n2') + nsp);
      for (const i of numbers(3)) await ask(publisher, 'say', socket.id, i);
      assert.deepEqual(await events(socket, 'said', 3, 20_000), numbers(3).map((i) => [i]));
    }
});

for (const [action, what] of [['stop', 'a node that stops in good order'], ['kill', 'kill -9 of the node']]) test(`${what}, under load`, async (t) => {
  const room = name('killed');
  const nsp = `/dyn-${name('kill')}`;
  const travellers = await Promise.all(numbers(10).map(() => traveller(t, 'n3', nsp)));
  const publisher = await connect(t, holder.cluster.nodeUrl('n2') + nsp);
  for (const s of travellers) await ask(s, 'join', room);
  const inFlight = new Set();
  for (let i = 0; i < 1000; i++) {
    if (i === 500) {
      const acted = holder.cluster.act(action, 'n3');
      if (action === 'kill') await acted;
      travellers.forEach((s, k) => (s.proxy.target = portOf(k % 2 ? 'n1' : 'n2')));
      await acted;
      travellers.forEach((s, k) => lead(s, k % 2 ? 'n1' : 'n2'));
    }
    const sent = ask(publisher, 'say', room, i).then(() => inFlight.delete(sent));
    inFlight.add(sent);
    if (inFlight.size >= 8) await Promise.race(inFlight);
  }
  await Promise.all(inFlight);
  for (const s of travellers) {
    await events(s, 'said', 1000, 30_000);
    assert.deepEqual(s.of('said').flat(), numbers(1000));
    await back(s, 1);
    assertRecovered(s);
    await fence(s);
  }
  await holder.cluster.act('start', 'n3');
});

test('skip_middlewares: false: the rules are asked again, on another node as well, before anything that was missed', async (t) => {
  const { cluster } = holder;
  await cluster.set('n3', 'protocols.socketio.skip_middlewares=false');
  await cluster.act('stop', 'n3');
  await cluster.act('start', 'n3');
  const right = { token: 'open sesame' };
  const room = name('secret');
  const publisher = await connect(t, `${cluster.nodeUrl('n2')}/secret`, { auth: right });
  for (const allowed of [true, false]) {
    const socket = await traveller(t, 'n1', '/secret', { auth: right });
    await ask(socket, 'join', room);
    await goAway(socket);
    await ask(publisher, 'say', room, 'missed');
    if (!allowed) socket.auth = { token: 'taken away' };
    const errors = [];
    socket.on('connect_error', (error) => errors.push(error.message));
    comeBack(socket, cluster, 'n3');
    if (allowed) {
      await back(socket, 1);
      assertRecovered(socket);
      await events(socket, 'auth', 2, 20_000); // what on_connect emits
    } else {
      await until('it is refused', () => errors.includes('not authorized'), 20_000);
    }
    assert.deepEqual(socket.of('said').flat(), allowed ? ['missed'] : []);
    socket.disconnect();
  }
});

// ---- Redis is not what it was ----------------------------------------------------------------------------------------

const NODES = ['n1', 'n2', 'n3'];
const PATIENCE = 30_000;
const keyOf = (socket) => `rtb:rtbroker:s:${socket._pid}`;
const rewritten = () => holder.cluster.metric('n3', 'socketio_sessions_rewritten_total');
const linked = () => until('all nodes have Redis', async () => (await Promise.all(NODES.map((n) => holder.cluster.ready(n)))).every(({ backends }) => backends.redis.up), PATIENCE);

// A client of n3 in room `name`-1 when Redis makes its snapshot, in `name`-2 only afterwards; then Redis is killed. Until it starts it is away.
async function setBack(t, name) {
  const { cluster } = holder;
  const rooms = [`${name}-1`, `${name}-2`];
  const socket = await traveller(t, 'n3', '/quiet');
  await ask(socket, 'join', rooms[0]);
  await cluster.redis('SAVE');
  await ask(socket, 'join', rooms[1]);
  await cluster.act('kill', 'redis');
  return { socket, rooms };
}

test('Redis comes back with an older state, and the node is killed later: no room is missing', { timeout: 240_000 }, async (t) => {
  const { cluster } = holder;
  const { socket, rooms } = await setBack(t, name('older'));
  const before = await rewritten();
  await cluster.act('start', 'redis');
  await until('n3 has written its sessions again', async () => (await rewritten()) > before, PATIENCE);
  await linked();
  const publisher = await connect(t, `${cluster.nodeUrl('n2')}/quiet`);
  await cluster.act('kill', 'n3'); // before it has seen the client go, and written what it had then
  socket.proxy.refuse();
  await until('it is away', () => !socket.connected);
  for (const room of rooms) await ask(publisher, 'say', room, room);
  comeBack(socket, cluster, 'n1');
  await back(socket, 1);
  assertRecovered(socket);
  await events(socket, 'said', 2, PATIENCE);
  assert.deepEqual(socket.of('said').flat().sort(), rooms);
  await cluster.act('start', 'n3');
});

test('the node dies before Redis is back with an older state: a new session, not half of the old one', { timeout: 240_000 }, async (t) => {
  const { cluster } = holder;
  const { socket } = await setBack(t, name('unknown'));
  await cluster.act('kill', 'n3');
  socket.proxy.refuse();
  await cluster.act('start', 'redis');
  await until('n1 has Redis', async () => (await cluster.ready('n1')).backends.redis.up, PATIENCE);
  comeBack(socket, cluster, 'n1');
  await back(socket, 1);
  assert.deepEqual(socket.recoveries, [false]);
  await cluster.act('start', 'n3');
  await linked();
});

test('Redis is emptied: sessions that wait come back on any node', async (t) => {
  const { cluster } = holder;
  const socket = await traveller(t, 'n3', '/quiet');
  const room = name('emptied');
  await ask(socket, 'join', room);
  await goAway(socket);
  const before = await rewritten();
  await cluster.redis('FLUSHALL');
  await until('n3 has written its sessions again', async () => (await rewritten()) > before, PATIENCE);
  await ask(await connect(t, `${cluster.nodeUrl('n2')}/quiet`), 'say', room, 1);
  comeBack(socket, cluster, 'n1');
  await back(socket, 1);
  assertRecovered(socket);
  await events(socket, 'said', 1, PATIENCE);
});

test('the state of one session is set back: its owner notices with the next heartbeat', async (t) => {
  const { cluster } = holder;
  const socket = await traveller(t, 'n3', '/quiet');
  await ask(socket, 'join', name('single'));
  const key = keyOf(socket);
  await cluster.redis('EVAL', "redis.call('SET',KEYS[2],redis.call('DUMP',KEYS[1]))", '2', key, 'copy');
  const old = await cluster.redis('HGET', key, 'v');
  await ask(socket, 'join', name('single'));
  await until('the second room is written', async () => (await cluster.redis('HGET', key, 'v')) !== old, PATIENCE);
  const state = await cluster.redis('HGET', key, 's');
  await cluster.redis('EVAL', "redis.call('DEL',KEYS[1]) redis.call('RESTORE',KEYS[1],100000,redis.call('GET',KEYS[2]))", '2', key, 'copy');
  assert.notEqual(await cluster.redis('HGET', key, 's'), state);
  await until('it is written again', async () => Number(await cluster.redis('HGET', key, 'v')) > Number(old) + 1, PATIENCE);
  assert.equal((await cluster.redis('HGET', key, 's')).length, state.length);
});
