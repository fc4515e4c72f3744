// Clients of socket.io-client for the tests.
import { io } from 'socket.io-client';

import { defer, once, until } from './harness.mjs';

export { io };

// Options by which a client ends up on the transport.
export const TRANSPORTS = {
  websocket: { transports: ['websocket'] },
  polling: { transports: ['polling'] },
  upgrade: { transports: ['polling', 'websocket'] },
};

// A client that keeps all events in `got` as [event, ...args]. The argument that recovery adds is cut off, unless `raw`.
export function client(t, url, { raw = false, ...options } = {}) {
  const socket = io(url, { forceNew: true, reconnectionDelay: 20, reconnectionDelayMax: 50, ...TRANSPORTS.websocket, ...options });
  return track(t, socket, raw);
}

export function track(t, socket, raw = false) {
  socket.got = [];
  socket.onAny((event, ...args) => {
    // With recovery on, an event ends with the position; an application ignores it.
    if (socket._pid && typeof args.at(-1) === 'string' && !raw) args.pop();
    socket.got.push([event, ...args]);
  });
  socket.on('connect_error', (error) => (socket.lastError = error));
  socket.of = (event) => socket.got.filter(([name]) => name === event).map(([, ...args]) => args);
  defer(t, () => socket.io.engine && socket.disconnect() && socket.io._close());
  return socket;
}

export async function connected(socket) {
  await until('the client is connected', () => {
    if (socket.lastError && !socket.active) throw socket.lastError;
    return socket.connected;
  });
  return socket;
}

export const connect = (t, url, options) => connected(client(t, url, options));

// On WebSocket at last, when that is what the options lead to.
export async function settled(socket) {
  const { engine } = socket.io;
  if (engine.transport.name === 'polling' && engine.opts.transports.includes('websocket')) await once(engine, 'upgrade');
  return socket;
}

// Everything that the broker has sent to this client so far has arrived when this is over.
export async function fence(socket) {
  await socket.timeout(5000).emitWithAck('message-with-ack', 'fence');
}

export const events = (socket, event, n, ms) => until(`${n} times "${event}"`, () => socket.of(event).length >= n && socket.of(event), ms);
