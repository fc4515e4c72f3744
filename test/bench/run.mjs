// The round runner of `make bench`: see README.md in this folder.
import { execFileSync } from 'node:child_process';
import { writeFileSync } from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';

import { readOptions } from './run_options.mjs';
import { fixed, median, percent, ratios, stats, table, thousands, triple } from './run_report.mjs';
import { Unsupported, gapProbe, prepare, runClient, serverTable, startServer } from './run_servers.mjs';

const HOLES_MAX = 0.15;
const PAUSE_MS = 3000; // for what disturbs to pass
const VERIFY = ['--verify', '--subscribers', '200', '--window', '16', '--count', '2000'];
// What issue and design ask for, as ratios inside one run and bytes.
const FANOUT_TARGETS = { 1: { base: 'A', least: 0.9 }, 16: { base: 'B', least: 0.8 }, 64: { base: 'B', least: 0.8 } };
const IDLE_TARGETS = { sio: 3072, raw: 1024 };

const options = readOptions(process.argv.slice(2));
const servers = serverTable(options);
const results = { fanout: [], idle: [], latency: [], targets: [] };
const notes = [];
let failures = 0;

function fail(message) {
  failures++;
  console.log(`FAILED  ${message}`);
}

function target(text, value, met, format) {
  results.targets.push({ text, value, met });
  console.log(`target  ${text}: ${format(value)}  ${met ? 'met' : 'MISSED'}`);
}

const names = (protocol) => options.servers.filter((name) => servers[name].protocols.includes(protocol));

// A fresh server for one run of the client; undefined when it failed.
async function measure(name, protocol, args) {
  let server;
  try {
    server = await startServer(name, servers[name]);
    const where = ['--port', String(server.port), '--pid', String(server.pid), '--protocol', protocol];
    return await runClient(options, [...args, ...where]);
  } catch (error) {
    if (error instanceof Unsupported) {
      notes.push(`${name} left out: ${error.message}`);
      options.servers = options.servers.filter((other) => other !== name);
    } else {
      const dead = server !== undefined && !server.alive() ? `; the server has ended: ${server.output().trim()}` : '';
      fail(`${servers[name].title}, ${protocol}, ${args[0]}: ${error.message}${dead}`);
    }
    return undefined;
  } finally {
    const complaint = await server?.stop();
    if (complaint && !notes.includes(complaint)) notes.push(complaint);
  }
}

// Rounds with all servers in turn, the first of them another one each time, so that none always has the same neighbour. A round
// begins when the cores are quiet; when they never are, it is measured all the same, and said.
async function interleaved(count, protocol, args) {
  const rounds = [];
  let patience = 2 * count;
  while (rounds.length < count) {
    const holes = gapProbe(options);
    if (holes > HOLES_MAX && patience-- > 0) {
      console.log(`round discarded: a core was away for ${percent(holes)} of the time`);
      await delay(PAUSE_MS);
      continue;
    }
    const all = names(protocol);
    const first = rounds.length % all.length;
    const round = {};
    for (const name of [...all.slice(first), ...all.slice(0, first)]) {
      const result = await measure(name, protocol, args);
      if (result !== undefined) round[name] = result;
    }
    rounds.push(round);
    if (holes > HOLES_MAX) notes.push(`${protocol} ${args.join(' ')}: round ${rounds.length} is NOISY, ${percent(holes)} holes`);
  }
  return rounds;
}

const column = (rounds, name, field) => rounds.filter((r) => r[name] !== undefined).map((r) => r[name][field]);

function reportFanout(protocol, window, rounds) {
  const bases = ['A', 'B', 'C', 'socket.io', 'ws'].filter((base) => names(protocol).includes(base));
  const header = ['server', 'd/cpu-s (k)', 'us/deliv', 'wall k/s', 'cpu', 'waited', 'client cpu', 'msgs/read', ...bases.map((b) => `x ${b}`)];
  const rows = names(protocol).map((name) => [
    servers[name].title,
    triple(column(rounds, name, 'per_cpu_second'), thousands),
    median(column(rounds, name, 'us_per_delivery'), fixed(3)),
    median(column(rounds, name, 'per_second'), thousands),
    median(column(rounds, name, 'server_cpu'), percent),
    median(column(rounds, name, 'server_waited'), percent),
    median(column(rounds, name, 'client_cpu'), percent),
    median(column(rounds, name, 'messages_per_read'), fixed(1)),
    ...bases.map((base) => (base === name ? '1' : triple(ratios(rounds, name, base, 'per_cpu_second'), fixed(2)))),
  ]);
  console.log(`\nfan-out  ${protocol}  N=${options.subscribers}  ${options.size} B  W=${window}  ${rounds.length} rounds, min/median/max`);
  console.log(table(header, rows));
  const want = FANOUT_TARGETS[window];
  const got = want && stats(ratios(rounds, 'rtbroker', want.base, 'per_cpu_second'));
  if (got) target(`fan-out ${protocol} W=${window} >= ${want.least} of floor ${want.base}`, got.median, got.median >= want.least, fixed(2));
}

