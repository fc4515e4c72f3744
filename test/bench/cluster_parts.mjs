// The parts of cluster.mjs that measure rtbroker. Each prints its table, names its targets with target(text, measured, wanted, met), and resolves to its raw results.
import { execFile } from 'node:child_process';
import path from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { promisify } from 'node:util';

import { BIN, DEADLINE_MS, act, cpuSeconds, fromPeers, interleave, names, nodes, nowNs, pidOf, ports, progress, residentBytes, rtbench, sql, startRtbench, until } from './cluster_tools.mjs';
import { fixed, median, percent, stats, table, triple } from './run_report.mjs';

const WARM_UP = 50_000;
const SENDERS = 24;
const WINDOW = 1000; // of each: two thirds of what makes a node slow its clients down
const PAYLOAD_BYTES = 100;
const ROWS_TARGET = 50_000;
const FANOUT = { subscribers: 1000, size: 64, pace: 50, least: 0.9, senders: 8, window: 2000 };
const SINK_LEAST = 0.5;
const OUTAGE_CAP = 64 << 20; // of the producer's queue
const OUTAGE_BYTES = 10_000;
const OUTAGE_CLIENTS = 8;
const OUTAGE_BURST = 16; // then what came in is looked at
const run = promisify(execFile);

export const count = (n) => Math.round(n).toLocaleString('en');
export const ms = fixed(2);
const mib = (bytes) => `${(bytes / 2 ** 20).toFixed(1)} MiB`;

// ---- latency ----

// 1,000 messages a second, timed from when each was due, from a client of the second port to one of the first.
export function latencyOf(pair, protocol, channel, seconds) {
  const where = protocol === 'raw' ? ['--path', `/raw/${channel}`] : [];
  return rtbench('latency', '--sleep', '--rate', 1000, '--subscribers', 1, '--probes', 1, '--time', seconds, '--warmup', 1, '--port', pair.join(','), '--protocol', protocol, ...where);
}

export function latencyRow(title, results) {
  return [title, ...['p50_ms', 'p99_ms', 'max_ms', 'late_p99_ms'].map((field) => triple(results.map((r) => r[field]), ms))];
}

export const LATENCY_HEADER = ['', 'p50 ms', 'p99 ms', 'max ms', 'client late p99 ms'];

export async function measureLatency(options) {
  const cases = { on_commit: 'commit:latency', on_publish: 'now:latency', 'log: false': 'live:latency' };
  const rounds = await interleave(options.rounds, Object.keys(cases), (key) => latencyOf([ports[1], ports[0]], 'raw', cases[key], options.latencySeconds));
  console.log(`\nlatency  n1 -> n2, 1,000 messages/s for ${options.latencySeconds} s, timed from when each was due; ${rounds.length} rounds, min/median/max`);
  console.log(table(LATENCY_HEADER, Object.keys(cases).map((key) => latencyRow(key, rounds.map((r) => r[key])))));
  return rounds;
}

// ---- from clients to rows ----

// How long after the answers the rows came: for each sample the time since as many were answered as are rows now, in ms.
function lags(samples, before) {
  const found = [];
  for (const sample of samples) {
    const rows = sample.rows - before.rows;
    const next = samples.findIndex((s) => s.accepted - before.accepted >= rows);
    if (rows <= 0 || next <= 0) continue;
    const [a, b] = [samples[next - 1], samples[next]];
    const part = (rows - (a.accepted - before.accepted)) / (b.accepted - a.accepted);
    found.push((sample.at - (a.at + part * (b.at - a.at))) / 1e6);
  }
  return found;
}

const microseconds = (from, to, messages) => Object.fromEntries(Object.keys(to).map((key) => [key, (1e6 * (to[key] - from[key])) / messages]));

