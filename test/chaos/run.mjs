// Publishes to a cluster of real servers while they are killed and frozen, then checks what came of it. README.md beside has the story.
//
//     node test/chaos/run.mjs [--publishes N] [--kills K] [--pauses P] [--seed S] [--nodes N] [--channels N] [--subscribers N] [--rate R] [--size BYTES]
//                             [--without postgres] [--dir DIR]
//
// DIR: for the logs, new or empty; it stays. Otherwise they go when all was well. Exit status 0 all was well, 1 it was not, 2 misuse.
import { fork } from 'node:child_process';
import { mkdirSync, mkdtempSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';

import { startCluster } from '../integration/cluster.mjs';
import { until } from '../integration/harness.mjs';
import { check, describe } from './check.mjs';
import { collectKafka, collectPostgres, countRows } from './collect.mjs';
import { plan, tell } from './faults.mjs';

const HERE = path.dirname(fileURLToPath(import.meta.url));
const RECOVERY = 120_000; // until all is well after a fault
const SETTLE = 60_000; // until everybody has everything at the end
const SERVICES = ['redis', 'kafka', 'postgres'];

export const DEFAULTS = { publishes: 1_000_000, kills: 20, pauses: 5, nodes: 3, channels: 96, subscribers: 2, rate: 0, size: 100 };

// A child process that says how far it is.
export class Worker {
  constructor(script, options) {
    this.script = script;
    this.progress = 0;
    this.child = fork(path.join(HERE, script), [JSON.stringify(options)], { stdio: ['ignore', 'inherit', 'inherit', 'ipc'] });
    this.child.on('message', (message) => this.read(message));
    this.child.on('exit', (code, signal) => {
      if (!this.counts) this.failed ??= `${script} ended with ${signal ?? code}`;
    });
  }

  read(message) {
    if (message.failed) this.failed = message.failed;
    if (message.done) this.counts = message.done;
    this.progress = message.acked ?? message.received ?? this.progress;
  }

  send(message) {
    if (this.child.connected) this.child.send(message);
  }

  check() {
    if (this.failed) throw new Failed(this.failed);
  }

  // Its counts, once it has written all.
  async end(ms, windows) {
    if (!this.counts) this.send({ finish: true, windows });
    await until(`${this.script} ends`, () => this.counts || this.failed, ms);
    this.check();
    return this.counts;
  }

  kill() {
    this.child.kill('SIGKILL');
  }
}

export class Failed extends Error {}

export class Chaos {
  // `cluster`: one that runs already, then `prefix` keeps the channels of several runs apart: chaos:NAME- each. `dir`: for the logs.
  constructor(options) {
    Object.assign(this, DEFAULTS, { without: ['nginx'], seed: 1, prefix: 'chaos:', brokers: 1, operated: false, log: () => {} }, options);
    this.services = SERVICES.filter((name) => !this.without.includes(name));
    this.groups = plan(this);
    this.workers = [];
    this.faulty = new Set();
    this.restarts = 0;
  }

  // `t` has after(). Resolves with the verdict of the checker.
  async run(t) {
    this.begin();
    this.cluster ??= await this.start(t);
    try {
      await this.publishAll();
      await this.settle();
      const counts = await this.endWorkers();
      await this.collect(counts);
    } finally {
      for (const worker of this.workers) worker.kill();
    }
    return check(this.dir);
  }

  begin() {
    this.log(`seed ${this.seed}, ${this.publishes} publishes; faults by messages acknowledged:\n${this.groups.map((g) => `  ${tell(g)}`).join('\n')}`);
  }

  start(t) {
    const set = this.services.includes('postgres') ? {} : { channels: '[{match: "chaos:*", log: true, history: {size: 20000}}]' };
    return startCluster(t, { nodes: this.nodes, brokers: this.brokers, config: path.join(HERE, 'chaos.yaml'), without: this.without, set });
  }

  // Where subscribers begin: at the beginning of the log, which only the store can tell from a log that was cut. Without it: where the log is; nodes
  // that started at one time have left markers there, so that the furthest node counts.
  async beginnings(channels) {
    if (this.services.includes('postgres')) return channels.map(() => '0');
    return Promise.all(channels.map(async (channel) => {
      const tops = await Promise.all(this.cluster.nodes.map((_, i) => this.cluster.api(`n${i + 1}`, 'history', { channel })));
      const { epoch, offset } = tops.reduce((a, b) => (a.offset >= b.offset ? a : b));
      return `${epoch}:${offset}`;
    }));
  }

  async startWorkers() {
    const channels = Array.from({ length: this.channels }, (_, i) => `${this.prefix}c${String(i).padStart(3, '0')}`);
    const common = { nodes: this.cluster.nodes, apiKey: this.cluster.env.RT_API_KEY, channels };
    const from = await this.beginnings(channels);
    this.readers = Array.from({ length: this.subscribers },
      (_, i) => new Worker('subscriber.mjs', { ...common, from, first: i, file: path.join(this.dir, `sub-${i + 1}`) }));
    const { publishes, rate, size, measure } = this;
    this.publisher = new Worker('publisher.mjs', { ...common, publishes, rate, size, measure, file: path.join(this.dir, 'published') });
    this.workers = [this.publisher, ...this.readers];
  }

  // Publishers may go up to where the next faults come, so that these come while there is something to break.
  async publishAll() {
    await this.startWorkers();
    for (const [i, group] of this.groups.entries()) {
      this.publisher.send({ budget: Math.max(group.at, 1) });
      await this.reaches(group.at);
      this.publisher.send({ budget: this.groups[i + 1]?.at ?? this.publishes });
      await this.strike(group);
    }
    this.publisher.send({ budget: this.publishes });
    await this.reaches(this.publishes);
  }

  async reaches(acked) {
    let last = -1;
    while (this.publisher.progress < acked && !this.publisher.counts) {
      // As long as it goes on it may take its time.
      last = this.publisher.progress;
      await until(`more than ${last} publishes are acknowledged`, () => this.publisher.progress > last || this.publisher.counts || this.anyFailed(), RECOVERY);
      this.workers.forEach((worker) => worker.check());
    }
  }

  anyFailed() {
    return this.workers.some((worker) => worker.failed);
  }

  async strike(group) {
    const before = this.publisher.progress;
    const start = performance.now();
    await Promise.all(group.faults.map((fault) => this.fault(fault)));
    await this.recovered();
    const seconds = ((performance.now() - start) / 1000).toFixed(1);
    this.log(`${tell(group)}; all well after ${seconds} s, ${this.publisher.progress - before} acknowledged meanwhile`);
  }

  async fault({ how, part, after, down }) {
    await delay(after);
    this.faulty.add(part);
    await this.cluster.act(how, part);
    await delay(down);
    if (how === 'kill') await this.restart(part);
    else await this.cluster.act('resume', part);
    this.faulty.delete(part);
  }

  // A node does not start without its services: it is started again, as its supervisor would. A service has to start.
  async restart(part) {
    const deadline = performance.now() + RECOVERY;
    for (;;) {
      const others = [...this.faulty].filter((name) => name !== part);
      try {
        return await this.cluster.act('start', part);
      } catch (error) {
        if (!part.startsWith('n') || others.length === 0 || performance.now() > deadline) throw error;
        this.restarts++;
        await delay(500);
      }
    }
  }

  async recovered() {
    for (let i = 1; i <= this.nodes; i++)
      await until(`n${i} is ready again`, async () => {
        const { status, backends } = await this.cluster.ready(`n${i}`);
        return status === 200 && Object.values(backends ?? {}).every((backend) => backend.up !== false);
      }, RECOVERY);
  }

  // Everybody has everything, or the checker says what is missing.
  async settle() {
    const all = this.publisher.progress;
    for (const reader of this.readers) await this.patiently(`a subscriber has all ${all}`, () => reader.progress >= all);
    // What was sent again may be on its way yet, for the first time.
    for (let i = 1; i <= this.nodes; i++) await this.patiently(`n${i} has nothing under way`, async () => (await this.cluster.metric(`n${i}`, 'journal_queue_bytes')) === 0);
  }

  patiently(what, probe) {
    return until(what, probe, SETTLE).catch((error) => this.log(error.message));
  }

  async endWorkers() {
    const published = await this.publisher.end(RECOVERY, this.windows);
    const read = await Promise.all(this.readers.map((reader) => reader.end(RECOVERY, this.windows)));
    const tally = (counts) => JSON.stringify({ ...counts, windows: undefined });
    this.log(`publishers: ${tally(published)}\nsubscribers: ${read.map(tally)}\nnodes that ended for want of a service and were started again: ${this.restarts}`);
    return published;
  }

  async collect({ acked, open }) {
    const { RT_POSTGRES_URL: url } = this.cluster.env;
    const postgres = this.services.includes('postgres');
    await this.collectTopic();
    if (postgres) await this.collectStore(url, this.records);
    const run = { acked, open, subscribers: this.readers.map((_, i) => String(i + 1)), postgres, seed: this.seed, operated: this.operated };
    writeFileSync(path.join(this.dir, 'run.json'), JSON.stringify(run));
  }

  // What the topic has now, behind what was collected before.
  async collectTopic() {
    const { RT_KAFKA_BROKERS: brokers, RT_KAFKA_TOPIC: topic } = this.cluster.env;
    const { records, aside } = await collectKafka(this.dir, { brokers, topic, prefix: this.prefix });
    this.records = (this.records ?? 0) + records;
    this.aside = [...(this.aside ?? []), ...aside];
  }

  // Each record is a row, a repetition or a dead letter.
  async collectStore(url, records) {
    const stored = async () => {
      const { rows, repeats, dead } = await countRows(url);
      return rows + repeats + dead >= records;
    };
    await this.patiently(`PostgreSQL has all ${records} records`, stored);
    await collectPostgres(this.dir, url, this.prefix);
    const { dead, strange } = await countRows(url);
    if (dead > strange) throw new Failed(`${dead - strange} records were put aside as dead letters`);
  }
}

// ---- command line ----------------------------------------------------------------------------------------------------

const PROGRAM = path.basename(process.argv[1] ?? '');

export function misused(text) {
  console.error(`${PROGRAM}: ${text}`);
  process.exit(2);
}

// The arguments; those of `numbers` as whole numbers, and those of `least1` not zero.
export function readArguments(numbers, least1, texts) {
  const options = Object.fromEntries([...numbers, ...texts].map((name) => [name, { type: 'string' }]));
  let values;
  try {
    ({ values } = parseArgs({ options }));
  } catch (error) {
    misused(error.message);
  }
  for (const name of numbers) {
    if (values[name] === undefined) continue;
    if (!/^\d{1,9}$/.test(values[name])) misused(`--${name} ${values[name]}: a whole number is possible`);
    values[name] = Number(values[name]);
  }
  for (const name of least1) if (values[name] === 0) misused(`--${name} 0: at least 1`);
  return values;
}

function readOptions() {
  const least1 = ['publishes', 'nodes', 'channels', 'subscribers'];
  const values = readArguments([...least1, 'kills', 'pauses', 'seed', 'rate', 'size'], least1, ['without', 'dir']);
  values.seed ??= Math.floor(Math.random() * 1e9);
  const without = values.without?.split(',') ?? [];
  if (without.some((name) => name !== 'postgres')) misused(`--without ${without}: only postgres can be left out`);
  values.without = ['nginx', ...without];
  return values;
}

// Makes the run by `make({ dir, log })`, does it, says what came of it and ends the process. `dir`: for the logs, as the user wants it.
export async function perform(dirOption, make) {
  const keep = dirOption !== undefined;
  if (keep) mkdirSync(dirOption, { recursive: true });
  const dir = keep ? path.resolve(dirOption) : mkdtempSync(path.join(os.tmpdir(), 'rtb-chaos-'));
  if (readdirSync(dir).length > 0) misused(`${dir} is not empty`);
  const finish = [];
  const start = performance.now();
  let ok = false;
  const stamp = () => `${((performance.now() - start) / 1000).toFixed(0)} s`;
  process.once('SIGINT', () => process.exit(130)); // the cluster's script sees the end of its input
  process.once('SIGTERM', () => process.exit(143));
  try {
    const run = make({ dir, log: (text) => console.log(`[${stamp()}] ${text}`) });
    const verdict = await run.run({ after: (fn) => finish.push(fn) });
    console.log(describe(verdict));
    ok = verdict.ok;
  } catch (error) {
    console.error(`${PROGRAM}: ${error instanceof Failed ? error.message : error.stack}`);
  }
  for (const fn of finish)
    await fn().catch((error) => {
      console.error(error.message);
      ok = false;
    });
  if (ok && !keep) rmSync(dir, { recursive: true });
  else console.log(`logs: ${dir}`);
  console.log(`${ok ? 'ok' : 'FAILED'} after ${stamp()}`);
  process.exit(ok ? 0 : 1);
}

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  const options = readOptions();
  await perform(options.dir, (where) => new Chaos({ ...options, ...where }));
}
