// Starting and stopping what is measured: floors, the broker, peers on Node. Servers run on core 0, the client on core 1, where nothing else is said.
import { execFileSync, spawn } from 'node:child_process';
import { existsSync, statSync } from 'node:fs';
import net from 'node:net';
import path from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';

import { usageError } from './run_options.mjs';

const HERE = path.dirname(fileURLToPath(import.meta.url));
const SERVER_CORE = '0';
const CLIENT_CORE = '1';
const START_DEADLINE_MS = 10_000;
const STOP_DEADLINE_MS = 5_000;
const UNSUPPORTED = 3; // exit code of floors: the kernel has no usable io_uring

const running = new Set();
process.on('exit', () => running.forEach((child) => child.kill('SIGKILL')));
for (const signal of ['SIGINT', 'SIGTERM']) process.on(signal, () => process.exit(130));

// Which protocols each speaks; `command` gets the port to listen on, 0 when the server chooses and prints it.
export function serverTable(options) {
  const floors = path.join(options.bin, 'floors');
  const peer = (file) => path.join(HERE, 'peers', file);
  const broker = (config) => (port) => [
    options.rtbroker, '--config', path.join(HERE, config), '--listen', `127.0.0.1:${port}`,
  ];
  return {
    A: { title: 'floor A  send()', protocols: ['sio', 'raw'], command: () => [floors, '--mode', 'A'] },
    B: { title: 'floor B  concat', protocols: ['sio', 'raw'], command: () => [floors, '--mode', 'B'] },
    C: { title: 'floor C  io_uring', protocols: ['sio', 'raw'], command: () => [floors, '--mode', 'C'] },
    rtbroker: {
      title: 'rtbroker', protocols: ['sio', 'raw'], command: broker('bench.yaml'), portGiven: true,
    },
    'rtbroker-log': {
      title: 'rtbroker, memory log', protocols: ['sio', 'raw'], command: broker('bench_log.yaml'), portGiven: true,
    },
    'socket.io': {
      title: 'socket.io on Node', protocols: ['sio'], command: () => [process.execPath, peer('socketio-server.mjs')],
    },
    ws: { title: 'ws on Node', protocols: ['raw'], command: () => [process.execPath, peer('ws-server.mjs')] },
  };
}

// `make bench` has installed them already; this is for a run without make.
export function installPeers() {
  const folder = path.join(HERE, 'peers');
  const installed = path.join(folder, 'node_modules', '.package-lock.json');
  const changed = statSync(path.join(folder, 'package-lock.json')).mtimeMs;
  if (existsSync(installed) && statSync(installed).mtimeMs >= changed) return;
  console.log('installing the peers (npm ci) ...');
  try {
    execFileSync('npm', ['ci', '--no-audit', '--no-fund'], { cwd: folder, stdio: ['ignore', 'ignore', 'pipe'] });
  } catch (error) {
    usageError(`npm ci failed in ${folder}: ${error.stderr ?? error.message}`);
  }
}

export function requireFiles(files) {
  for (const file of files) {
    if (!existsSync(file)) usageError(`${file} is missing: \`make all bench-build\` builds it`);
  }
}

export function prepare(options) {
  const needed = [path.join(options.bin, 'rtbench')];
  if (options.servers.some((name) => ['A', 'B', 'C'].includes(name))) needed.push(path.join(options.bin, 'floors'));
  if (options.servers.some((name) => name.startsWith('rtbroker'))) needed.push(options.rtbroker);
  requireFiles(needed);
  try {
    execFileSync('taskset', ['-c', `${SERVER_CORE},${CLIENT_CORE}`, 'true']);
  } catch {
    usageError('taskset cannot pin to cores 0 and 1: two cores and util-linux are needed');
  }
  if (options.servers.includes('socket.io') || options.servers.includes('ws')) installPeers();
}