// Publishes `messages` as fast as they are answered. Resolves when all are rows.
async function rowsRun(messages, args) {
  const before = await progress();
  const cpu = cpuSeconds();
  const client = startRtbench('ingest', '--count', messages, '--size', PAYLOAD_BYTES, '--port', ports.join(','), ...args);
  const samples = [];
  let result;
  let failure;
  client.result.then((r) => { result = r; }, (error) => { failure = error; });
  const end = await until('all publishes are rows', async () => {
    if (failure) throw failure;
    const now = await progress();
    samples.push(now);
    return result !== undefined && now.rows - before.rows >= result.publishes ? now : null;
  }, 50);
  const seconds = (end.at - result.begin_ns) / 1e9;
  return {
    ...result, rows_per_second: result.publishes / seconds, behind_ms: (end.at - result.end_ns) / 1e6,
    lag_ms: stats(lags(samples, before))?.median ?? 0, accepted_by_nodes: end.accepted - before.accepted,
    cpu_us: { ...microseconds(cpu, cpuSeconds(), result.publishes), client: (1e6 * result.client_cpu * result.seconds) / result.publishes },
  };
}

export const ROWS_HEADER = ['', 'messages', 'answered/s', 'rows/s', 'row lag ms', 'at the end ms', 'answer p50 ms', 'p99 ms', 'client cpu'];

export function rowsRow(title, r) {
  return [title, count(r.publishes), count(r.per_second), count(r.rows_per_second), r.lag_ms === undefined ? '-' : count(r.lag_ms), count(r.behind_ms),
    ms(r.p50_ms), ms(r.p99_ms), percent(r.client_cpu)];
}

export async function ingestRuns(rounds, messages, args) {
  let rows = -1; // of what was measured before
  await until('no more rows come', async () => rows === (rows = (await progress()).rows), 500);
  await rowsRun(Math.min(WARM_UP, messages), args);
  const runs = [];
  for (let i = 0; i < rounds; i++) runs.push(await rowsRun(messages, args));
  return runs;
}

// Where the CPU goes, by message: holds on a busy machine too.
function cpuLine(runs) {
  const us = (key) => stats(runs.map((r) => r.cpu_us[key])).median;
  const parts = ['nodes', 'PostgreSQL', 'Kafka', 'Redis', 'client'];
  const all = parts.reduce((sum, key) => sum + us(key), 0);
  const list = parts.map((key) => `${key} ${us(key).toFixed(1)}${key === 'nodes' ? ` (their loops ${us('loops').toFixed(1)})` : ''}`);
  return `CPU us a message: ${list.join(', ')}; together ${all.toFixed(1)}, which two cores alone could do ${count(2e6 / all)} times a second`;
}

// Every publish is one row; `least` are those before the runs.
async function checkRows(where, runs, least) {
  const sent = runs.reduce((sum, r) => sum + r.publishes, 0) + least;
  const disorder = runs.reduce((sum, r) => sum + r.disorder, 0);
  const count = async () => Number(await sql(`select count(*) from rtbroker.message where ${where}`));
  await until(`${sent} rows`, async () => (await count()) >= sent, 1000);
  const stored = await count();
  if (stored !== sent || disorder > 0) throw new Error(`${stored} rows of ${sent} publishes, ${disorder} out of order`);
}

export async function measureRows(options, target) {
  const args = ['--senders', SENDERS, '--window', WINDOW, '--path', '/raw/commit:rows-$I'];
  const runs = await ingestRuns(options.rounds, options.messages, args);
  const warm = Math.ceil(Math.min(WARM_UP, options.messages) / SENDERS) * SENDERS;
  await checkRows(`channel like 'commit:rows-%'`, runs, warm);
  const rate = (field) => stats(runs.map((r) => r[field])).median;
  console.log(`\nclients -> rows  ${PAYLOAD_BYTES} bytes, ${SENDERS} raw clients on ${nodes.length} nodes, ${WINDOW} unanswered each; answered: stored by Kafka, and back at the client`);
  console.log(table(ROWS_HEADER, runs.map((r, i) => rowsRow(`run ${i + 1}`, r))));
  console.log(`median: ${count(rate('per_second'))} answered/s, ${count(rate('rows_per_second'))} committed rows/s, rows ${count(rate('behind_ms'))} ms behind at the end; all there once`);
  console.log(cpuLine(runs));
  target('client to committed row, messages/s', count(rate('rows_per_second')), `>= ${count(ROWS_TARGET)}`, rate('rows_per_second') >= ROWS_TARGET);
  return runs;
}

