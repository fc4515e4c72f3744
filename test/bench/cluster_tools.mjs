// What the parts of cluster.mjs share: the cluster of run_cluster.sh that they run in, and its clients.
import { execFile } from 'node:child_process';
import { readFileSync } from 'node:fs';
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
export const DEADLINE_MS = 600_000;
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

export async function until(what, probe, pause = 50) {
  const deadline = performance.now() + DEADLINE_MS;
  for (;;) {
    const value = await probe();
    if (value) return value;
    if (performance.now() > deadline) throw new Error(`waited ${DEADLINE_MS / 1000} s in vain: ${what}`);
    await delay(pause);
  }
}

export async function sql(text) {
  const { stdout } = await execute('psql', [process.env.RT_POSTGRES_URL, '-XAtqc', text]);
  return stdout.trim();
}

// Of CLOCK_MONOTONIC, as rtbench says times.
export const nowNs = () => Number(process.hrtime.bigint());

// Publishes that the nodes have answered well, and rows that they have stored, since each was started.
export async function progress() {
  let accepted = 0;
  let rows = 0;
  for (const url of nodes) {
    const text = await (await fetch(`${url}/metrics`)).text();
    const value = (name) => Number(new RegExp(`^rtbroker_${name} (\\S+)$`, 'm').exec(text)?.[1] ?? NaN);
    accepted += value('publishes_total\\{result="ok"\\}');
    rows += value('sink_rows_total');
  }
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
