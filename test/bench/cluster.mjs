#!/usr/bin/env node
// What a cluster of real servers does on this machine, in parts: see README.md in this folder, "A cluster".
//
//   node test/bench/cluster.mjs [options]     (make bench runs it last; --help lists the options)
//
// Starts scripts/run_cluster.sh (Redis, Kafka, PostgreSQL, three nodes, no nginx) and runs itself in it. Everything shares the machine's cores, the clients too, so figures
// are of all together.
import { spawnSync } from 'node:child_process';
import { writeFileSync } from 'node:fs';
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';

import { measureClassic } from './cluster_classic.mjs';
import { measureFanout, measureLatency, measureOutage, measureRows, measureSink } from './cluster_parts.mjs';
import { BIN, HERE, ROOT, SCRIPT, nodes } from './cluster_tools.mjs';
import { table } from './run_report.mjs';
import { installPeers, requireFiles } from './run_servers.mjs';

const FILE = fileURLToPath(import.meta.url);
// In this order: the outage while the nodes are fresh, since memory that they had and freed would hide what it takes.
const PARTS = {
  latency: measureLatency, outage: measureOutage, rows: measureRows, fanout: measureFanout, sink: measureSink, classic: measureClassic,
};
const USAGE = `usage: node test/bench/cluster.mjs [options]
  --only LIST               of ${Object.keys(PARTS).join(',')} (all)
  --quick                   short: says that it works, not how well
  --rounds N                of latency, rows, sink; four more of fanout (3)
  --latency-seconds N       of each round (5)
  --messages N              rows: publishes of a run (500000), after 50,000 that do not count
  --fanout-seconds N        of each measurement (3)
  --fanout-pace N           durable publishes a second beside the fan-out (2000)
  --sink-records N          (300000)
  --classic-messages N      publishes to the classic stack (20000)
  --classic-servers N       its servers (3, as there are nodes)
  --outage-seconds N        (60)
  --check                   exit code 1 when a target is missed
Results go to build/bench/cluster.json as well.`;

function misused(message) {
  console.error(`cluster.mjs: ${message}`);
  process.exit(2);
}

function parse() {
  const defaults = {
    rounds: ['3', '1'], 'latency-seconds': ['5', '1'], messages: ['500000', '20000'], 'fanout-seconds': ['3', '1'], 'fanout-pace': ['2000', '2000'],
    'sink-records': ['300000', '100000'], 'classic-messages': ['20000', '1000'], 'classic-servers': ['3', '3'], 'outage-seconds': ['60', '10'],
  };
  const options = Object.fromEntries(Object.keys(defaults).map((name) => [name, { type: 'string' }]));
  for (const flag of ['quick', 'check', 'help']) options[flag] = { type: 'boolean', default: false };
  options.only = { type: 'string', default: Object.keys(PARTS).join(',') };
  let values;
  try {
    values = parseArgs({ options }).values;
  } catch (error) {
    misused(`${error.message}\n${USAGE}`);
  }
  return { values, defaults };
}

function readOptions() {
  const { values, defaults } = parse();
  if (values.help) {
    console.log(USAGE);
    process.exit(0);
  }
  const parts = values.only.split(',');
  const unknown = parts.find((part) => !(part in PARTS));
  if (unknown !== undefined) misused(`--only ${unknown}: allowed are ${Object.keys(PARTS).join(', ')}`);
  const options = { parts, quick: values.quick, check: values.check };
  for (const [name, [usual, quick]] of Object.entries(defaults)) {
    const n = Number(values[name] ?? (values.quick ? quick : usual));
    if (!Number.isInteger(n) || n < 1) misused(`--${name} ${values[name]}: allowed is a whole number from 1`);
    options[name.replace(/-(.)/g, (_, letter) => letter.toUpperCase())] = n;
  }
  return options;
}

// What is missing is said before anything starts.
function outside() {
  requireFiles(['rtbench', 'sinkbench'].map((file) => path.join(BIN, file)).concat(process.env.RTBROKER ?? path.join(ROOT, 'rtbroker')));
  installPeers();
  const command = [process.execPath, FILE, ...process.argv.slice(2)].map((word) => `'${word.replaceAll("'", "'\\''")}'`).join(' ');
  const { status } = spawnSync(SCRIPT, ['--without', 'nginx', '--config', path.join(HERE, 'cluster.yaml'), '--exec', command],
    { stdio: 'inherit' });
  process.exit(status === 77 ? 2 : (status ?? 1));
}

async function inside(options) {
  const report = { targets: [], parts: {} };
  let failures = 0;
  const target = (text, value, want, met) => report.targets.push({ text, value, want, met });
  for (const part of Object.keys(PARTS).filter((name) => options.parts.includes(name))) {
    try {
      report.parts[part] = await PARTS[part](options, target);
    } catch (error) {
      failures++;
      console.log(`FAILED  ${part}: ${error.message}`);
    }
  }
  const missed = report.targets.filter((t) => !t.met).length;
  if (report.targets.length > 0) {
    console.log('');
    console.log(table(['cluster: what', 'measured', 'target', ''], report.targets.map((t) => [t.text, t.value, t.want, t.met ? 'met' : 'MISSED'])));
  }
  console.log(`\n${report.targets.length - missed} of ${report.targets.length} targets met, ${failures} parts failed`);
  writeFileSync(path.join(BIN, 'cluster.json'), `${JSON.stringify({ options, ...report }, null, 1)}\n`);
  process.exit(failures > 0 || (options.check && missed > 0) ? 1 : 0);
}

const options = readOptions();
if (nodes.length > 0) await inside(options);
else outside();