async function fanout() {
  for (const protocol of options.protocols) {
    for (const name of names(protocol)) {
      const verified = await measure(name, protocol, ['fanout', ...VERIFY]);
      if (verified) console.log(`${protocol}  ${servers[name].title}: every message once, in order, at every subscriber`);
    }
    for (const window of options.windows) {
      const args = ['fanout', '--window', window, '--subscribers', options.subscribers, '--size', options.size,
        '--warmup', options.warmup, '--time', options.time].map(String);
      const rounds = await interleaved(options.rounds, protocol, args);
      results.fanout.push({ protocol, window, rounds });
      reportFanout(protocol, window, rounds);
    }
  }
}

async function latency() {
  for (const protocol of options.protocols) {
    const args = ['latency', '--rate', options.rate, '--subscribers', options.subscribers, '--size', options.size,
      '--warmup', options.warmup, '--time', options.latencyTime].map(String);
    const rounds = await interleaved(options.latencyRounds, protocol, args);
    results.latency.push({ protocol, rounds });
    const header = ['server', 'p50 ms', 'p99 ms', 'p99.9 ms', 'max ms', 'cpu', 'client busy', 'p50 x C', 'p99 x C'];
    const rows = names(protocol).map((name) => [
      servers[name].title,
      ...['p50_ms', 'p99_ms', 'p999_ms', 'max_ms'].map((field) => triple(column(rounds, name, field), fixed(1))),
      median(column(rounds, name, 'server_cpu'), percent),
      median(column(rounds, name, 'client_busy'), percent),
      ...['p50_ms', 'p99_ms'].map((field) => (name === 'C' ? '1' : median(ratios(rounds, name, 'C', field), fixed(2)))),
    ]);
    console.log(`\nlatency  ${protocol}  N=${options.subscribers}  ${options.size} B  ${options.rate} publishes/s, open loop  ${rounds.length} rounds, min/median/max`);
    console.log(table(header, rows));
  }
}

async function idleOne(protocol, name) {
  const floor = name === 'A';
  return measure(name, protocol, ['idle', '--subscribers', options.connections, '--hold', floor ? 0 : options.hold,
    '--size', options.size].map(String));
}

async function idle() {
  for (const protocol of options.protocols) {
    const chosen = names(protocol).filter((name) => name !== 'B' && name !== 'C');
    const rows = [];
    for (const name of chosen) {
      const r = await idleOne(protocol, name);
      if (r === undefined) continue;
      results.idle.push({ name, ...r });
      const bytes = (v) => (v === undefined ? '-' : v.toFixed(0));
      rows.push([servers[name].title, bytes(r.rss_connected), bytes(r.rss_message), bytes(r.rss_held), bytes(r.pss_held),
        (r.base_rss / 1024 / 1024).toFixed(1), r.connect_us.toFixed(1), bytes(r.slab), String(r.pings)]);
      if (name !== 'rtbroker') continue;
      const worst = Math.max(r.rss_connected, r.rss_message ?? 0, r.rss_held ?? 0);
      const text = `idle ${protocol}, bytes a connection, worst stage <= ${IDLE_TARGETS[protocol]}`;
      target(text, worst, worst <= IDLE_TARGETS[protocol], fixed(0));
    }
    console.log(`\nidle  ${protocol}  ${options.connections} connections, bytes of server memory each; pings for ${options.hold} s`);
    console.log(table(['server', 'RSS connected', 'after a message', 'after pings', 'PSS', 'base MiB', 'us/connect', 'slab B', 'pings'], rows));
  }
}

function describe() {
  const version = options.servers.some((name) => name.startsWith('rtbroker'))
    ? execFileSync(options.rtbroker, ['--version'], { encoding: 'utf8' }).split('\n')[0] : 'no rtbroker';
  results.machine = { cpu: os.cpus()[0]?.model, cores: os.cpus().length, kernel: os.release(), node: process.version, version };
  console.log(`${version}; ${os.cpus().length} x ${os.cpus()[0]?.model}, Linux ${os.release()}, Node ${process.version}`);
  console.log('server on core 0, client on core 1; d/cpu-s: deliveries per CPU second of the server\n');
}

prepare(options);
describe();
const modes = { fanout, idle, latency };
for (const mode of options.only) await modes[mode]();
for (const note of notes) console.log(`note  ${note}`);
results.notes = notes;
writeFileSync(path.join(options.bin, 'results.json'), `${JSON.stringify(results, null, 1)}\n`);
const missed = results.targets.filter((t) => !t.met).length;
console.log(`\n${results.targets.length - missed} of ${results.targets.length} targets met, ${failures} runs failed`);
process.exit(failures > 0 || (options.check && missed > 0) ? 1 : 0);
