// One service away for a while under load, and what is promised of that time (docs/guarantees.md); then the logs are joined as after a chaos run. README.md beside has the story.
//
//     node test/chaos/outage.mjs --service postgres|sinks|redis|kafka [--seconds S] [--how kill|pause] [--rate R] [--nodes N] [--channels N]
//                                [--subscribers N] [--size BYTES] [--dir DIR]
//
// Exit status 0 all was well, 1 it was not, 2 misuse.
import path from 'node:path';
import { readFileSync } from 'node:fs';
import { setTimeout as delay } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';

import { until } from '../integration/harness.mjs';
import { Chaos, misused, perform, readArguments } from './run.mjs';
import { summary } from './samples.mjs';

const RECOVERY = 120_000; // until all is well again
const WARM = 3; // seconds' worth of publishes before and after
const STEP = 1000; // between two looks at a node
const PATIENCE = 60_000; // for an answer
const HISTORY_CHANNELS = 8; // that are read through the API at the end

const seconds = (ms) => `${(ms / 1000).toFixed(1)} s`;
const times = ({ n, p50, p99, max }) => (n ? `${n} (p50 ${p50} ms, p99 ${p99} ms, longest ${max} ms)` : 'none');

// What is away, how it is watched, and what is promised of it. `run` is the Outage.
class Fault {
  constructor(run) {
    this.run = run;
    this.noticed = {};
  }

  // Until the service is gone.
  begin() {
    return this.run.cluster.act(this.run.how, this.part);
  }

  end() {
    return this.run.cluster.act(this.run.how === 'kill' ? 'start' : 'resume', this.part);
  }

  // Each resolves when the outage is over.
  watchers() {
    return this.run.names.map((name) => this.every(STEP, () => this.notices(name)));
  }

  async every(ms, look) {
    while (this.run.down()) {
      const next = Date.now() + ms;
      await look();
      await delay(Math.max(0, Math.min(next, this.run.until) - Date.now()));
    }
  }

  // /readyz says that it is away, and why.
  async notices(name) {
    if (this.noticed[name] !== undefined) return;
    const { status, backends } = await this.run.cluster.ready(name);
    const backend = backends[this.backend];
    if (backend.up || backend.last_error === '') return;
    this.noticed[name] = Date.now() - this.run.from;
    this.run.holds(status === this.status, `${name}: /readyz has the status ${status} without ${this.backend}, not ${this.status}`);
  }

  verify() {
    for (const name of this.run.names) this.run.holds(this.noticed[name] !== undefined, `${name}: /readyz does not say that ${this.backend} is away`);
    this.run.figure(`noticed after ${Object.values(this.noticed).map(seconds).join(', ')}`);
  }

  // All tries went well.
  acknowledged(report) {
    const { ok = { n: 0 }, ...others } = report.publisher.outage;
    this.run.holds(ok.n > 0, 'nothing was acknowledged during the outage');
    for (const [kind, { n }] of Object.entries(others)) this.run.holds(false, `${n} publishes were answered "${kind}" during the outage`);
  }

  delivered(report, limit) {
    for (const [i, { outage }] of report.subscribers.entries()) {
      const got = outage.ok ?? { n: 0 };
      this.run.holds(got.n > 0, `subscriber ${i + 1} was sent nothing of the outage`);
      if (this.run.strict && got.n > 0) this.run.holds(got.p99 <= limit, `subscriber ${i + 1}: p99 during the outage ${got.p99} ms, promised are ${limit} ms`);
    }
  }
}

// Rows 17 and 19: publishing and delivery go on, memory's history too; rows are the log in the end.
class Postgres extends Fault {
  part = 'postgres';
  backend = 'postgres';
  status = 200;
  reads = { newest: 0, refused: 0, complete: 0 };

  watchers() {
    return [...super.watchers(), ...this.run.names.map((name, i) => this.every(STEP, () => this.read(name, i)))];
  }

  async read(name, i) {
    const { cluster } = this.run;
    const channel = this.run.channelName(i);
    const { publications } = await cluster.api(name, 'history', { channel, limit: 10, reverse: true });
    const offsets = publications.map((p) => p.offset);
    this.run.holds(offsets.length > 0 && offsets.every((o, k) => k === 0 || o < offsets[k - 1]), `${name}: memory's history of ${channel} is ${offsets}`);
    this.reads.newest++;
    // From the beginning: an error, or whole. Never something with a hole that nobody tells of.
    const whole = await cluster.api(name, 'history', { channel, since: { offset: 0 }, limit: 10 }).catch((error) => ({ error }));
    if (whole.error) this.reads.refused++;
    else this.reads.complete++;
    if (!whole.error) this.run.holds(whole.gap || whole.publications[0]?.data.k === this.run.firstKey(channel), `${name}: history of ${channel} since 0 begins with ${JSON.stringify(whole.publications[0])}`);
  }

