// What the parts of cluster.mjs share: the cluster of run_cluster.sh that they run in, and its clients.
import { execFile } from 'node:child_process';
import { readFileSync, readdirSync } from 'node:fs';
import { createRequire } from 'node:module';
import path from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';

import { runClient, startClient } from './run_servers.mjs';

export const HERE = path.dirname(fileURLToPath(import.meta.url));
export const ROOT = path.join(HERE, '..', '..');
export const BIN = path.join(ROOT, 'build', 'bench');
export const SCRIPT = path.join(ROOT, 'scripts', 'run_cluster.sh');
export const CORES = '0,1'; // of everything here, clients too
export const DEADLINE_MS = 300_000;
const execute = promisify(execFile);

export const nodes = (process.env.RT_NODES ?? '').split(' ').filter((url) => url !== '');
export const names = nodes.map((_, i) => `n${i + 1}`);
export const ports = nodes.map((url) => Number(new URL(url).port));

// kill, stop or start a part of the cluster.
export async function act(action, ...parts) {
  for (const part of parts) await execute(SCRIPT, [action, part]);
}

// A node has another process after each start.
export const pidOf = (name) => Number(readFileSync(path.join(process.env.RT_CLUSTER_DIR, name, 'pid'), 'utf8'));

export function residentBytes(pid) {
  return 1024 * Number(/^VmRSS:\s+(\d+) kB/m.exec(readFileSync(`/proc/${pid}/status`, 'utf8'))[1]);
}

const readMaybe = (file) => {
  try {
    return readFileSync(file, 'utf8');
  } catch {
    return ''; // it has ended meanwhile
  }
};

const taskSeconds = (pid, task) => Number(readMaybe(`/proc/${pid}/task/${task}/schedstat`).split(' ')[0] || 0) / 1e9;
const processSeconds = (pid) => readdirSync(`/proc/${pid}/task`).reduce((sum, task) => sum + taskSeconds(pid, task), 0);

// CPU seconds of the cluster's processes so far; `loops`, the main threads of the nodes, are in `nodes`.
export function cpuSeconds() {
  const sum = (pids, of) => pids.reduce((all, pid) => all + of(pid), 0);
  const pids = names.map(pidOf);
  const postgres = pidOf('postgres');
  const backends = readMaybe(`/proc/${postgres}/task/${postgres}/children`).split(' ').filter((pid) => pid !== '');
  return {
    loops: sum(pids, (pid) => taskSeconds(pid, pid)), nodes: sum(pids, processSeconds), Kafka: processSeconds(pidOf('kafka')), Redis: processSeconds(pidOf('redis')),
    PostgreSQL: sum(backends, (pid) => taskSeconds(pid, pid)),
  };
}

export async function until(what, probe, pause = 50) {
  const deadline = performance.now() + DEADLINE_MS;
  for (;;) {
    const value = await probe();
    if (value) return value;
    if (performance.now() > deadline) throw new Error(`waited ${DEADLINE_MS / 1000} s in vain: ${what}`);
    await delay(pause);
  }
}

// What is installed for the peers.
export const fromPeers = (name) => createRequire(path.join(HERE, 'peers', 'package.json'))(name);

let database;

// The first column of the first row. One connection: a psql for each question would take a tenth of a core.
export async function sql(text) {
  if (!database) {
    database = new (fromPeers('pg').Client)({ connectionString: process.env.RT_POSTGRES_URL });
    await database.connect();
  }
  const { rows } = await database.query(text);
  return rows.length > 0 ? Object.values(rows[0])[0] : null;
}

// Of CLOCK_MONOTONIC, as rtbench says times.
export const nowNs = () => Number(process.hrtime.bigint());

// Publishes that the nodes have answered well since each was started, and what of the log is committed as rows. The nodes' own count of rows is a second old at times;
// `progress` is written with the rows.
export async function progress() {
  let accepted = 0;
  for (const url of nodes) {
    const text = await (await fetch(`${url}/metrics`)).text();
    accepted += Number(/^rtbroker_publishes_total\{result="ok"\} (\S+)$/m.exec(text)[1]);
  }
  const rows = Number(await sql('select coalesce(sum(next), 0) from rtbroker.progress'));
  return { at: nowNs(), accepted, rows };
}

export const rtbench = (...args) => runClient({ bin: BIN }, args, CORES);
export const startRtbench = (...args) => startClient({ bin: BIN }, args, CORES);

// Runs `rounds` of all the cases of `measure(key)`, the first of them another one each time. Resolves to one object a round.
export async function interleave(rounds, keys, measure) {
  const all = [];
  for (let i = 0; i < rounds; i++) {
    const round = {};
    const first = i % keys.length;
    for (const key of [...keys.slice(first), ...keys.slice(0, first)]) round[key] = await measure(key);
    all.push(round);
  }
  return all;
}
