// Clients of socket.io-client 2.5 for the tests.
import old from 'socket.io-client-v2';

import { defer, until, within } from './harness.mjs';

// A client that keeps all events in `got` as [event, ...args].
export function client(t, target, options = {}) {
  const socket = old(target, { forceNew: true, reconnectionDelay: 20, reconnectionDelayMax: 50, ...options });
  const { onevent } = socket;
  socket.got = [];
  socket.onevent = function keep(packet) {
    this.got.push([...packet.data]);
    onevent.call(this, packet);
  };
  socket.of = (event) => socket.got.filter(([name]) => name === event).map(([, ...args]) => args);
  defer(t, () => socket.close());
  return socket;
}

export const connected = (socket) => until('the client is connected', () => socket.connected).then(() => socket);

// All values of an acknowledgement; the first one.
export const answers = (socket, event, ...args) => within(5000, `the answer to "${event}"`, new Promise((resolve) => {
  socket.emit(event, ...args, (...values) => resolve(values));
}));

export const ask = async (socket, event, ...args) => (await answers(socket, event, ...args))[0];
