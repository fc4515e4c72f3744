// Thousands of Socket.IO clients in one process: the protocol of socket.io-client 4 over WebSocket, written on bare sockets. They answer pings, come back after
// the delays of socket.io-client (1 s, doubled up to 5 s, each 50 % shorter or longer) with the session and position that they have, and send again under its
// key what was not acknowledged.
import net from 'node:net';

import { OP, closePayload, frame, parseFrame, parseResponse, text, upgradeRequest } from '../integration/wire.mjs';
import { Peak } from './ledger.mjs';

const DELAY = 1000, DELAY_MAX = 5000, DELAY_JITTER = 0.5; // reconnectionDelay, reconnectionDelayMax, randomizationFactor
const CONNECT_TIMEOUT = 20_000; // `timeout` of socket.io-client
const ANSWER_TIMEOUT = 15_000;
const AGAIN = 200; // ms until what was not stored is sent again
const SWEEP = 1000;
const PATH = '/socket.io/?EIO=4&transport=websocket';

const scratch = Buffer.alloc(64 << 10); // all sockets read into it: one at a time, and each takes what is its own at once

export class Client {
  constructor(swarm, name) {
    this.swarm = swarm;
    this.name = name;
    this.attempts = 0;
    this.ackId = 0;
    this.acks = new Map(); // id of the acknowledgement -> entry, of this connection
    this.unstored = new Map(); // key -> entry
    this.next = this.own = this.told = 0; // ledger.mjs
    this.sessions = 0;
    this.connected = false;
  }

  get node() {
    return this.sid?.split('.')[0];
  }

  open() {
    this.timer = undefined;
    this.swarm.handshakes.count(performance.now());
    this.upgraded = false;
    this.rest = null;
    this.since = performance.now();
    const onread = { buffer: scratch, callback: (n, buffer) => this.read(socket, buffer.subarray(0, n)) };
    const socket = net.connect({ host: this.swarm.host, port: this.swarm.port, noDelay: true, onread });
    this.socket = socket;
    socket.on('connect', () => socket.write(upgradeRequest(PATH, { Host: `${this.swarm.host}:${this.swarm.port}` }).text));
    socket.on('error', (error) => this.lost(socket, error.code));
    socket.on('close', () => this.lost(socket, 'closed'));
  }

  // The connection is gone, or is given up.
  lost(socket, why) {
    if (socket !== this.socket) return;
    this.socket = undefined;
    socket.destroy();
    this.swarm.ends.set(why, (this.swarm.ends.get(why) ?? 0) + 1);
    if (this.connected) {
      this.connected = false;
      this.swarm.connected--;
      this.swarm.gone(this);
    }
    if (!this.swarm.closing) this.timer = setTimeout(() => this.open(), this.delay());
  }

  delay() {
    const { rand } = this.swarm;
    const ms = DELAY * 2 ** Math.min(this.attempts++, 10);
    return Math.min(ms * (1 + DELAY_JITTER * (2 * rand.next() - 1)), DELAY_MAX);
  }

  read(socket, bytes) {
    if (socket !== this.socket) return false;
    this.since = performance.now();
    let data = this.rest ? Buffer.concat([this.rest, bytes]) : bytes;
    if (!this.upgraded) {
      const response = parseResponse(data);
      if (response && response.status !== 101) this.lost(socket, `status ${response.status}`);
      if (response?.status === 101) {
        this.upgraded = true;
        data = data.subarray(response.length);
      }
    }
    for (let f; this.upgraded && socket === this.socket && (f = parseFrame(data)); data = data.subarray(f.length)) this.frame(socket, f);
    this.rest = data.length > 0 ? Buffer.from(data) : null;
    return true;
  }

  frame(socket, { opcode, payload }) {
    if (opcode === OP.TEXT) this.packet(payload.toString());
    else if (opcode === OP.PING) socket.write(frame(OP.PONG, payload));
    else if (opcode === OP.CLOSE) {
      socket.end(frame(OP.CLOSE, payload.length >= 2 ? closePayload(payload.readUInt16BE(0)) : ''));
      this.lost(socket, 'close frame');
    }
  }

