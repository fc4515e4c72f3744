// Clients with recovery behind a proxy of their own, which breaks their connections, or leads them from one node of a cluster to another.
import assert from 'node:assert/strict';

import { until } from './harness.mjs';
import { Proxy } from './proxy.mjs';
import { client, connected, settled } from './socketio.mjs';

const PATIENCE = 20_000;

export const portOf = (cluster, name) => Number(new URL(cluster.nodeUrl(name)).port);

// `seen` are the ids that it has had, `recoveries` says of each return whether it was recovered.
export async function behindProxy(t, port, nsp = '', options = {}) {
  const proxy = await Proxy.start(t, port);
  const socket = client(t, proxy.url + nsp, options);
  socket.proxy = proxy;
  socket.seen = [];
  socket.recoveries = [];
  socket.on('connect', () => {
    socket.seen.push(socket.id);
    if (socket.seen.length > 1) socket.recoveries.push(socket.recovered);
  });
  return settled(await connected(socket));
}

// A client of node `from` that can be led to another.
export const traveller = (t, cluster, from, nsp, options) => behindProxy(t, portOf(cluster, from), nsp, options);

// Its connection ends, and it does not get through until comeBack().
export async function goAway(socket) {
  socket.proxy.refuse();
  await until('it is away', () => !socket.connected);
}

export function comeBack(socket, cluster, to) {
  socket.proxy.target = portOf(cluster, to);
  socket.proxy.refuse(false);
}

export const back = (socket, times, ms = PATIENCE) => until(`return ${times}`, () => socket.connected && socket.recoveries.length >= times, ms);

export function assertRecovered(socket) {
  assert.ok(socket.recoveries.length > 0 && socket.recoveries.every(Boolean), `recovered: ${socket.recoveries}`);
  assert.equal(new Set(socket.seen).size, 1, 'another id');
}
