// Restarts the nodes of a cluster one after the other behind nginx, under load, and says what their clients noticed. README.md beside has the story.
//
//     node test/chaos/rolling.mjs [--clients N] [--witnesses N] [--nodes N] [--rate R] [--own SECONDS] [--jitter SECONDS] [--how stop|kill] [--seed S]
//
// Exit status 0 all promises were kept, 1 one was not, 2 misuse.
import { readFileSync } from 'node:fs';
import { monitorEventLoopDelay } from 'node:perf_hooks';
import path from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';

import { startCluster } from '../integration/cluster.mjs';
import { until } from '../integration/harness.mjs';
import { TRANSPORTS, client } from '../integration/socketio.mjs';
import { random } from './faults.mjs';
import { Everybody, Own } from './ledger.mjs';
import { misused, readArguments } from './run.mjs';
import { Swarm } from './swarm.mjs';

const HERE = path.dirname(fileURLToPath(import.meta.url));
const PUBLISHERS = 8; // clients that tell everybody something
const ARRIVE = 500; // clients a second at the beginning
const BACK = 15_000; // after a node was told to stop all of its clients are back
const CAP = 3; // handshakes in the fullest second, by those that would come in each if they came evenly; without a spread it would be `jitter`
const SHARE = 0.25; // of the clients of a node that the one restarted before it takes at least; evenly it would be one in those that are left
const PATIENCE = 120_000;
const SAMPLE = 1000;
const FDS_LEFT = 200;

export const DEFAULTS = { clients: 5000, witnesses: 20, nodes: 3, rate: 2, own: 25, jitter: 10, how: 'stop' };

// How many clients nginx can have: each takes two of its descriptors.
export function clientsPossible() {
  const [, hard] = /^Max open files +\S+ +(\S+)/m.exec(readFileSync('/proc/self/limits', 'utf8'));
  return hard === 'unlimited' ? Infinity : Math.floor((Number(hard) - FDS_LEFT) / 2);
}

export class Rolling {
  constructor(options) {
    Object.assign(this, DEFAULTS, { seed: 1, log: () => {} }, options);
    this.rand = random(this.seed);
    this.everybody = new Everybody();
    this.toThemselves = new Own();
    this.stored = []; // what everybody was told: { id, offset }
    this.toldOwn = 0;
    this.received = 0;
    this.failures = [];
    this.publishing = true;
    this.witnessed = [];
    this.memory = new Map(); // node -> most bytes
    this.longestTurn = 0;
    this.phases = [];
  }

  // `t` has after(). Resolves with { problems, ... }.
  async run(t) {
    const config = path.join(HERE, 'rolling.yaml');
    this.cluster = await startCluster(t, { nodes: this.nodes, config, set: { 'shutdown.jitter': `${this.jitter}s` } });
    this.swarm = new Swarm(this.cluster.url, this.clients, this.rand, {
      gone: (reader) => this.gone(reader),
      back: (reader) => this.back(reader),
      receive: (reader, event, id) => this.receive(reader, event, id),
      fail: (text) => this.failures.push(text),
    });
    const lag = monitorEventLoopDelay({ resolution: 10 });
    try {
      await this.connect(t);
      lag.enable();
      this.sampler = setInterval(() => this.sample(), SAMPLE);
      const publishers = this.publish();
      for (let i = 1; i <= this.nodes; i++) await this.restart(`n${i}`);
      this.publishing = false;
      await Promise.all(publishers);
      await this.settle();
    } finally {
      clearInterval(this.sampler);
      this.swarm.close();
    }
    lag.disable();
    this.lag = lag.max / 1e6;
    return this.judge();
  }

  get readers() {
    return [...this.swarm.clients, ...this.witnessed];
  }

  get connected() {
    return this.swarm.connected + this.witnessed.filter(({ socket }) => socket.connected).length;
  }

  all() {
    return this.connected === this.clients + this.witnesses;
  }

  check() {
    if (this.failures.length > 0) throw new Error(this.failures[0]);
    return true;
  }

  wait(what, probe, ms = PATIENCE) {
    return until(what, () => this.failures.length > 0 || probe(), ms).then(() => this.check());
  }

  async connect(t) {
    this.swarm.start(ARRIVE);
    const kinds = ['websocket', 'websocket', 'upgrade', 'polling'].map((name) => TRANSPORTS[name]);
    for (let i = 0; i < this.witnesses; i++) this.witnessed.push(this.witness(t, kinds[i % kinds.length], `witness-${i}`));
    await this.wait('all clients are connected', () => this.all(), PATIENCE + (1000 * this.clients) / ARRIVE);
    this.log(`${this.connected} clients are connected, ${JSON.stringify(this.spread())}`);
  }

