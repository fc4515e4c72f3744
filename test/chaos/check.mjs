// Judges the logs of a chaos run: joins what publishers were told, what subscribers were sent, the Kafka topic and PostgreSQL's rows.
//
//     node test/chaos/check.mjs DIR         says what is wrong, exit status 1 then
//
// DIR has, all with one record a line and fields between tabs:
//   run.json       {acked, open, subscribers: [NAME], postgres: bool, operated: bool}
//   published      channel, epoch, offset, new|dup|open, key, hash; in the order in which a channel's messages were published. `open`: never acknowledged
//   sub-NAME       channel, epoch, offset, id, key, hash; as they came. An announced gap: channel, "gap", position, "-", "-", "-"
//   kafka          channel, epoch, offset (as positions count: Kafka's + 1), id, key, hash; by offset, repetitions and all. kafka.json: {problems}, of its collecting
//   postgres       like kafka; by position, without repetitions
//   repeats        those: channel, epoch, offset, id, key, offset of the first
// The hash is that of the payload. A key is unique in the run, so the first record of a key in Kafka is the message, later ones are repetitions.
//
// `operated`: an operator's acts were part of the run. Then positions may get another epoch, where a subscriber may be told of a gap: what it missed there is
// excused, and nothing else is. A key counts within an epoch: what is sent again behind the change may be stored again. Offsets may have holes (a transaction's end
// takes one). PostgreSQL misses nothing all the same.
//
// Memory is that of one channel: sort(1) brings the files together by channel, stably, so that each file's order within a channel stays.
import { spawn } from 'node:child_process';
import { createReadStream, existsSync, readFileSync, rmSync } from 'node:fs';
import path from 'node:path';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';

const SHOWN = 10; // problems of a kind that are told one by one

export const KINDS = {
  lost: 'acknowledged, not in Kafka',
  missing: 'in Kafka, not delivered to a subscriber or not in PostgreSQL',
  twice: 'delivered, stored or acknowledged more than once',
  foreign: 'delivered, stored or in Kafka, but nobody sent it, or not in this channel\'s log',
  order: 'not in the order of the log, or that of the publisher',
  position: 'positions that do not rise, or are not the log\'s',
  content: 'payload or id is not what was published',
  gap: 'a subscriber was told that messages are missing',
  records: 'the log as a whole: holes in its offsets, another incarnation, counts that do not agree',
  promise: 'not as it is promised of the time of an outage',
};

class Verdict {
  constructor() {
    this.counts = {};
    this.problems = [];
    this.found = {};
  }

  add(kind, text) {
    this.found[kind] = (this.found[kind] ?? 0) + 1;
    if (this.found[kind] <= SHOWN) this.problems.push(`${kind}: ${text}`);
  }

  count(name, by = 1) {
    this.counts[name] = (this.counts[name] ?? 0) + by;
  }

  get ok() {
    return Object.keys(this.found).length === 0;
  }
}

function sorted(file) {
  return new Promise((resolve, reject) => {
    const args = ['-s', '-t', '\t', '-k1,1', '-S', '64M', '-T', path.dirname(file), '-o', `${file}.sorted`, file];
    const child = spawn('sort', args, { env: { ...process.env, LC_ALL: 'C' }, stdio: ['ignore', 'ignore', 'inherit'] });
    child.on('error', reject);
    child.on('close', (code) => (code === 0 ? resolve(`${file}.sorted`) : reject(new Error(`sort of ${file} ended with ${code}`))));
  });
}

// Records of one file, a channel at a time: next() is for a channel that is asked for in rising order.
class Source {
  constructor(name, file) {
    this.name = name;
    this.file = file;
  }

  async open() {
    this.sorted = await sorted(this.file);
    this.lines = createInterface({ input: createReadStream(this.sorted), crlfDelay: Infinity })[Symbol.asyncIterator]();
    await this.step();
    return this;
  }

  async step() {
    const { value, done } = await this.lines.next();
    this.head = undefined;
    if (done) return;
    const fields = value.split('\t');
    if (fields.length !== 6) throw new Error(`${this.file}: not six fields: ${JSON.stringify(value)}`);
    const [channel, epoch, offset, tag, key, hash] = fields;
    this.head = { channel, epoch, offset, tag, key, hash };
  }

  get channel() {
    return this.head?.channel;
  }

  async take(channel) {
    const all = [];
    for (; this.head?.channel === channel; await this.step()) all.push(this.head);
    return all;
  }

  close() {
    rmSync(this.sorted, { force: true });
  }
}

// By what a message is known: a key, and where keys begin anew, the epoch as well.
const nameOf = (r, operated) => (operated ? `${r.key} ${r.epoch}` : r.key);
const at = (r) => `${r.epoch}:${r.offset}`;

const numberOf = (r) => Number(r.key.slice(r.key.lastIndexOf('-') + 1));