  async end() {
    const { run } = this;
    await super.end();
    const began = performance.now();
    const behind = run.publisher.progress;
    const count = `SELECT count(*) FROM rtbroker.message WHERE channel LIKE '${run.prefix}%'`;
    await until('PostgreSQL has what was published meanwhile', async () => Number((await run.cluster.rows(count))[0][0]) >= behind, RECOVERY);
    run.figure(`rows caught up with ${behind} publishes ${seconds(performance.now() - began)} after the start`);
  }

  verify(report) {
    super.verify(report);
    this.acknowledged(report);
    this.delivered(report, 1000);
    this.run.holds(this.reads.newest > 0, 'no history was read during the outage');
    this.run.figure(`history during the outage: ${this.reads.newest} pages of the newest from memory; of pages since 0 ${this.reads.refused} refused, ${this.reads.complete} answered whole`);
    return this.run.historyIsTheLog();
  }
}

export class Sinks extends Postgres {
  ended = 0;

  async begin() {}

  async end() {}

  watchers() {
    return [this.every(this.run.interval, () => this.terminate())];
  }

  // Adds to `ended`.
  async terminate() {
    const rows = await this.run.cluster.rows("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name LIKE 'rtbroker%sink'");
    this.ended += rows.length;
  }

  async verify(report) {
    this.acknowledged(report);
    this.delivered(report, 1000);
    const least = (this.run.until - this.run.from) / 1000;
    this.run.holds(this.ended >= least, `only ${this.ended} connections were ended in ${least} s`);
    const sum = async (metric) => (await Promise.all(this.run.names.map((name) => this.run.cluster.metric(name, metric)))).reduce((a, b) => a + b);
    this.run.figure(`${this.ended} connections were ended; sinks retried ${await sum('sink_retries_total')} batches, ${await sum('sink_fenced_total')} were fenced`);
    return this.run.historyIsTheLog();
  }
}

// Row 13: logged channels go on through the tail, what is lost on the others is counted.
class Redis extends Fault {
  part = 'redis';
  backend = 'redis';
  status = 200;
  lost = 0;

  // Refused by the link at once, or handed to one that turned out to be dead.
  async counted() {
    const { cluster } = this.run;
    return (await cluster.metric('n1', 'redis_dropped_total')) + (await cluster.metric('n1', 'redis_unanswered_total'));
  }

  async begin() {
    this.before = await this.counted();
    await super.begin();
  }

  watchers() {
    return [...super.watchers(), this.every(200, () => this.live())];
  }

  async live() {
    await this.run.cluster.api('n1', 'publish', { channel: 'live:lost', data: this.lost });
    this.lost++;
  }

  async end() {
    this.after = await this.counted();
    await super.end();
  }

  verify(report) {
    super.verify(report);
    this.acknowledged(report);
    this.delivered(report, 250);
    this.run.holds(this.lost > 0 && this.after - this.before >= this.lost, `${this.lost} messages without a log did not reach other nodes, ${this.after - this.before} were counted`);
    this.run.figure(`${this.lost} messages on a channel without a log; n1 counted ${this.after - this.before} lost ones, logged ones too`);
  }
}

// Row 8: `retry` soon, memory under the cap, nothing acknowledged is lost, nothing that was answered `retry` is stored.
class Kafka extends Fault {
  part = 'kafka';
  backend = 'log';
  status = 503;
  static FROM = 6000; // from here on answers are `retry`: the oldest queued record is 5 s old
  static WITHIN = 5000;
  static QUEUE = 64 << 20; // the producer's cap
  static MEMORY = 170e6; // that, as much again in requests that wait for their answers, and what goes with them
  static FLOOD = 1500; // publishes at once, of 60 kB: more than the cap
  probes = [];
  grown = {};
  queued = 0;

  async begin() {
    this.memory = Object.fromEntries(await Promise.all(this.run.names.map(async (name) => [name, await this.run.cluster.metric(name, 'process_resident_memory_bytes')])));
    await super.begin();
  }

  watchers() {
    const { names } = this.run;
    return [...super.watchers(), this.flood(), ...names.map((name) => this.every(STEP, () => this.measure(name))), ...names.map((name) => this.probeOften(name))];
  }

  async measure(name) {
    const grown = (await this.run.cluster.metric(name, 'process_resident_memory_bytes')) - this.memory[name];
    this.grown[name] = Math.max(this.grown[name] ?? 0, grown);
    this.queued = Math.max(this.queued, await this.run.cluster.metric(name, 'journal_queue_bytes'));
  }