  // One of socket.io-client, as it is.
  witness(t, transport, name) {
    const socket = client(t, this.cluster.url, { ...transport, reconnectionDelay: 1000, reconnectionDelayMax: 5000, timeout: 20_000, auth: { name } });
    const reader = { name, socket, next: 0, own: 0, told: 0, sessions: 0 };
    socket.on('connect', () => {
      reader.node = socket.io.engine.id.split('.')[0];
      if (!socket.recovered) reader.sessions++;
      this.back(reader);
    });
    socket.on('disconnect', () => this.gone(reader));
    socket.on('said', (id) => this.receive(reader, 'said', id));
    return reader;
  }

  // Clients by node.
  spread() {
    const counts = Object.fromEntries(Array.from({ length: this.nodes }, (_, i) => [`n${i + 1}`, 0]));
    for (const { node } of this.readers) counts[node]++;
    return counts;
  }

  // ---- what clients tell ----

  gone(reader) {
    reader.goneAt = performance.now();
    if (this.phase) this.phase.away++;
  }

  back(reader) {
    if (!this.phase || reader.goneAt === undefined) return;
    const now = performance.now();
    this.phase.last = now;
    this.phase.times.push(now - reader.goneAt);
    reader.goneAt = undefined;
  }

  receive(reader, event, id) {
    this.received++;
    if (event === 'said') this.everybody.receive(reader, id);
    else if (event === 'own') this.toThemselves.receive(reader, id);
    else this.failures.push(`an event ${event}`);
  }

  publish() {
    const tellers = this.swarm.clients.slice(0, PUBLISHERS).map((teller) => this.tellEverybody(teller, (1000 * Math.min(PUBLISHERS, this.clients)) / this.rate));
    const own = this.swarm.clients.map((teller) => this.tellOneself(teller));
    return [...tellers, ...own];
  }

  // The next one goes when this one is stored.
  async tellEverybody(teller, every) {
    await delay(this.rand.next() * every);
    for (let i = 1; this.publishing; i++) {
      const id = `${teller.name}-${i}`;
      const { offset } = await teller.store('said', id);
      this.stored.push({ id, offset });
      await delay(every);
    }
  }

  async tellOneself(teller) {
    const every = 1000 * this.own;
    for (let pause = this.rand.next() * every; this.publishing; pause = every * (0.5 + this.rand.next())) {
      await this.pause(pause);
      if (!this.publishing) break;
      await teller.store('own', teller.told + 1);
      teller.told++;
      this.toldOwn++;
    }
  }

  // Up to this long: shorter when publishing ends.
  async pause(ms) {
    const end = performance.now() + ms;
    while (this.publishing && performance.now() < end) await delay(Math.min(1000, end - performance.now() + 1));
  }

  // ---- what happens ----

  async restart(name) {
    const began = performance.now();
    const phase = { name, began, away: 0, last: began, times: [], had: this.readers.filter(({ node }) => node === name).length };
    this.phase = phase;
    await this.cluster.act(this.how, name);
    phase.stopped = performance.now() - began;
    await this.cluster.act('start', name);
    phase.started = performance.now() - began;
    await this.wait(`the clients of ${name} are back`, () => this.all());
    phase.back = phase.last - began;
    phase.peak = this.swarm.handshakes.most(began, performance.now());
    phase.spread = this.spread();
    phase.times.sort((a, b) => a - b);
    this.phases.push(phase);
    this.log(this.tell(phase));
    // What the load does to the new one, before the next goes.
    await delay(2000);
  }

  tell({ name, had, away, back, stopped, started, peak, times, spread }) {
    const s = (ms) => `${(ms / 1000).toFixed(1)} s`;
    const at = (q) => (times.length > 0 ? s(times[Math.min(times.length - 1, Math.floor(times.length * q))]) : '-');
    return `${name}: ${had} clients, ${away} were cut off, the last one was back after ${s(back)} (away: median ${at(0.5)}, 99 % ${at(0.99)}, longest ${at(1)}); at most ${peak} handshakes a second, `
      + `${Math.round(this.cap(had) / CAP)} would be even; ended after ${s(stopped)}, ready again after ${s(started)}; ${JSON.stringify(spread)}`;
  }

  async sample() {
    for (let i = 1; i <= this.nodes; i++) {
      const name = `n${i}`;
      try {
        this.memory.set(name, Math.max(this.memory.get(name) ?? 0, await this.cluster.metric(name, 'process_resident_memory_bytes')));
        this.longestTurn = Math.max(this.longestTurn, await this.cluster.metric(name, 'loop_longest_turn_seconds'));
      } catch {
        // it is being restarted
      }
    }
  }

