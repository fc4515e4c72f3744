// Brings the Kafka topic and PostgreSQL's rows into the files that check.mjs reads.
import { execFile, spawn } from 'node:child_process';
import { createHash } from 'node:crypto';
import { createWriteStream, openSync, closeSync, writeFileSync } from 'node:fs';
import { once } from 'node:events';
import path from 'node:path';
import { createInterface } from 'node:readline';
import { promisify } from 'node:util';

const run = promisify(execFile);

// The name of a partition's incarnation, from the header rt-epoch of its records: src/journal/kafka_epoch.h has the rule.
export class EpochFold {
  constructor() {
    this.name = '';
    this.at = 0;
    this.count = ''; // of partitions, behind a dot; '' where the name does not say it
  }

  // As positions have it.
  epoch(partition) {
    return `${this.name}.${partition}${this.count}`;
  }

  // True: the incarnation is another one than before.
  read(evidence, position) {
    const match = /^([A-Za-z0-9_-]{10})@(\d+)(?:\/(\d+)\+?!?)?$/.exec(evidence ?? '');
    if (!match) return false;
    const [name, known] = [match[1], Number(match[2])];
    const ours = name === this.name;
    if (known >= position) return ours;
    if (!ours && known < this.at) return false;
    const changed = this.name !== '' && !ours;
    this.name = name;
    this.at = position;
    this.count = match[3] ? `.${match[3]}` : '';
    return changed;
  }
}

class Partition {
  constructor() {
    this.fold = new EpochFold();
    this.next = 0;
  }
}

const headersOf = (text) => Object.fromEntries(text.split(',').filter(Boolean).map((h) => [h.slice(0, h.indexOf('=')), h.slice(h.indexOf('=') + 1)]));

// One line of kcat. The channel's record as check.mjs wants it, or undefined for a marker.
function readRecord(line, partitions, changes) {
  const [number, offset, channel, headerText, ...data] = line.split('\t');
  const value = data.join('\t');
  const headers = headersOf(headerText);
  if (!partitions.has(number)) partitions.set(number, new Partition());
  const partition = partitions.get(number);
  if (Number(offset) !== partition.next) changes.push(`partition ${number}: offset ${offset} where ${partition.next} should be`);
  partition.next = Number(offset) + 1;
  if (partition.fold.read(headers['rt-epoch'], partition.next)) changes.push(`partition ${number}: another incarnation at offset ${offset}: ${headers['rt-epoch']}`);
  if ('rt-marker' in headers) return undefined;
  const hash = createHash('md5').update(value).digest('hex');
  return `${channel}\t${partition.fold.epoch(number)}\t${partition.next}\t${headers['rt-id']}\t${headers['rt-key']}\t${hash}\n`;
}

// Writes `kafka` and `kafka.json`, of channels that begin with `prefix`; behind what is there, where a topic before this one was collected. Payloads have no line
// breaks. Returns how many messages there are in all channels, repetitions and all, and the keys of those in other ones.
export async function collectKafka(dir, { brokers, topic, prefix }) {
  const args = ['-b', brokers, '-t', topic, '-C', '-e', '-q', '-o', 'beginning', '-f', '%p\t%o\t%k\t%h\t%s\n'];
  const child = spawn('kcat', args, { stdio: ['ignore', 'pipe', 'inherit'] });
  const exit = once(child, 'close');
  const out = createWriteStream(path.join(dir, 'kafka'), { flags: 'a' });
  const partitions = new Map();
  const changes = []; // of incarnations, and holes in offsets
  const aside = [];
  let records = 0;
  for await (const line of createInterface({ input: child.stdout, crlfDelay: Infinity })) {
    const record = readRecord(line, partitions, changes);
    if (!record) continue;
    records++;
    if (!record.startsWith(prefix)) aside.push(record.split('\t')[4]);
    else if (!out.write(record)) await once(out, 'drain');
  }
  await new Promise((resolve) => out.end(resolve));
  const [code] = await exit;
  if (code !== 0) throw new Error(`kcat ended with ${code}`);
  writeFileSync(path.join(dir, 'kafka.json'), JSON.stringify({ problems: [], changes }));
  return { records, aside };
}

const psql = (url, sql) => [url, '-X', '-q', '-A', '-t', '-v', 'ON_ERROR_STOP=1', '-c', sql];

// How many records the store has, of each kind that it makes of them; `strange`: of the dead letters, those of other programs (operator.mjs).
export async function countRows(url) {
  const counts = ['message', 'repeat', 'dead_letter'].map((table) => `(SELECT count(*) FROM rtbroker.${table})`);
  counts.push(`(SELECT count(*) FROM rtbroker.dead_letter WHERE channel LIKE 'stranger:%'::bytea)`);
  const { stdout } = await run('psql', psql(url, `SELECT ${counts.join(', ')}`), { timeout: 120_000 });
  const [rows, repeats, dead, strange] = stdout.trim().split('|').map(Number);
  return { rows, repeats, dead, strange };
}

async function copy(file, url, query) {
  const fd = openSync(file, 'w');
  const child = spawn('psql', psql(url, `COPY (${query}) TO STDOUT`), { stdio: ['ignore', fd, 'inherit'] });
  const [code] = await once(child, 'close');
  closeSync(fd);
  if (code !== 0) throw new Error(`psql ended with ${code}`);
}

// Writes `postgres` and `repeats`. Tabs and backslashes cannot be in the run's texts, so COPY's escapes do not matter.
export async function collectPostgres(dir, url, prefix) {
  await copy(path.join(dir, 'postgres'), url, `SELECT channel, epoch, "offset", id, key, md5(data) FROM rtbroker.message WHERE channel LIKE '${prefix}%' ORDER BY epoch, "offset"`);
  await copy(path.join(dir, 'repeats'), url, `SELECT channel, epoch, "offset", id, key, first FROM rtbroker.repeat WHERE channel LIKE '${prefix}%' ORDER BY epoch, "offset"`);
}