  // Without waiting for answers, which may take half a minute at first.
  async probeOften(name) {
    const open = [];
    await this.every(500, async () => void open.push(this.probe(name, 'probe:a', 'p')));
    await Promise.all(open);
  }

  async flood() {
    const data = 'x'.repeat(60_000);
    await Promise.all(Array.from({ length: Kafka.FLOOD }, () => this.probe('n1', 'probe:flood', data)));
    await this.every(STEP, () => Promise.all(Array.from({ length: 50 }, () => this.probe('n1', 'probe:flood', data))));
  }

  async probe(name, channel, data) {
    const at = Date.now();
    const key = `probe-${this.probes.length}`;
    const probe = { name, channel, at, key };
    this.probes.push(probe);
    const body = JSON.stringify({ channel, data, idempotency_key: key });
    const headers = { 'x-api-key': this.run.cluster.env.RT_API_KEY };
    try {
      const response = await fetch(`${this.run.cluster.nodeUrl(name)}/api/publish`, { method: 'POST', headers, body, signal: AbortSignal.timeout(PATIENCE) });
      await response.arrayBuffer();
      probe.kind = { 200: 'ok', 503: 'retry', 504: 'unknown' }[response.status] ?? `status ${response.status}`;
    } catch (error) {
      probe.kind = 'broken';
    }
    probe.ms = Date.now() - at;
  }

  verify(report) {
    super.verify(report);
    const { run } = this;
    const of = (filter) => this.probes.filter(filter);
    const count = (list) => JSON.stringify(Object.fromEntries([...new Set(list.map((p) => p.kind))].map((kind) => [kind, list.filter((p) => p.kind === kind).length])));
    const late = of((p) => p.at >= run.from + Kafka.FROM && p.at + Kafka.WITHIN < run.until);
    const bad = late.filter((p) => p.kind !== 'retry' || (run.strict && p.ms > Kafka.WITHIN));
    run.holds(late.length > 0, 'no publish was tried during the outage');
    run.holds(bad.length === 0, `${bad.length} publishes that were begun ${seconds(Kafka.FROM)} or more into the outage were not answered retry within ${seconds(Kafka.WITHIN)}: ${JSON.stringify(bad.slice(0, 3))}`);
    const first = Math.min(...of((p) => p.name !== 'n1' && p.kind === 'retry' && p.ms < 1000).map((p) => p.at - run.from));
    run.figure(`first publish that was answered retry at once by a node that is not flooded: ${seconds(first)} into the outage; answers to ${late.length} later ones: ${times(summary(late.map((p) => p.ms)))}`);
    run.figure(`answers to publishes of the first ${seconds(Kafka.FROM)}: ${count(of((p) => p.at < run.from + Kafka.FROM))}`);
    run.figure(`resident memory rose by ${Object.entries(this.grown).map(([name, n]) => `${name} ${(n / 1e6).toFixed(0)} MB`).join(', ')}; most bytes in a log queue ${(this.queued / 1e6).toFixed(1)} MB`);
    run.holds(this.queued <= Kafka.QUEUE, `${this.queued} bytes in a log queue`);
    for (const [name, n] of Object.entries(this.grown)) run.holds(n <= Kafka.MEMORY, `${name}: memory rose by ${n} bytes`);
    this.stored(of);
  }

  // `ok` is in Kafka, `retry` is not.
  stored(of) {
    const kafka = new Set(this.run.aside);
    const lost = of((p) => p.kind === 'ok' && !kafka.has(p.key)), untrue = of((p) => p.kind === 'retry' && kafka.has(p.key));
    this.run.holds(lost.length === 0, `${lost.length} probes were acknowledged and are not in Kafka`);
    this.run.holds(untrue.length === 0, `${untrue.length} probes were answered retry and are in Kafka`);
    const broken = of((p) => !['ok', 'retry', 'unknown'].includes(p.kind));
    this.run.holds(broken.length === 0, `${broken.length} probes were not answered: ${JSON.stringify(broken.slice(0, 3))}`);
  }
}

export const FAULTS = { postgres: Postgres, sinks: Sinks, redis: Redis, kafka: Kafka };
export const DEFAULTS = { service: 'postgres', seconds: 60, how: 'kill', interval: 150, rate: 200, channels: 32, strict: true };

export class Outage extends Chaos {
  // `Fault`: another one than the service's.
  constructor(options) {
    super({ ...DEFAULTS, ...options, kills: 0, pauses: 0, publishes: 1e9, measure: true });
    this.names = Array.from({ length: this.nodes }, (_, i) => `n${i + 1}`);
    this.broken = new Set();
    this.fault = new (this.Fault ?? FAULTS[this.service])(this);
  }

