// An operator's day: what people do to a running system, over and over, while publishers and subscribers go on as in a chaos run. README.md beside has the story.
//
//     node test/chaos/operator.mjs [--minutes M] [--acts LIST] [--seed S] [--rate R] [--nodes N] [--brokers N] [--channels N] [--subscribers N] [--walkers N] [--size BYTES] [--dir DIR]
//
// Exit status 0 all was well, 1 it was not, 2 misuse.
import { execFile, execFileSync, spawn } from 'node:child_process';
import { chmodSync, existsSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';

import { ROOT, until } from '../integration/harness.mjs';
import { addPartitions, createTopic, deleteTopic } from '../integration/producer.mjs';
import { random, shuffle } from './faults.mjs';
import { Chaos, Failed, Worker, misused, perform, readArguments } from './run.mjs';

const run = promisify(execFile);
const BETWEEN = 2000; // ms from the end of one act, when all is well, to the next
const PROGRESS = 150_000; // for publishes to go on after an act: an interrupted transaction is open for a minute, and who publishes with a key waits for it
const PATIENCE = 120_000; // for all to have what they should
const ROOMS = 8;
const MOST_PARTITIONS = 64;
const QUIET = 5000; // subscribers have all that they will get when nothing came for as long
const JUMP = 20 * 60; // seconds that a clock is set ahead or back
const FAKETIME = '/usr/lib/x86_64-linux-gnu/faketime/libfaketimeMT.so.1';

// ---- acts: each resolves when it is over, and the cluster may heal -------------------------------------------------------

// Another program with a transaction of some seconds, in a channel of its own. kcat commits at the end of its input, and aborts when it is interrupted. It keeps its
// input until its buffer is full, so there is more of it than that.
async function transaction(day, { abort }) {
  const { RT_KAFKA_BROKERS: brokers, RT_KAFKA_TOPIC: topic } = day.cluster.env;
  const id = `stranger-${day.acted}`;
  const args = ['-P', '-b', brokers, '-t', topic, '-K', '|', '-X', `transactional.id=${id}`, '-X', 'linger.ms=5'];
  const child = spawn('kcat', args, { stdio: ['pipe', 'ignore', 'pipe'] });
  let errors = '';
  child.stderr.on('data', (chunk) => (errors += chunk));
  const exit = new Promise((resolve) => child.on('close', (code, signal) => resolve({ code, signal })));
  for (let i = 0; i < 500; i++) child.stdin.write(`stranger:${i}|{"i":${i},"pad":"${'x'.repeat(200)}"}\n`);
  await delay(day.rand.between(1000, 12_000));
  if (abort) child.kill('SIGINT');
  child.stdin.end();
  const { code } = await exit;
  if (!abort && code !== 0) throw new Error(`kcat ended with ${code}: ${errors}`);
}

// Somebody's partitioner is another one.
async function misplaced(day) {
  const { RT_KAFKA_BROKERS: brokers, RT_KAFKA_TOPIC: topic } = day.cluster.env;
  const child = spawn('kcat', ['-P', '-b', brokers, '-t', topic, '-p', String(day.rand.below(16)), '-K', '|'], { stdio: ['pipe', 'ignore', 'inherit'] });
  for (let i = 0; i < 20; i++) child.stdin.write(`stranger:${i}|{"i":${i}}\n`);
  child.stdin.end();
  await new Promise((resolve) => child.on('close', resolve));
}

// Some more each time, up to a number that a small machine can bear.
async function partitions(day) {
  const { RT_KAFKA_BROKERS: brokers, RT_KAFKA_TOPIC: topic } = day.cluster.env;
  const now = await day.cluster.metric('n1', 'kafka_partitions');
  const count = now + 1 + day.rand.below(8);
  if (count > MOST_PARTITIONS) return;
  await addPartitions(brokers, topic, count);
  for (const node of day.names) await until(`${node} goes by ${count} partitions`, async () => (await day.cluster.metric(node, 'kafka_partitions')) === count, PATIENCE);
}

// The topic is deleted and made anew while publishers go on. They are held back only until what they were told is known: the topic's records go with it.
async function topicAnew(day) {
  const { RT_KAFKA_BROKERS: brokers, RT_KAFKA_TOPIC: topic } = day.cluster.env;
  const count = await day.cluster.metric('n1', 'kafka_partitions');
  day.publisher.send({ budget: 0 });
  await day.quiet();
  await day.collectTopic();
  await deleteTopic(brokers, topic);
  day.publisher.send({ budget: day.publishes });
  await delay(day.rand.between(0, 5000));
  await until('the topic can be made again', () => createTopic(brokers, topic, count, Math.min(day.brokers, 3)).then(() => true, () => false), PATIENCE);
}

// Redis loses what it was told since a snapshot.
async function redisBack(day) {
  const dump = path.join(day.cluster.dir, 'redis', 'dump.rdb');
  await day.cluster.redis('SAVE');
  await delay(day.rand.between(1000, 4000));
  await day.cluster.act('kill', 'redis');
  await day.cluster.act('start', 'redis');
  rmSync(dump, { force: true }); // a later kill begins with nothing, as before
}

const redisEmptied = (day) => day.cluster.redis('FLUSHALL');

// PostgreSQL is set back to a copy that is some seconds old.
async function postgresBack(day) {
  const data = path.join(day.cluster.dir, 'postgres', 'data');
  const copy = path.join(day.cluster.dir, 'postgres', 'copy');
  await day.cluster.act('stop', 'postgres');
  await run('cp', ['-a', data, copy]);
  await day.cluster.act('start', 'postgres');
  await delay(day.rand.between(2000, 6000));
  await day.cluster.act('stop', 'postgres');
  renameSync(data, `${data}.lost`);
  renameSync(copy, data);
  rmSync(`${data}.lost`, { recursive: true });
  await day.cluster.act('start', 'postgres');
}

// A node's clock is wrong for a while, then right again.
async function clock(day) {
  const node = day.node();
  day.setClock(node, (day.rand.next() < 0.5 ? -1 : 1) * JUMP);
  await delay(day.rand.between(4000, 10_000));
  day.setClock(node, 0);
}

// The channels' rules are rolled out, one node after the other: streams of the run stay logged, a room that nobody uses changes.
async function rules(day) {
  day.generation = (day.generation ?? 0) + 1;
  const others = `{match: "generation:${day.generation}", log: ${day.generation % 2 === 0}, subscribe: nobody, publish: nobody}`;
  const ours = ['chaos', 'walk'].map((name) => `{match: "${name}:*", log: true, history: {size: 1000, ttl: 1h}, subscribe: nobody, publish: nobody}`);
  const value = `channels=[${[...ours, others].join(', ')}]`;
  for (const node of day.names) {
    await day.cluster.set(node, value);
    await day.cluster.act('stop', node);
    await day.cluster.act('start', node);
  }
}

async function kill(day) {
  const part = day.rand.pick([...day.names, 'redis', ...day.kafkas]);
  await day.cluster.act('kill', part);
  await delay(day.rand.between(0, 4000));
  await day.restart(part);
}

// The broker that leads most partitions.
async function leader(day) {
  const { RT_KAFKA_BROKERS: brokers, RT_KAFKA_TOPIC: topic } = day.cluster.env;
  const { stdout } = await run('kcat', ['-b', brokers, '-L', '-J', '-t', topic], { timeout: PATIENCE });
  const leads = new Map();
  for (const { leader: id } of JSON.parse(stdout).topics[0].partitions) leads.set(id, (leads.get(id) ?? 0) + 1);
  const [id] = [...leads].reduce((a, b) => (b[1] > a[1] ? b : a));
  const part = day.kafkas[id - 1];
  await day.cluster.act('kill', part);
  await delay(day.rand.between(0, 12_000));
  await day.restart(part);
}

async function freeze(day) {
  const part = day.rand.pick([...day.names, 'redis', ...day.kafkas, 'postgres']);
  await day.cluster.act('pause', part);
  await delay(day.rand.between(500, 8000));
  await day.cluster.act('resume', part);
}

const ACTS = {
  'transaction': (day) => transaction(day, { abort: false }),
  'aborted': (day) => transaction(day, { abort: true }),
  'misplaced': misplaced,
  'partitions': partitions,
  'topic': topicAnew,
  'redis-back': redisBack,
  'redis-emptied': redisEmptied,
  'postgres-back': postgresBack,
  'clock': clock,
  'rules': rules,
  'kill': kill,
  'leader': leader,
  'freeze': freeze,
};

// ---- the day -------------------------------------------------------------------------------------------------------------

class OperatorDay extends Chaos {
  constructor(options) {
    super({ rate: 200, channels: 32, walkers: 24, minutes: 30, ...options, without: [], operated: true, publishes: 1e9, kills: 0, pauses: 0 });
    this.rand = random(this.seed);
    this.names = Array.from({ length: this.nodes }, (_, i) => `n${i + 1}`);
    this.kafkas = Array.from({ length: this.brokers }, (_, i) => `kafka${i === 0 ? '' : i + 1}`);
    this.acted = 0;
  }

  begin() {
    this.log(`seed ${this.seed}, ${this.minutes} minutes of: ${this.acts.join(', ')}`);
  }

  // Nodes run under a clock that can be set, where an act wants it.
  start(t) {
    if (this.acts.includes('clock')) this.wrapNodes();
    return super.start(t);
  }

  wrapNodes() {
    if (!existsSync(FAKETIME)) throw new Failed(`no ${FAKETIME} here (package faketime); or leave out the act: --acts`);
    // librdkafka waits by timespec_get() and cnd_timedwait(). libfaketime changes the first and not the second, so that it would wait for 20 minutes, or not at
    // all. Without either it waits as it does when a clock is set; what it takes for the time of a record is changed all the same.
    const shim = path.join(this.dir, 'timespec_get');
    writeFileSync(`${shim}.c`, `#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>
int timespec_get(struct timespec *t, int base) { return syscall(SYS_clock_gettime, CLOCK_REALTIME, t) == 0 ? base : 0; }
`);
    execFileSync('cc', ['-shared', '-fPIC', '-o', `${shim}.so`, `${shim}.c`]);
    const wrapper = path.join(this.dir, 'rtbroker-clock');
    const binary = process.env.RTBROKER ?? path.join(ROOT, 'rtbroker');
    writeFileSync(wrapper, `#!/bin/sh
for argument; do case $argument in node.name=*) name=\${argument#node.name=};; esac; done
[ -e '${this.dir}/clock.'$name ] || echo +0 >'${this.dir}/clock.'$name
export LD_PRELOAD=${shim}.so:${FAKETIME} FAKETIME_TIMESTAMP_FILE='${this.dir}/clock.'$name FAKETIME_DONT_FAKE_MONOTONIC=1 FAKETIME_CACHE_DURATION=1 FAKETIME_DONT_RESET=1
exec '${binary}' "$@"
`);
    chmodSync(wrapper, 0o755);
    process.env.RTBROKER = wrapper;
  }

  setClock(node, seconds) {
    writeFileSync(path.join(this.dir, `clock.${node}`), `${seconds < 0 ? '' : '+'}${seconds}\n`);
  }

  node() {
    return this.rand.pick(this.names);
  }

  // Every act comes once before any comes again.
  next() {
    if (!this.queue?.length) this.queue = shuffle([...this.acts], this.rand);
    return this.queue.pop();
  }

  startWalkers() {
    const rooms = Array.from({ length: ROOMS }, (_, i) => `walk:${i}`);
    const { url, nodes, env } = this.cluster;
    const walkers = new Worker('walkers.mjs', { url, nodes, apiKey: env.RT_API_KEY, rooms, walkers: this.walkers, seed: this.seed, keysBeginAnew: ['partitions', 'topic'].some((name) => this.acts.includes(name)) });
    this.workers.push(walkers);
    return walkers;
  }

  async run(t) {
    const verdict = await super.run(t);
    const { problems, examples, ...counts } = this.walked;
    for (const [name, n] of Object.entries(counts)) verdict.count(`walkers: ${name}`, n);
    for (const [kind, n] of Object.entries(problems)) verdict.found[kind] = (verdict.found[kind] ?? 0) + n;
    verdict.problems.push(...examples);
    return verdict;
  }

  async publishAll() {
    await this.startWorkers();
    const walkers = this.startWalkers();
    this.publisher.send({ budget: this.publishes });
    await this.goesOn();
    const end = performance.now() + this.minutes * 60_000;
    while (performance.now() < end) await this.actOnce(this.next());
    await this.publisher.end(PROGRESS);
    this.walked = await walkers.end(PATIENCE);
  }

  async actOnce(name) {
    this.acted++;
    const before = this.publisher.progress;
    const start = performance.now();
    this.act = name;
    await ACTS[name](this);
    const over = performance.now();
    await this.recovered();
    await this.goesOn();
    const seconds = (ms) => (ms / 1000).toFixed(1);
    this.log(`${this.acted}: ${name} for ${seconds(over - start)} s; all well ${seconds(performance.now() - over)} s later, ${this.publisher.progress - before} acknowledged meanwhile`);
    await delay(BETWEEN);
  }

  // Publishes are acknowledged.
  async goesOn() {
    const enough = this.publisher.progress + this.rate;
    await until(`${enough} publishes are acknowledged${this.act ? ` after ${this.act}` : ''}`, () => this.publisher.progress >= enough || this.anyFailed(), PROGRESS);
    this.workers.forEach((worker) => worker.check());
  }

  // Nobody is told or sent anything any more.
  async quiet() {
    const seen = () => `${this.publisher.progress} ${this.received()}`;
    for (let before = ''; seen() !== before; await delay(QUIET)) before = seen();
    for (const node of this.names) await until(`${node} has nothing under way`, async () => (await this.cluster.metric(node, 'journal_queue_bytes')) === 0, PATIENCE);
    const stored = async () => Number((await this.cluster.rows(`SELECT count(*) FROM rtbroker.message WHERE channel LIKE '${this.prefix}%'`))[0][0]);
    await until('PostgreSQL has all that was acknowledged', async () => (await stored()) >= this.publisher.progress, PATIENCE);
  }

  // Subscribers that were told of a gap have not everything: they have what they will get.
  async settle() {
    let before = -1;
    for (let now = this.received(); now !== before; now = this.received()) {
      before = now;
      await delay(QUIET);
    }
    await super.settle();
  }

  received() {
    return this.readers.reduce((sum, reader) => sum + reader.progress, 0);
  }
}

function readOptions() {
  const least1 = ['minutes', 'nodes', 'brokers', 'channels', 'subscribers', 'walkers', 'rate'];
  const values = readArguments([...least1, 'seed', 'size'], least1, ['acts', 'dir']);
  values.seed ??= Math.floor(Math.random() * 1e9);
  values.acts = values.acts?.split(',') ?? Object.keys(ACTS);
  for (const name of values.acts) if (!ACTS[name]) misused(`--acts ${name}: ${Object.keys(ACTS).join(', ')} are possible`);
  return values;
}

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  const options = readOptions();
  await perform(options.dir, (where) => new OperatorDay({ ...options, ...where }));
}