// ---- fan-out beside the durable path ----

// What else goes on while n1 fans out: publishes on which channel, at which node.
const BESIDE = {
  quiet: null,
  elsewhere: { channel: 'commit:beside-$I', node: 1, title: 'durable publishes at n2' },
  live: { channel: 'live:beside-$I', node: 0, title: 'live publishes at n1' },
  durable: { channel: 'commit:beside-$I', node: 0, title: 'durable publishes at n1' },
};

async function fanoutBeside(key, options) {
  const beside = BESIDE[key];
  const load = beside && startRtbench('ingest', '--pace', options.fanoutPace, '--time', DEADLINE_MS / 1000, '--senders', FANOUT.senders, '--window', FANOUT.window,
    '--size', PAYLOAD_BYTES, '--port', ports[beside.node], '--path', `/raw/${beside.channel}`);
  try {
    const result = await rtbench('fanout', '--subscribers', FANOUT.subscribers, '--size', FANOUT.size, '--window', 1, '--pace', FANOUT.pace, '--warmup', 1, '--time', options.fanoutSeconds,
      '--port', ports[0], '--path', '/raw/live:fanout', '--pid', pidOf('n1'), '--main-thread');
    load?.stop();
    const beside = await load?.result;
    return { ...result, beside_per_second: beside ? beside.publishes / beside.seconds : 0 };
  } finally {
    load?.stop();
  }
}

// CPU of the loop that one publish beside the fan-out takes, in us: what is left when the fan-out's own share is taken off.
function costOf(round, key) {
  const r = round[key];
  const own = r.deliveries / round.quiet.per_cpu_second;
  return (1e6 * (r.server_cpu * r.seconds - own)) / (r.beside_per_second * r.seconds);
}

export async function measureFanout(options, target) {
  const rounds = await interleave(options.rounds + 4, Object.keys(BESIDE), (key) => fanoutBeside(key, options));
  const ratio = (key, base) => rounds.map((r) => r[key].per_cpu_second / r[base].per_cpu_second);
  const rows = Object.entries(BESIDE).map(([key, beside]) => {
    const column = (field, format) => median(rounds.map((r) => r[key][field]), format);
    return [beside ? `${beside.title}, ${column('beside_per_second', count)}/s` : 'quiet', triple(rounds.map((r) => r[key].per_cpu_second / 1000), fixed(0)), column('per_second', count),
      column('server_cpu', percent), beside ? triple(ratio(key, 'quiet'), ms) : '1', key === 'durable' ? triple(ratio(key, 'live'), ms) : '-',
      beside ? triple(rounds.map((r) => costOf(r, key)), fixed(1)) : '-'];
  });
  console.log(`\nfan-out of a log: false channel at n1, N=${FANOUT.subscribers}, ${FANOUT.size} B, ${FANOUT.pace} publishes/s, beside other publishes of ${PAYLOAD_BYTES} bytes; ${rounds.length} rounds, min/median/max`);
  console.log(table(['beside', 'd/cpu-s of the loop (k)', 'wall d/s', 'loop cpu', 'x quiet', 'x live', 'loop us/publish'], rows));
  const name = (what) => `fan-out per CPU second of the loop, ${options.fanoutPace}/s ${what}`;
  for (const [text, key, base] of [['durable at another node / quiet', 'elsewhere', 'quiet'], ['durable here / the same not durable', 'durable', 'live']]) {
    const { median: value } = stats(ratio(key, base));
    target(name(text), ms(value), `>= ${FANOUT.least}`, value >= FANOUT.least);
  }
  return rounds;
}

// ---- the sink ----

