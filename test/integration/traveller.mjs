// Clients with recovery that are led from one node of a cluster to another, by a proxy of their own.
import assert from 'node:assert/strict';

import { until } from './harness.mjs';
import { Proxy } from './proxy.mjs';
import { client, connected, settled } from './socketio.mjs';

const PATIENCE = 20_000;

export const portOf = (cluster, name) => Number(new URL(cluster.nodeUrl(name)).port);

// A client of node `from` that can be led to another.
export async function traveller(t, cluster, from, nsp, options = {}) {
  const proxy = await Proxy.start(t, portOf(cluster, from));
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

// Its connection ends, and it does not get through until comeBack().
export async function goAway(socket) {
  socket.proxy.refuse();
  await until('it is away', () => !socket.connected);
}

export function comeBack(socket, cluster, to) {
  socket.proxy.target = portOf(cluster, to);
  socket.proxy.refuse(false);
}

export const back = (socket, times) => until(`return ${times}`, () => socket.connected && socket.recoveries.length >= times, PATIENCE);

export function assertRecovered(socket) {
  assert.ok(socket.recoveries.length > 0 && socket.recoveries.every(Boolean), `recovered: ${socket.recoveries}`);
  assert.equal(new Set(socket.seen).size, 1, 'another id');
}