  // Everybody has everything, or judge() says what is missing.
  async settle() {
    const whole = () => this.readers.every((reader) => this.everybody.has(reader)) && this.swarm.clients.every((reader) => this.toThemselves.has(reader));
    await until('everybody has everything', () => this.failures.length > 0 || whole(), PATIENCE).catch((error) => this.log(error.message));
    this.check();
    // What came twice would have come before this.
    const { offset } = await this.swarm.clients[0].store('said', 'the end');
    this.stored.push({ id: 'the end', offset });
    await until('everybody has the end', () => whole(), PATIENCE).catch((error) => this.log(error.message));
    const wanted = this.stored.length + this.toldOwn;
    const count = async () => (this.rows = Number((await this.cluster.rows('select count(*) from rtbroker.message'))[0][0])) >= wanted;
    await until('PostgreSQL has everything', count, PATIENCE).catch((error) => this.log(error.message));
  }

  cap(clients) {
    return (CAP * clients) / Math.max(this.jitter, 1);
  }

  judge() {
    const problems = [...this.everybody.judge(this.readers, this.stored), ...this.toThemselves.judge(this.swarm.clients)];
    const anew = this.readers.filter(({ sessions }) => sessions > 1).length;
    if (anew > 0) problems.push(`clients that came back with a new session: ${anew}`);
    const wanted = this.stored.length + this.toldOwn;
    if (this.rows !== wanted) problems.push(`PostgreSQL has ${this.rows} rows of ${wanted}`);
    for (const [i, phase] of this.phases.entries()) {
      const former = this.phases[i - 1]?.name;
      if (former && phase.spread[former] < SHARE * phase.had) problems.push(`${former}, restarted before ${phase.name}, has ${phase.spread[former]} of its ${phase.had} clients`);
      if (phase.back > BACK) problems.push(`${phase.name}: the last one was back after ${Math.round(phase.back)} ms, ${BACK} are promised`);
      // Nobody can spread the clients of a node that was killed.
      if (this.how === 'stop' && phase.peak > this.cap(phase.had)) problems.push(`${phase.name}: ${phase.peak} handshakes in one second, the cap is ${Math.round(this.cap(phase.had))}`);
    }
    return { problems, phases: this.phases, moved: this.phases.reduce((sum, { away }) => sum + away, 0) };
  }

  describe() {
    const mb = (bytes) => `${(bytes / 1e6).toFixed(0)} MB`;
    const memory = [...this.memory].map(([name, bytes]) => `${name} ${mb(bytes)}`).join(', ');
    const ends = [...this.swarm.ends].map(([why, n]) => `${why} ${n}`).join(', ');
    return [
      `clients: ${this.clients} light ones, ${this.witnesses} of socket.io-client; ${this.received} deliveries`,
      `stored: ${this.stored.length} for everybody, ${this.toldOwn} of clients to themselves; ${this.rows} rows in PostgreSQL; sent again: ${this.swarm.retries} after \`retry\` or \`unknown\``,
      `lost: ${this.everybody.lost + this.toThemselves.lost}, twice: ${this.everybody.twice + this.toThemselves.twice}`,
      `memory of nodes at most: ${memory}; longest turn of a loop: ${(this.longestTurn * 1000).toFixed(0)} ms; longest stop of this program: ${this.lag.toFixed(0)} ms`,
      `ends of connections: ${ends}`,
    ].join('\n');
  }
}

// ---- command line ----------------------------------------------------------------------------------------------------

function readOptions() {
  const numbers = Object.keys(DEFAULTS).filter((name) => name !== 'how');
  const values = readArguments([...numbers, 'seed'], ['clients', 'rate', 'own'], ['how']);
  if (values.how && !['stop', 'kill'].includes(values.how)) misused(`--how ${values.how}: stop and kill are possible`);
  if (values.nodes < 2) misused(`--nodes ${values.nodes}: at least 2`);
  values.seed ??= Math.floor(Math.random() * 1e9);
  const options = { ...DEFAULTS, ...values };
  const possible = clientsPossible() - options.witnesses;
  if (options.clients > possible) misused(`--clients ${options.clients}: the limit of descriptors allows ${possible}`);
  return options;
}

async function main() {
  const options = readOptions();
  const finish = [];
  const start = performance.now();
  const log = (text) => console.log(`[${((performance.now() - start) / 1000).toFixed(0)} s] ${text}`);
  process.once('SIGINT', () => process.exit(130)); // the cluster's script sees the end of its input
  process.once('SIGTERM', () => process.exit(143));
  let problems;
  try {
    const rolling = new Rolling({ ...options, log });
    ({ problems } = await rolling.run({ after: (fn) => finish.push(fn) }));
    console.log(rolling.describe());
  } catch (error) {
    problems = [error.stack];
  }
  for (const fn of finish) await fn().catch((error) => problems.push(error.message));
  for (const problem of problems) console.error(`rolling.mjs: ${problem}`);
  console.log(`${problems.length === 0 ? 'ok' : 'FAILED'}, seed ${options.seed}`);
  process.exit(problems.length === 0 ? 0 : 1);
}

if (process.argv[1] === fileURLToPath(import.meta.url)) await main();