// Records of several epochs, in the order in which their publisher sent them: one of a channel is under way at a time, so that all of one epoch come before those
// of the next, but for repetitions.
function byEpoch(records) {
  const epochs = new Map();
  for (const r of records) {
    if (!epochs.has(r.epoch)) epochs.set(r.epoch, { records: [], last: 0 });
    const epoch = epochs.get(r.epoch);
    epoch.records.push(r);
    epoch.last = Math.max(epoch.last, numberOf(r));
  }
  return [...epochs.values()].sort((a, b) => a.last - b.last).flatMap((epoch) => epoch.records);
}

// The log's messages in order: first records of their keys. Positions must rise.
function readLog(channel, records, operated, verdict) {
  const messages = new Map();
  let last;
  for (const r of records) {
    if (last && r.epoch !== last.epoch && !operated) verdict.add('records', `${channel} is in two incarnations or partitions of the log: ${at(last)}, ${at(r)}`);
    else if (last && r.epoch !== last.epoch) verdict.count('changes of an epoch');
    else if (last && Number(r.offset) <= Number(last.offset)) verdict.add('position', `kafka, ${channel}: ${at(r)} follows ${at(last)}`);
    last = r;
    verdict.count('records');
    const first = messages.get(nameOf(r, operated));
    if (!first) {
      messages.set(nameOf(r, operated), { ...r, index: messages.size, repeats: [], repeatIds: [] });
    } else {
      first.repeats.push(at(r));
      first.repeatIds.push(r.tag);
      verdict.count('repeats');
      if (r.hash !== first.hash) verdict.add('content', `kafka, ${channel}: the repetition of ${r.key} at ${at(r)} has another payload`);
    }
  }
  return messages;
}

function checkAcknowledged(channel, r, message, verdict) {
  verdict.count('acknowledged');
  if (!message) {
    verdict.add('lost', `${channel}: ${r.key}, acknowledged at ${at(r)}`);
    return;
  }
  if (r.offset === '0') verdict.count('acknowledged without a position');
  else if (message.repeats.includes(at(r))) verdict.count('acknowledged with the position of a repetition');
  else if (at(r) !== at(message)) verdict.add('position', `${channel}: ${r.key} was acknowledged at ${at(r)}, it is at ${at(message)}`);
}

// Publishers number: the log has their order, all that was acknowledged, and nothing that they did not send.
function checkPublished(channel, published, log, operated, verdict) {
  const sent = new Set();
  const byKey = new Map([...log.values()].map((message) => [message.key, message]));
  let last = -1;
  for (const r of published) {
    const known = operated && r.tag !== 'open' && r.offset !== '0';
    const message = known ? log.get(nameOf(r, operated)) : byKey.get(r.key);
    if (sent.has(r.key)) verdict.add('twice', `published, ${channel}: ${r.key}`);
    sent.add(r.key);
    if (r.tag === 'open') verdict.count('open');
    else checkAcknowledged(channel, r, message, verdict);
    if (!message) continue;
    if (message.hash !== r.hash) verdict.add('content', `kafka, ${channel}: the payload of ${r.key} is not what was published`);
    if (message.index < last) verdict.add('order', `kafka, ${channel}: ${r.key} at ${at(message)} is before one that was published earlier`);
    last = Math.max(last, message.index);
  }
  for (const message of log.values()) if (!sent.has(message.key)) verdict.add('foreign', `kafka, ${channel}: ${message.key} at ${at(message)}`);
}

// A subscriber was told of a gap, then came `r`: the messages between have not to come, where the epoch is another one.
function excuse(name, channel, { gap, from, r, epoch }, { log, seen }, verdict) {
  if (r.epoch === epoch) {
    verdict.add('gap', `${name}, ${channel}: after ${gap}, within one epoch`);
    return;
  }
  verdict.count(`${name} gaps`);
  const to = log.get(nameOf(r, true))?.index ?? 0;
  for (const message of log.values()) {
    if (message.index <= from || message.index >= to || seen.has(message)) continue;
    seen.add(message);
    verdict.count(`${name} missed and knows`);
  }
}

// What a subscriber was sent, or the rows: the log's messages, each once, in its order, at its positions.
function checkFollower(name, channel, records, log, operated, verdict) {
  const seen = new Set();
  let last = -1, lastOffset = 0, epoch, gap;
  for (const r of records) {
    if (r.epoch === 'gap') {
      if (operated) gap = r.offset;
      else verdict.add('gap', `${name}, ${channel}: after ${r.offset}`);
      continue;
    }
    verdict.count(name);
    if (r.epoch !== epoch && operated) lastOffset = 0;
    if (gap !== undefined) excuse(name, channel, { gap, from: last, r, epoch }, { log, seen }, verdict);
    [epoch, gap] = [r.epoch, undefined];
    if (Number(r.offset) <= lastOffset) verdict.add('position', `${name}, ${channel}: ${at(r)} follows offset ${lastOffset}`);
    lastOffset = Number(r.offset);
    const message = log.get(nameOf(r, operated));
    if (!message) {
      verdict.add('foreign', `${name}, ${channel}: ${r.key} at ${at(r)}`);
      continue;
    }
    if (seen.has(message)) verdict.add('twice', `${name}, ${channel}: ${r.key} at ${at(r)}`);
    seen.add(message);
    if (message.index < last) verdict.add('order', `${name}, ${channel}: ${r.key} at ${at(r)} came late`);
    last = Math.max(last, message.index);
    if (at(r) !== at(message)) verdict.add('position', `${name}, ${channel}: ${r.key} at ${at(r)}, in the log at ${at(message)}`);
    if (r.hash !== message.hash || r.tag !== message.tag) verdict.add('content', `${name}, ${channel}: ${r.key} at ${at(r)} is not what the log has`);
  }
  for (const message of log.values()) if (!seen.has(message)) verdict.add('missing', `${name}, ${channel}: ${message.key} at ${at(message)}`);
}

