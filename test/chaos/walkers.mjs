// Clients of socket.io-client that join and leave rooms all the while, and lose their connections now and then. A process of its own, started by operator.mjs.
//
// Each room has one publisher, whose messages are numbered: the next one goes when this one is acknowledged. A client that is in a room sees each number once,
// in order, from the first that it sees on; also when it comes back and is told that its session was recovered. With a new session it begins anew.
// In: {finish: true}. Out: {received: N} from time to time, {done: COUNTS} with `problems`, and {failed: TEXT}.
import http from 'node:http';
import { setTimeout as delay } from 'node:timers/promises';

import { io } from '../integration/socketio.mjs';
import { random } from './faults.mjs';
import { post } from './post.mjs';

const STEP = [300, 2000]; // ms between two steps of a client
const CUT = 0.1; // of the steps cut the connection
const ANSWER = 5000; // ms for an acknowledgement
const PUBLISH = 100; // ms between two messages of a room
const SETTLE = 60_000;
const SHOWN = 10;

const { url, nodes, apiKey, rooms, walkers, seed, keysBeginAnew } = JSON.parse(process.argv[2]);
const rand = random(seed);
const counts = { received: 0, published: 0, joined: 0, left: 0, recovered: 0, sessions: 0, again: 0, problems: {}, examples: [] };
const top = new Map(rooms.map((room) => [room, 0])); // number of the last one that was acknowledged
const unsure = new Set(); // that may be stored, and were sent again: twice, where keys begin anew meanwhile
let finishing = false, ending = false;

function problem(kind, text) {
  counts.problems[kind] = (counts.problems[kind] ?? 0) + 1;
  if (counts.problems[kind] <= SHOWN) counts.examples.push(`${kind}: ${text}`);
}

// ---- publishing ------------------------------------------------------------------------------------------------------------

const agent = new http.Agent({ keepAlive: true });

async function publish(room, index) {
  for (let n = 1, node = index; !finishing; n++) {
    const body = JSON.stringify({ channel: room, idempotency_key: `${room}-${n}`, event: 'step', data: { room, n } });
    for (let pause = 20; ; pause = Math.min(pause * 2, 1000)) {
      const { status } = await post(nodes[node % nodes.length], body, { apiKey, agent }).catch(() => ({ status: 0 }));
      if (status === 200) break;
      if (status !== 503) unsure.add(`${room} ${n}`);
      node++;
      await delay(pause);
    }
    top.set(room, n);
    counts.published++;
    await delay(PUBLISH);
  }
}

// ---- walking -----------------------------------------------------------------------------------------------------------------

class Walker {
  constructor(name) {
    this.name = name;
    this.rooms = new Map(); // room -> last number, 0 none yet
    this.socket = io(url, { forceNew: true, transports: ['websocket'], reconnectionDelay: 50, reconnectionDelayMax: 1000 });
    this.socket.on('connect', () => this.connected());
    this.socket.on('step', ({ room, n }) => this.receive(room, n));
  }

  connected() {
    if (this.socket.recovered) {
      counts.recovered++;
      return;
    }
    counts.sessions++;
    this.rooms.clear();
  }

  receive(room, n) {
    counts.received++;
    const last = this.rooms.get(room);
    if (last === undefined) {
      problem('foreign', `${this.name} got ${room} ${n} and is not in it`);
      return;
    }
    if (last > 0 && n === last && keysBeginAnew && unsure.has(`${room} ${n}`)) counts.again++;
    else if (last > 0 && n <= last) problem('twice', `${this.name} got ${room} ${n} after ${last}`);
    if (last > 0 && n > last + 1) problem('missing', `${this.name} got ${room} ${n} after ${last}, ${this.socket.recovered ? 'recovered' : 'never away'}`);
    this.rooms.set(room, Math.max(n, last));
  }

  // False: no answer. Then nobody knows.
  ask(event, room) {
    return this.socket.volatile.timeout(ANSWER).emitWithAck(event, room).then(() => true, () => false);
  }

  async join(room) {
    const pid = this.socket._pid;
    this.rooms.set(room, 0);
    while (!ending && this.socket._pid === pid && this.rooms.has(room) && !(await this.ask('join', room)));
    counts.joined++;
  }

  async leave(room) {
    const pid = this.socket._pid;
    while (!ending && this.socket._pid === pid && !(await this.ask('leave', room)));
    if (this.socket._pid === pid) this.rooms.delete(room);
    counts.left++;
  }

  async step() {
    if (!this.socket.connected) return;
    if (rand.next() < CUT) {
      this.socket.io.engine.close();
      return;
    }
    const room = rand.pick(rooms);
    if (this.rooms.has(room)) await this.leave(room);
    else await this.join(room);
  }

  async walk() {
    while (!finishing) {
      await delay(rand.between(...STEP));
      await this.step();
    }
  }

  complete() {
    return this.socket.connected && [...this.rooms].every(([room, last]) => last === 0 || last === top.get(room));
  }

  // What the rooms have that it is still in.
  judge() {
    if (!this.socket.connected) problem('missing', `${this.name} is not connected at the end`);
    for (const [room, last] of this.rooms) if (last > 0 && last < top.get(room)) problem('missing', `${this.name} has ${room} up to ${last} of ${top.get(room)}`);
  }
}

process.on('message', (message) => {
  if (message.finish) finishing = true;
});
process.on('disconnect', () => process.exit(1));
setInterval(() => process.send({ received: counts.received }), 100).unref();

const all = Array.from({ length: walkers }, (_, i) => new Walker(`walker ${i}`));
await Promise.all([...rooms.map(publish), ...all.map((walker) => walker.walk())]);
for (const deadline = Date.now() + SETTLE; Date.now() < deadline && !all.every((walker) => walker.complete());) await delay(100);
ending = true;
for (const walker of all) walker.judge();
for (const walker of all) walker.socket.disconnect();
process.send({ done: counts }, () => process.exit(0));
