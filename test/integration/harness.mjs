// Starts and stops brokers for the tests, and waits for things without sleeping.
//
// Environment: RTBROKER names the binary (default: ./rtbroker at the top of the tree; a sanitizer build works too).
// A broker's log goes to a buffer; a test that fails shows its end. Stopping checks that the exit code is 0, which with a
// sanitizer build says that there was no leak either, and that no connection was forgotten.
import assert from 'node:assert/strict';
import { spawn, spawnSync } from 'node:child_process';
import { accessSync, constants, existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { test as nodeTest } from 'node:test';
import { setTimeout as delay } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';

export const HERE = path.dirname(fileURLToPath(import.meta.url));
export const ROOT = path.resolve(HERE, '..', '..');
export const BINARY = path.resolve(ROOT, process.env.RTBROKER ?? 'rtbroker');
// A sanitizer build has its own idea of memory, and is slow.
export const SANITIZED = /asan|ubsan|tsan/.test(BINARY);

// The tests run against the reference server on Node (reference.mjs): `ours` marks what it does otherwise.
export const REFERENCE = path.basename(BINARY) === 'reference.mjs';
export const ours = { skip: REFERENCE && 'not what the reference does' };

const START_DEADLINE = 15_000;
const STOP_DEADLINE = 15_000;
const TEST_TIMEOUT = 120_000;
const LOG_SHOWN = 60; // lines of a broker's log that a failed test shows

const running = new Set(); // child processes
const brokers = new Set(); // those that were started and not stopped yet
process.on('exit', () => running.forEach((child) => child.kill('SIGKILL')));

export const configPath = (name) => path.join(HERE, 'config', name);
export const examplePath = (name) => path.join(ROOT, 'docs', 'examples', name);

// node:test's test(), but a failure shows the logs of the brokers.
export function test(name, ...rest) {
  const fn = rest.pop();
  const options = rest[0] ?? {};
  return nodeTest(name, { timeout: TEST_TIMEOUT, ...options }, async (t) => {
    try {
      await fn(t);
    } catch (error) {
      for (const broker of brokers) error.message += `\n${broker.tail()}`;
      throw error;
    }
  });
}

// The first truthy value of `probe` (which may be asynchronous and may throw), polled until the deadline.
export async function until(what, probe, ms = 5000) {
  const deadline = performance.now() + ms;
  let last;
  for (;;) {
    try {
      const value = await probe();
      if (value) return value;
      last = undefined;
    } catch (error) {
      last = error;
    }
    if (performance.now() > deadline)
      throw new Error(`waited ${ms} ms in vain: ${what}${last ? ` (${last.message})` : ''}`, { cause: last });
    await delay(5);
  }
}

// The promise's value, or an error that says what was waited for.
export async function within(ms, what, promise) {
  let timer;
  const late = new Promise((_, reject) => {
    timer = setTimeout(() => reject(new Error(`waited ${ms} ms in vain: ${what}`)), ms);
  });
  try {
    return await Promise.race([promise, late]);
  } finally {
    clearTimeout(timer);
  }
}

// The first `event` of an emitter as the array of its arguments.
export function once(emitter, event, ms = 5000, what = `event "${event}"`) {
  return within(ms, what, new Promise((resolve) => emitter.once(event, (...args) => resolve(args))));
}

// History by time, as each of `asks` (body => result of /api/history of one channel) gives it, is what one sees who looks at all messages.
export async function assertByTime(asks) {
  const offsets = (list) => list.map((p) => p.offset);
  const { publications: all } = await asks[0]({ since: { offset: 0 }, limit: -1 });
  const marks = [...Array(12).keys()].map((i) => all[Math.floor((i * (all.length - 1)) / 11)].time);
  const times = new Set([marks[0] - 90_000, marks[0] - 1, ...marks.flatMap((time) => [time, time + 1]), marks.at(-1) + 90_000]);
  for (const ask of asks)
    for (const time of times) {
      const first = all.findIndex((p) => p.time >= time);
      const at = first < 0 ? all.length : first;
      const found = await ask({ since_time: time, limit: 7 });
      assert.deepEqual(offsets(found.publications), offsets(all.slice(at, at + 7)), `from ${time} on`);
      assert.equal(found.gap, undefined);
      const before = await ask({ since_time: time, limit: 7, reverse: true });
      assert.deepEqual(offsets(before.publications), offsets(all.slice(Math.max(0, at - 7), at).reverse()), `before ${time}`);
    }
}

// Why a test with assertMetrics() is skipped; false: it is not. Debian's package is of 100 MB, so that nothing here installs it.
export const noPromtool = () => spawnSync('promtool', ['--version']).status !== 0 && 'promtool is not installed (package prometheus)';

// The browser of the tests; why those with it are skipped, false: they are not.
export const CHROMIUM = process.env.CHROMIUM ?? '/usr/bin/chromium';
export function noChromium() {
  try {
    accessSync(CHROMIUM, constants.X_OK);
    return false;
  } catch {
    return `there is no ${CHROMIUM}`;
  }
}

export function assertMetrics(text) {
  const result = spawnSync('promtool', ['check', 'metrics'], { input: text, encoding: 'utf8' });
  assert.equal(result.stdout + result.stderr, '');
  assert.equal(result.status, 0);
}

const cleanups = new WeakMap();

// Runs when the test is over: last come, first served, so that clients go before their broker.
export function defer(t, fn) {
  let list = cleanups.get(t);
  if (!list) {
    cleanups.set(t, (list = []));
    t.after(async () => {
      const errors = [];
      for (const clean of list.reverse()) await (async () => clean())().catch((error) => errors.push(error));
      if (errors.length > 0) throw errors[0];
    });
  }
  list.push(fn);
}

export function tempDir(t) {
  const dir = mkdtempSync(path.join(os.tmpdir(), 'rtb-it-'));
  defer(t, () => rmSync(dir, { recursive: true, force: true }));
  return dir;
}

export function tempFile(t, name, text) {
  const file = path.join(tempDir(t), name);
  writeFileSync(file, text);
  return file;
}

class Broker {
  constructor(options) {
    this.options = options;
    this.log = [];
    this.stdout = '';
    this.addresses = []; // all of http.listen, then http.internal
    this.stopped = true;
  }

  args(listen) {
    const { config, dev, set = {}, extra = [] } = this.options;
    const args = config ? ['--config', config] : [];
    if (dev) args.push('--dev');
    for (const address of listen) args.push('--listen', address);
    // Tests do not want to wait for clients that come back spread over ten seconds.
    for (const [key, value] of Object.entries({ 'shutdown.jitter': '0s', ...set })) args.push('--set', `${key}=${value}`);
    return [...args, ...extra];
  }

  async start(listen = this.options.listen ?? ['127.0.0.1:0']) {
    if (!existsSync(BINARY)) throw new Error(`there is no broker at ${BINARY}: run make, or set RTBROKER`);
    const { before = [] } = this.options; // a command that starts it, such as prlimit
    const command = [...before, BINARY, ...this.args(listen)];
    const env = { ...process.env, ...this.options.env };
    this.child = spawn(command[0], command.slice(1), { cwd: this.options.cwd ?? ROOT, env, stdio: ['ignore', 'pipe', 'pipe'] });
    running.add(this.child);
    brokers.add(this);
    this.stopped = this.ending = false;
    this.addresses = [];
    this.exit = new Promise((resolve) => {
      this.child.on('close', (code, signal) => {
        running.delete(this.child);
        this.stopped = true;
        resolve({ code, signal });
      });
    });
    this.child.stdout.on('data', (chunk) => (this.stdout += chunk));
    this.readLog(this.child.stderr);
    const wanted = listen.length + (this.options.set?.['http.internal'] ? 1 : 0);
    try {
      await until('the broker listens', () => this.stopped || this.addresses.length >= wanted, START_DEADLINE);
      if (this.stopped) throw new Error('the broker ended at its start');
    } catch (error) {
      this.child.kill('SIGKILL');
      throw new Error(`${error.message}\n${command.join(' ')}\n${this.tail()}`, { cause: error });
    }
    const tcp = this.addresses.find((a) => !a.startsWith('unix:')) ?? '';
    this.port = Number(tcp.slice(tcp.lastIndexOf(':') + 1));
    this.host = tcp.slice(0, tcp.lastIndexOf(':'));
    this.url = `http://${tcp}`;
    return this;
  }

  readLog(stream) {
    let rest = '';
    stream.setEncoding('utf8');
    stream.on('data', (chunk) => {
      const lines = (rest + chunk).split('\n');
      rest = lines.pop();
      for (const line of lines) {
        this.log.push(line);
        if (!line.startsWith('{')) continue;
        const entry = JSON.parse(line);
        if (entry.msg?.startsWith('listening')) this.addresses.push(entry.address);
      }
    });
  }

  tail() {
    return `---- log of the broker ----\n${this.log.slice(-LOG_SHOWN).join('\n')}\n----`;
  }

  // Lines of the log, as objects.
  entries() {
    return this.log.filter((line) => line.startsWith('{')).map((line) => JSON.parse(line));
  }

  // Those whose message is `msg`.
  logged(msg) {
    return this.entries().filter((e) => e.msg === msg);
  }

  get pid() {
    return this.child.pid;
  }

  // kB of a field of /proc/PID/status.
  memory(field = 'VmRSS') {
    const status = readFileSync(`/proc/${this.pid}/status`, 'utf8');
    return Number(new RegExp(`^${field}:\\s+(\\d+) kB`, 'm').exec(status)[1]);
  }

  // SIGTERM; the exit code must be 0 unless `code` says otherwise.
  async stop({ code = 0, signal = 'SIGTERM' } = {}) {
    this.ending = true;
    if (this.child && !this.stopped) {
      this.child.kill(signal);
      const exit = await within(STOP_DEADLINE, 'the broker ends', this.exit).catch((error) => {
        this.child.kill('SIGKILL');
        throw new Error(`${error.message}\n${this.tail()}`, { cause: error });
      });
      if (exit.code !== code || exit.signal)
        throw new Error(`the broker ended with ${exit.signal ?? exit.code} in place of ${code}\n${this.tail()}`);
    }
  }

  // kill -9
  async kill() {
    this.ending = true;
    this.child.kill('SIGKILL');
    await within(STOP_DEADLINE, 'the broker is dead', this.exit);
  }

  // The same port again, so that clients which reconnect find it.
  async restart() {
    await this.start(this.addresses.filter((_, i) => i < (this.options.listen?.length ?? 1)));
  }
}

// A broker that is stopped, and checked, when the test ends. Options: config (path), text (YAML), listen, set, dev, env, cwd,
// extra (arguments), before (command in front), exit (code to expect; null: the test ends it).
export async function startBroker(t, options = {}) {
  const config = options.text !== undefined ? tempFile(t, 'rtbroker.yaml', options.text) : options.config;
  const broker = new Broker({ ...options, config });
  defer(t, async () => {
    if (options.exit !== null) {
      if (broker.stopped && !broker.ending) throw new Error(`the broker ended by itself: ${JSON.stringify(await broker.exit)}\n${broker.tail()}`);
      await broker.stop({ code: options.exit ?? 0 });
    } else if (!broker.stopped) {
      await broker.kill();
    }
    brokers.delete(broker);
  });
  await broker.start();
  return broker;
}

// One broker for a whole file; `holder.broker` is set in before().
export function shareBroker({ before, after }, options) {
  const holder = {};
  let finish;
  const scope = { after: (fn) => (finish = fn) };
  before(async () => {
    holder.broker = await startBroker(scope, options);
  });
  after(() => finish?.());
  return holder;
}