  begin() {
    this.log(`${this.service} (${this.how}) away for ${this.seconds} s at ${this.rate} publishes a second on ${this.channels} channels`);
  }

  // A promise that does not hold is told once, however often it is seen.
  holds(good, text) {
    if (!good) this.broken.add(text);
  }

  figure(text) {
    this.log(text);
  }

  channelName(i) {
    return `${this.prefix}c${String(i % this.channels).padStart(3, '0')}`;
  }

  firstKey(channel) {
    return `${channel.slice(channel.indexOf(':') + 1)}-1`;
  }

  down() {
    return Date.now() < this.until;
  }

  async publishAll() {
    await this.startWorkers();
    this.publisher.send({ budget: this.publishes });
    const began = Date.now();
    await this.reaches(WARM * this.rate);
    await this.outage();
    const healed = Date.now();
    await this.reaches(this.publisher.progress + WARM * this.rate);
    this.windows = [{ name: 'before', from: began, to: this.from }, { name: 'outage', from: this.from, to: this.until }, { name: 'after', from: healed, to: Date.now() }];
    await this.publisher.end(RECOVERY, this.windows);
  }

  async outage() {
    await this.fault.begin();
    this.from = Date.now();
    this.until = this.from + this.seconds * 1000;
    this.log(`${this.service} is away`);
    const before = this.publisher.progress;
    await Promise.all([...this.fault.watchers(), delay(this.seconds * 1000)]);
    this.log(`${this.publisher.progress - before} acknowledged within ${seconds(Date.now() - this.from)}`);
    const back = performance.now();
    await this.fault.end();
    await this.recovered();
    this.figure(`all well ${seconds(performance.now() - back)} after the end of the outage`);
  }

  async endWorkers() {
    const published = await super.endWorkers();
    this.report = { publisher: published.windows, subscribers: this.readers.map((reader) => reader.counts.windows) };
    for (const { name } of this.windows) {
      const answers = Object.entries(this.report.publisher[name]).map(([kind, t]) => `${kind} ${times(t)}`);
      this.figure(`${name}: tries to publish: ${answers.join(', ') || 'none'}`);
      this.report.subscribers.forEach((report, i) => this.figure(`${name}: publish to delivery, subscriber ${i + 1}: ${times(report[name].ok ?? { n: 0 })}`));
    }
    return published;
  }

  // What the history of each channel says from its beginning, page by page, is what Kafka has.
  async historyIsTheLog() {
    const log = new Map();
    for (const line of readFileSync(path.join(this.dir, 'kafka'), 'utf8').split('\n').filter(Boolean)) {
      const [channel, , offset, id, key] = line.split('\t');
      if (!log.has(channel)) log.set(channel, new Map());
      if (!log.get(channel).has(key)) log.get(channel).set(key, `${offset} ${id}`);
    }
    let read = 0;
    for (const [i, channel] of [...log.keys()].slice(0, HISTORY_CHANNELS).entries()) {
      const name = this.names[i % this.names.length];
      const got = (await this.cluster.wholeHistory(name, channel)).map((p) => `${p.offset} ${p.id}`);
      const want = [...log.get(channel).values()];
      read += got.length;
      this.holds(got.length === want.length && got.every((text, k) => text === want[k]), `${name}: the history of ${channel} has ${got.length} messages, which are not the log's ${want.length}`);
    }
    this.figure(`history through the API: ${read} messages of ${Math.min(log.size, HISTORY_CHANNELS)} channels are the log`);
  }

  async run(t) {
    const verdict = await super.run(t);
    await this.fault.verify(this.report);
    for (const text of this.broken) verdict.add('promise', text);
    return verdict;
  }
}

// ---- command line ----------------------------------------------------------------------------------------------------

function readOptions() {
  const least1 = ['seconds', 'nodes', 'channels', 'subscribers', 'rate'];
  const values = readArguments([...least1, 'size'], least1, ['service', 'how', 'dir']);
  if (!(values.service in FAULTS)) misused(`--service ${values.service ?? 'is missing'}: ${Object.keys(FAULTS).join(', ')} are possible`);
  if (values.how !== undefined && !['kill', 'pause'].includes(values.how)) misused(`--how ${values.how}: kill and pause are possible`);
  // Publishers give a message up after eight minutes without the log.
  if (values.service === 'kafka' && values.seconds > 420) misused(`--seconds ${values.seconds}: at most 420 without Kafka`);
  return values;
}

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  const options = readOptions();
  await perform(options.dir, (where) => new Outage({ ...options, ...where }));
}
