#!/usr/bin/env node
// The reference servers, engine.io and socket.io on Node, dressed as the broker: they take --config, --listen and --set, write
// "listening" to standard error and end on SIGTERM. So expectations of the tests are checked against what clients are made for:
//
//   RTBROKER=test/integration/reference.mjs node --test test/integration/engineio.test.mjs
//
// Tests that ask for what the reference does not do are marked and left out then.
import http from 'node:http';
import path from 'node:path';

import { Server as EngineServer } from 'engine.io';
import { Server as SocketServer } from 'socket.io';

const args = process.argv.slice(2);
const config = path.basename(args[args.indexOf('--config') + 1]);
const set = Object.fromEntries(args.flatMap((a, i) => (args[i - 1] === '--set' ? [[a.split('=')[0], a.split('=')[1]]] : [])));
const ms = (value, fallback) => (value ? Number.parseInt(value, 10) * (value.endsWith('ms') ? 1 : 1000) : fallback);

const server = http.createServer((_req, res) => res.writeHead(404).end());

function engineio() {
  const origins = ['https://app.example', /^https:\/\/[^.]*\.example\.org$/];
  const endpoints = {
    '/engine.io/': {},
    '/fast/': { pingInterval: 300, pingTimeout: 200, upgradeTimeout: 250 },
    '/small/': { maxHttpBufferSize: 1000 },
    '/any/': { cors: { origin: '*' } },
    '/one/': { cors: { origin: 'https://app.example' } },
    '/list/': { cors: { origin: origins, credentials: true } },
    '/headers/': { cors: { origin: '*', allowedHeaders: ['x-one', 'x-two'], maxAge: 600 } },
    '/enforced/': {
      cors: { origin: 'https://app.example' },
      allowRequest: (req, fn) => fn('Forbidden', [undefined, 'https://app.example', `http://${req.headers.host}`].includes(req.headers.origin)),
    },
    '/cookie/': { cookie: { name: 'io', path: '/', httpOnly: true, sameSite: 'lax' } },
    '/sticky/': { cookie: { name: 'sid', path: '/x', secure: true, sameSite: 'none', httpOnly: false, maxAge: 60 } },
    '/methods/': { cors: { origin: '*', methods: ['GET', 'POST'] } },
    '/websocket-only/': { transports: ['websocket'] },
    '/polling-only/': { transports: ['polling'] },
    '/no-upgrades/': { allowUpgrades: false },
  };
  for (const [at, options] of Object.entries(endpoints)) {
    const engine = new EngineServer(options);
    engine.on('connection', (socket) => socket.on('message', (data) => socket.send(data)));
    engine.attach(server, { path: at, destroyUpgrade: false });
  }
  const bare = new EngineServer({});
  bare.on('connection', (socket) => socket.on('message', (data) => socket.send(data)));
  bare.attach(server, { path: '/bare', addTrailingSlash: false, destroyUpgrade: false });
  new SocketServer(server, { cors: { origin: origins, credentials: true } });
}

function socketio() {
  const recovery = ms(set['protocols.socketio.recovery'], 120_000);
  const io = new SocketServer(server, {
    pingInterval: ms(set['protocols.socketio.ping_interval'], 25_000),
    pingTimeout: ms(set['protocols.socketio.ping_timeout'], 20_000),
    connectTimeout: ms(set['protocols.socketio.connect_timeout'], 45_000),
    allowEIO3: set['protocols.socketio.allow_eio3'] === 'true',
    connectionStateRecovery: recovery ? { maxDisconnectionDuration: recovery } : undefined,
  });
  const nsps = [io.of('/'), io.of('/custom'), io.of('/quiet'), io.of(/^\/dyn-.*$/)];
  const secret = io.of('/secret');
  secret.use((socket, next) => {
    if (socket.handshake.auth.token === 'open sesame') return next();
    next(Object.assign(new Error('not authorized'), { data: { code: 4401, token: socket.handshake.auth.token ?? null } }));
  });
  for (const nsp of [...nsps, secret]) nsp.on('connection', (socket) => onConnection(socket));
}

function onConnection(socket) {
  const answer = (args) => (typeof args.at(-1) === 'function' ? args.pop() : () => {});
  const on = (event, fn) => socket.on(event, (...all) => {
    const ack = answer(all);
    fn(all, ack);
  });
  if (!socket.recovered && socket.nsp.name !== '/quiet') socket.emit('auth', socket.handshake.auth);
  on('message', (a) => socket.emit('message-back', ...a));
  on('message-with-ack', (a, ack) => ack(...a));
  on('constants', (_a, ack) => ack(false, 0, 'text', null, Buffer.from([1, 2, 3]), { list: [1, { two: 2 }] }));
  on('twice', (a, ack) => {
    socket.emit('first', a[0]);
    socket.emit('second', a[0]);
    ack();
  });
  on('join', ([room], ack) => (socket.join(room), ack()));
  on('leave', ([room], ack) => (socket.leave(room), ack()));
  on('leave-all', (_a, ack) => {
    for (const room of socket.rooms) if (room !== socket.id) socket.leave(room);
    ack();
  });
  on('rooms', (_a, ack) => ack([...socket.rooms]));
  on('say', ([room, ...rest], ack) => (socket.nsp.to(room).emit('said', ...rest), ack({ ok: true })));
  on('say-others', ([room, ...rest], ack) => (socket.to(room).emit('said', ...rest), ack({ ok: true })));
  on('say-except', ([rooms, except, word, value], ack) => (socket.nsp.to(rooms).except([`loose-not-${word}`].concat(except)).emit('said', value), ack({ ok: true })));
  on('all-except', ([except, value], ack) => (socket.nsp.except(except).emit('said', value), ack({ ok: true })));
  on('each-except', ([except, value], ack) => {
    for (const nsp of ['/', '/custom']) socket.nsp.server.of(nsp).except(except).emit('said', value);
    ack({ ok: true });
  });
  on('say-all', (a, ack) => (socket.nsp.emit('said', ...a), ack({ ok: true })));
  on('ask-me', ([question]) => {
    socket.timeout(300).emit('question', question, (error, value) => {
      if (error) socket.emit('no-answer', question);
      else if (value === 42) socket.emit('right', value);
      else socket.emit('wrong', value);
    });
  });
  on('kick', () => socket.disconnect());
  on('kick-close', () => socket.disconnect(true));
  on('close', () => socket.conn.close());
  on('quiet', () => {});
  on('volatile', (a) => socket.volatile.emit('volatile', ...a));
  on('handshake', (_a, ack) => ack(socket.handshake));
  on('only-binary', ([a], ack) => ack(Buffer.isBuffer(a) ? 'binary' : 'other'));
}

(config === 'engineio.yaml' ? engineio : socketio)();
server.listen(0, '127.0.0.1', () => {
  console.error(JSON.stringify({ msg: 'listening', address: `127.0.0.1:${server.address().port}` }));
});
process.on('SIGTERM', () => process.exit(0));