// The store's list of repetitions is that of the log.
function checkRepeats(channel, records, log, operated, verdict) {
  const seen = new Set();
  for (const r of records) {
    verdict.count('repeats in postgres');
    const message = log.get(nameOf(r, operated));
    const index = message ? message.repeats.indexOf(at(r)) : -1;
    if (index < 0) verdict.add('foreign', `repeats, ${channel}: ${r.key} at ${at(r)}`);
    else if (r.tag !== message.repeatIds[index]) verdict.add('content', `repeats, ${channel}: ${r.key} at ${at(r)} is not what the log has`);
    else if (r.hash !== String(message.offset)) verdict.add('position', `repeats, ${channel}: ${r.key} at ${at(r)} repeats ${r.hash}, in the log ${message.offset}`);
    if (seen.has(at(r))) verdict.add('twice', `repeats, ${channel}: ${r.key} at ${at(r)}`);
    seen.add(at(r));
  }
  for (const message of log.values())
    for (const position of message.repeats) if (!seen.has(position)) verdict.add('missing', `repeats, ${channel}: ${message.key} at ${position}`);
}

// A check of too little would always be content.
function checkCounts(run, verdict) {
  const { counts } = verdict;
  if (!(run.acked > 0)) verdict.add('records', 'the run has acknowledged nothing');
  if ((counts.acknowledged ?? 0) !== run.acked) verdict.add('records', `the publishers counted ${run.acked} acknowledged messages, their log has ${counts.acknowledged ?? 0}`);
  if ((counts.open ?? 0) !== run.open) verdict.add('records', `the publishers counted ${run.open} open messages, their log has ${counts.open ?? 0}`);
  if (run.subscribers.length === 0) verdict.add('records', 'nobody subscribed');
}

const least = (names) => names.reduce((a, b) => (a < b ? a : b));

export async function check(dir) {
  const run = JSON.parse(readFileSync(path.join(dir, 'run.json'), 'utf8'));
  const verdict = new Verdict();
  const { problems, changes = [] } = JSON.parse(readFileSync(path.join(dir, 'kafka.json'), 'utf8'));
  for (const text of run.operated ? problems : [...problems, ...changes]) verdict.add('records', text);
  const followers = [...run.subscribers.map((name) => `sub-${name}`), ...(run.postgres ? ['postgres'] : [])];
  const sources = await Promise.all(['published', 'kafka', ...followers, ...(run.postgres ? ['repeats'] : [])].map((name) => new Source(name, path.join(dir, name)).open()));
  for (;;) {
    const channels = sources.map((s) => s.channel).filter((c) => c !== undefined);
    if (channels.length === 0) break;
    const channel = least(channels);
    const [published, kafka, ...rest] = await Promise.all(sources.map((s) => s.take(channel)));
    const log = readLog(channel, run.operated ? byEpoch(kafka) : kafka, run.operated, verdict);
    verdict.count('channels');
    checkPublished(channel, published, log, run.operated, verdict);
    followers.forEach((name, i) => {
      const records = run.operated && name === 'postgres' ? byEpoch(rest[i]) : rest[i];
      checkFollower(name, channel, records, log, run.operated, verdict);
    });
    if (run.postgres) checkRepeats(channel, rest.at(-1), log, run.operated, verdict);
  }
  for (const source of sources) source.close();
  checkCounts(run, verdict);
  return verdict;
}

export function describe(verdict) {
  const lines = Object.entries(verdict.counts).map(([name, n]) => `  ${String(n).padStart(9)}  ${name}`);
  if (verdict.ok) return [...lines, 'nothing lost, nothing twice, nothing foreign, order and positions kept'].join('\n');
  const kinds = Object.entries(verdict.found).map(([kind, n]) => `  ${String(n).padStart(9)}  ${kind} (${KINDS[kind]})`);
  return [...lines, 'WRONG:', ...kinds, ...verdict.problems].join('\n');
}

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  const dir = process.argv[2];
  if (!dir || !existsSync(path.join(dir, 'run.json'))) {
    console.error('usage: check.mjs DIR, the logs of a run');
    process.exit(2);
  }
  const verdict = await check(dir);
  console.log(describe(verdict));
  process.exit(verdict.ok ? 0 : 1);
}