function freePort() {
  return new Promise((resolve, reject) => {
    const probe = net.createServer();
    probe.once('error', reject);
    probe.listen(0, '127.0.0.1', () => {
      const { port } = probe.address();
      probe.close(() => resolve(port));
    });
  });
}

function accepts(port) {
  return new Promise((resolve) => {
    const socket = net.connect(port, '127.0.0.1');
    socket.once('connect', () => { socket.destroy(); resolve(true); });
    socket.once('error', () => resolve(false));
  });
}

export class Unsupported extends Error {}

// Resolves to {pid, port, stop()}. An entry may say its `cores`, and how long it may take to start (`patience`, ms); its `env` is added to ours.
export async function startServer(name, entry) {
  const given = entry.portGiven ? await freePort() : 0;
  const child = spawn('taskset', ['-c', entry.cores ?? SERVER_CORE, ...entry.command(given)],
    { stdio: ['ignore', 'pipe', 'pipe'], env: { ...process.env, ...entry.env } });
  running.add(child);
  let output = '';
  let gone = null;
  const exited = new Promise((resolve) => {
    child.once('error', (error) => { gone = error.message; resolve(); });
    child.once('exit', (code, signal) => { gone = `exit code ${code ?? signal}`; resolve(); });
  });
  for (const stream of [child.stdout, child.stderr]) stream.on('data', (data) => { output = (output + data).slice(-4000); });
  let port = 0;
  const patience = entry.patience ?? START_DEADLINE_MS;
  const deadline = Date.now() + patience;
  while (port === 0) {
    if (gone !== null || Date.now() > deadline) {
      child.kill('SIGKILL');
      running.delete(child);
      if (child.exitCode === UNSUPPORTED) throw new Unsupported(output.trim());
      throw new Error(`${name} did not start (${gone ?? `no answer in ${patience / 1000} s`}): ${output.trim()}`);
    }
    if (given > 0) port = (await accepts(given)) ? given : 0;
    else port = Number(/^port (\d+)$/m.exec(output)?.[1] ?? 0);
    if (port === 0) await Promise.race([exited, delay(20)]);
  }
  const stop = async () => {
    child.kill('SIGTERM');
    const late = setTimeout(() => { child.kill('SIGKILL'); }, STOP_DEADLINE_MS);
    await exited;
    clearTimeout(late);
    running.delete(child);
    return child.signalCode === 'SIGKILL' ? `${name} did not stop within 5 s of SIGTERM` : null;
  };
  return { pid: child.pid, port, stop, alive: () => gone === null, output: () => output };
}

// Runs rtbench. `result` resolves to the object of its JSON line; stop() asks it to end before its time.
export function startClient(options, args, cores = CLIENT_CORE) {
  const command = [path.join(options.bin, 'rtbench'), ...args.map(String), '--json'];
  const child = spawn('taskset', ['-c', cores, ...command], { stdio: ['ignore', 'pipe', 'pipe'] });
  running.add(child);
  let out = '';
  let err = '';
  child.stdout.on('data', (data) => { out += data; });
  child.stderr.on('data', (data) => { err += data; });
  const result = new Promise((resolve, reject) => {
    child.once('error', reject);
    child.once('close', (code) => {
      running.delete(child);
      const line = out.split('\n').find((text) => text.startsWith('{'));
      if (code === 0 && line !== undefined) resolve(JSON.parse(line));
      else reject(new Error(err.trim() || `rtbench: exit code ${code}`));
    });
  });
  return { result, stop: () => child.kill('SIGTERM') };
}

export const runClient = (options, args, cores) => startClient(options, args, cores).result;

// The spinner pins itself, so it must not inherit the client's core.
export function gapProbe(options) {
  const out = execFileSync(path.join(options.bin, 'rtbench'), [
    'gap', '--cores', `${SERVER_CORE},${CLIENT_CORE}`, '--time', String(options.gapTime), '--json',
  ], { encoding: 'utf8' });
  return JSON.parse(out.split('\n').find((text) => text.startsWith('{'))).worst_share;
}