// The sink next to a writer that does nothing but insert.
export async function measureSink(options, target) {
  const runs = [];
  for (let i = 0; i < options.rounds; i++) {
    const { stdout } = await run(path.join(BIN, 'sinkbench'), [process.env.RT_KAFKA_BROKERS, process.env.RT_POSTGRES_URL, String(options.sinkRecords)]);
    const match = /sink (\d+) rows\/s, bare unnest (\d+) rows\/s/.exec(stdout);
    if (!match) throw new Error(`sinkbench said: ${stdout.trim()}`);
    const [sink, bare] = match.slice(1).map(Number);
    runs.push({ sink, bare, ratio: sink / bare });
    await sql('drop schema sinkbench cascade'); // each run begins with an empty table
  }
  const ratio = stats(runs.map((r) => r.ratio)).median;
  console.log(`\nthe sink  ${count(options.sinkRecords)} records of 200 bytes from Kafka, and as many rows by a bare INSERT .. SELECT unnest(..)`);
  console.log(table(['', 'sink rows/s', 'bare rows/s', 'ratio'], runs.map((r, i) => [`run ${i + 1}`, count(r.sink), count(r.bare), ms(r.ratio)])));
  target('sink, of a bare UNNEST writer', ms(ratio), `>= ${SINK_LEAST}`, ratio >= SINK_LEAST);
  return runs;
}

// ---- Kafka away ----

// A client that publishes as much as is taken, and comes back soon when it is closed (1013: the log is away), until `ends`.
async function pressOn(WebSocket, channel, ends, totals) {
  const filler = Buffer.alloc(OUTAGE_BYTES, 'x');
  while (performance.now() < ends) {
    const socket = new WebSocket(`${nodes[0].replace('http', 'ws')}/raw/${channel}`, { perMessageDeflate: false });
    const closed = new Promise((resolve) => socket.once('close', resolve).on('error', () => {}));
    socket.once('close', (code) => { totals.closed[code] = (totals.closed[code] ?? 0) + 1; });
    socket.once('open', async () => {
      for (; socket.readyState === WebSocket.OPEN && performance.now() < ends; await delay(2)) {
        for (let burst = 0; burst < OUTAGE_BURST && socket.bufferedAmount < 4 * OUTAGE_BYTES && socket.readyState === WebSocket.OPEN; burst++, totals.sent++)
          socket.send(filler, { binary: false });
      }
      socket.terminate();
    });
    await closed;
    await delay(20);
  }
}

// Clients go on publishing while Kafka is dead.
export async function measureOutage(options, target) {
  const WebSocket = fromPeers('ws');
  const pid = pidOf('n1');
  const before = residentBytes(pid);
  await act('kill', 'kafka');
  const totals = { sent: 0, closed: {} };
  const start = nowNs();
  const ends = performance.now() + options.outageSeconds * 1000;
  const clients = Promise.all([...Array(OUTAGE_CLIENTS).keys()].map((i) => pressOn(WebSocket, `commit:outage-${i}`, ends, totals)));
  let most = before;
  for (; performance.now() < ends; await delay(20)) most = Math.max(most, residentBytes(pid));
  await clients;
  const seconds = (nowNs() - start) / 1e9;
  await act('start', 'kafka');
  await until('n1 is ready again', async () => (await fetch(`${nodes[0]}/readyz`)).ok);
  const after = residentBytes(pid);
  console.log(`\nKafka away for ${seconds.toFixed(0)} s; ${OUTAGE_CLIENTS} clients of ${names[0]} sent ${count(totals.sent)} publishes of ${count(OUTAGE_BYTES)} bytes, and were closed ${count(totals.closed[1013] ?? 0)} times with "retry"`);
  console.log(`  its memory ${mib(before)} before, ${mib(most)} at most, ${mib(after)} once Kafka was back; the producer's queue is capped at ${mib(OUTAGE_CAP)}`);
  target('memory of a node while Kafka is away, growth', mib(most - before), `<= ${mib(OUTAGE_CAP)}`, most - before <= OUTAGE_CAP);
  return { before, most, after, ...totals };
}