  packet(packet) {
    if (packet === '2') this.write('3');
    else if (packet.startsWith('42')) this.event(JSON.parse(packet.slice(2)));
    else if (packet.startsWith('43')) this.answered(packet);
    else if (packet.startsWith('0')) this.opened(JSON.parse(packet.slice(1)));
    else if (packet.startsWith('40')) this.joined(JSON.parse(packet.slice(2)));
    else if (packet !== '6') this.swarm.fail(`client ${this.name} got ${packet}`);
  }

  opened({ sid, pingInterval, pingTimeout }) {
    this.sid = sid;
    this.silence = pingInterval + pingTimeout;
    this.attempts = 0;
    const session = this.pid && { pid: this.pid, offset: this.offset };
    this.write(`40${JSON.stringify({ ...session, name: this.name })}`);
  }

  joined({ pid }) {
    if (pid !== this.pid) this.sessions++;
    this.pid = pid;
    this.connected = true;
    this.swarm.connected++;
    this.swarm.back(this);
    this.acks.clear();
    for (const entry of this.unstored.values()) this.send(entry);
  }

  event([event, id, position]) {
    this.offset = position;
    this.swarm.receive(this, event, id);
  }

  answered(packet) {
    const bracket = packet.indexOf('[');
    const id = Number(packet.slice(2, bracket));
    const entry = this.acks.get(id);
    if (!entry) return; // of an earlier try
    this.acks.delete(id);
    const [answer] = JSON.parse(packet.slice(bracket));
    if (answer.ok) {
      this.unstored.delete(entry.key);
      entry.resolve(answer);
    } else if (answer.error === 'retry' || answer.error === 'unknown') {
      this.swarm.retries++;
      setTimeout(() => this.connected && this.send(entry), AGAIN);
    } else this.swarm.fail(`client ${this.name} sent ${entry.key}: ${JSON.stringify(answer)}`);
  }

  write(packet) {
    this.socket.write(text(packet));
  }

  send(entry) {
    entry.at = performance.now();
    this.acks.set(++this.ackId, entry);
    this.write(`42${this.ackId}${JSON.stringify([entry.event, entry.id])}`);
  }

  // Resolves with the position once it is stored, however often it has to be sent.
  store(event, id) {
    return new Promise((resolve) => {
      const entry = { event, id, key: `${event} ${id}`, resolve };
      this.unstored.set(entry.key, entry);
      if (this.connected) this.send(entry);
    });
  }

  sweep(now) {
    if (!this.socket) return;
    if (now - this.since > (this.connected ? this.silence : CONNECT_TIMEOUT)) this.lost(this.socket, 'silent');
    else if (this.connected)
      for (const entry of this.unstored.values()) if (now - entry.at > ANSWER_TIMEOUT) this.send(entry);
  }
}

// `hooks`: gone(client), back(client), receive(client, event, id), fail(text).
export class Swarm {
  constructor(url, count, rand, hooks) {
    const { hostname, port } = new URL(url);
    Object.assign(this, { host: hostname, port: Number(port), rand, connected: 0, retries: 0, closing: false }, hooks);
    this.handshakes = new Peak();
    this.ends = new Map(); // why connections ended: how often
    this.clients = Array.from({ length: count }, (_, i) => new Client(this, String(i)));
    this.timer = setInterval(() => {
      const now = performance.now();
      for (const client of this.clients) client.sweep(now);
    }, SWEEP);
  }

  // Begins to connect, `rate` clients a second.
  start(rate) {
    this.clients.forEach((client, i) => (client.timer = setTimeout(() => client.open(), (1000 * i) / rate)));
  }

  close() {
    this.closing = true;
    clearInterval(this.timer);
    for (const client of this.clients) {
      clearTimeout(client.timer);
      client.socket?.destroy();
    }
  }
}
