// A cluster of real servers for a test file, through scripts/run_cluster.sh, and the things that happen to one.
//
// The script runs a command that waits for the end of its input: when the tests end, however that is, the cluster does too.
import { execFile, spawn } from 'node:child_process';
import { randomUUID } from 'node:crypto';
import { chmodSync, mkdirSync, readFileSync } from 'node:fs';
import path from 'node:path';
import { promisify } from 'node:util';

import { readPages } from './api.mjs';
import { EventReader } from './events.mjs';
import { ROOT, SANITIZED, defer, tempDir, until, within } from './harness.mjs';
import { Proxy } from './proxy.mjs';

const SCRIPT = path.join(ROOT, 'scripts', 'run_cluster.sh');
const START_DEADLINE = 180_000;
const STOP_DEADLINE = 90_000;
const ACTION_DEADLINE = 150_000;
const COMMAND = 'env | grep ^RT_; echo READY; exec cat >/dev/null';
const run = promisify(execFile);

// Resolves when fn has: how long a test may wait for what takes a while on a busy machine.
export const PATIENCE = SANITIZED ? 60_000 : 30_000;

class Cluster {
  constructor(dir) {
    this.dir = dir;
    this.output = this.errors = '';
  }

  async start({ nodes = 3, brokers = 1, config, without = [], set = {} }) {
    const args = ['--dir', this.dir, '--nodes', String(nodes), '--brokers', String(brokers), '--exec', COMMAND];
    if (config) args.push('--config', config);
    if (without.length > 0) args.push('--without', without.join(','));
    for (const [key, value] of Object.entries(set)) args.push('--set', `${key}=${value}`);
    this.child = spawn(SCRIPT, args, { stdio: ['pipe', 'pipe', 'pipe'] });
    this.child.stdin.on('error', () => {}); // it has ended: its status says more
    this.child.stdout.on('data', (chunk) => (this.output += chunk));
    this.child.stderr.on('data', (chunk) => (this.errors += chunk));
    this.exit = new Promise((resolve) => this.child.on('close', (code, signal) => resolve({ code, signal })));
    let ended = false;
    this.exit.then(() => (ended = true));
    await until('the cluster is up', () => ended || /^READY$/m.test(this.output), START_DEADLINE);
    if (ended) throw new Error(`the cluster did not start:\n${this.errors}`);
    this.env = Object.fromEntries(this.output.split('\n').map((line) => /^(RT_[A-Z_]+)=(.*)$/.exec(line)).filter(Boolean).map((m) => m.slice(1)));
    this.url = this.env.RT_URL;
    this.nodes = this.env.RT_NODES.split(' ');
    return this;
  }

  // A setting of a node, PATH=VALUE, from its next start on.
  set(node, setting) {
    return this.act('set', node, setting);
  }

  // kill, stop, start, pause or resume a part: 'n2', 'redis', 'kafka', 'kafka2', 'postgres', 'nginx'.
  async act(action, part, ...more) {
    const env = { ...process.env, RT_CLUSTER_DIR: this.dir };
    await run(SCRIPT, [action, part, ...more], { env, timeout: ACTION_DEADLINE }).catch((error) => {
      throw new Error(`${action} ${part}: ${error.stderr || error.message}\n${this.tail(part)}`, { cause: error });
    });
  }

  log(part) {
    return readFileSync(path.join(this.dir, part, 'log'), 'utf8');
  }

  tail(part) {
    return `---- log of ${part} ----\n${this.log(part).split('\n').slice(-40).join('\n')}\n----`;
  }

  nodeUrl(name) {
    return this.nodes[Number(name.slice(1)) - 1];
  }

  async api(name, method, body = {}) {
    const response = await fetch(`${this.nodeUrl(name)}/api/${method}`, {
      method: 'POST',
      headers: { 'x-api-key': this.env.RT_API_KEY },
      body: JSON.stringify(body),
      signal: AbortSignal.timeout(10_000),
    });
    const answer = await response.json();
    if (!response.ok) throw new Error(`${name} /api/${method}: ${response.status} ${JSON.stringify(answer)}`);
    return answer.result;
  }

  // What a node's stream of the channel brings from now on: `got` as the API has messages, `gaps` that were told.
  async listen(t, name, channel) {
    const abort = new AbortController();
    defer(t, () => abort.abort());
    const url = `${this.nodeUrl(name)}/api/stream?channel=${encodeURIComponent(channel)}`;
    const response = await fetch(url, { headers: { 'x-api-key': this.env.RT_API_KEY }, signal: abort.signal });
    if (response.status !== 200) throw new Error(`${name} /api/stream: ${response.status}`);
    const seen = { got: [], gaps: 0 };
    readEvents(response.body, seen).catch(() => {}); // aborted at the end
    return seen;
  }

  // All messages of a channel behind `since`.
  async wholeHistory(name, channel, options) {
    return (await readPages((query) => this.api(name, 'history', { channel, ...query }), options)).publications;
  }

  // /readyz as { status, ready, backends }
  async ready(name) {
    const response = await fetch(`${this.nodeUrl(name)}/readyz`, { signal: AbortSignal.timeout(10_000) });
    return { status: response.status, ...(await response.json()) };
  }

  async metrics(name) {
    return (await fetch(`${this.nodeUrl(name)}/metrics`, { signal: AbortSignal.timeout(10_000) })).text();
  }

  async metric(name, metric) {
    const text = await this.metrics(name);
    const line = new RegExp(`^rtbroker_${metric.replace(/[{}]/g, '\\$&')} (\\S+)$`, 'm').exec(text);
    if (!line) throw new Error(`${name} has no metric ${metric}`);
    return Number(line[1]);
  }

  // All records of the topic so far, as { partition, offset, key, value, headers }: bytes or null, headers as kcat shows them (a=b,c=d).
  async records() {
    const end = `:${randomUUID()}\n`; // of the headers, which may have any bytes
    const format = `{"partition":%p,"offset":%o,"key":%K,"value":%S}\\n%k%s%h${end.replace('\n', '\\n')}`;
    const { stdout } = await run('kcat', ['-b', this.env.RT_KAFKA_BROKERS, '-t', this.env.RT_KAFKA_TOPIC, '-C', '-e', '-q', '-f', format],
      { encoding: 'buffer', maxBuffer: 1 << 28, timeout: 60_000 });
    const all = [];
    for (let at = 0; at < stdout.length;) {
      const line = stdout.indexOf(10, at);
      const { partition, offset, ...sizes } = JSON.parse(stdout.toString('utf8', at, line));
      at = line + 1;
      const take = (size) => (size < 0 ? null : stdout.subarray(at, (at += size)));
      const record = { partition, offset, key: take(sizes.key), value: take(sizes.value) };
      const last = stdout.indexOf(end, at);
      all.push({ ...record, headers: stdout.toString('latin1', at, last) });
      at = last + end.length;
    }
    return all;
  }

  async redis(...command) {
    const { stdout } = await run('redis-cli', ['-u', this.env.RT_REDIS_URL, ...command], { timeout: 10_000 });
    return stdout.trim();
  }

  // Rows of a query as arrays of text.
  async rows(sql) {
    const { stdout } = await run('psql', [this.env.RT_POSTGRES_URL, '-X', '-q', '-A', '-t', '-F', '\t', '-v', 'ON_ERROR_STOP=1', '-c', sql],
      { maxBuffer: 1 << 28, timeout: 60_000 });
    return stdout.split('\n').filter((line) => line !== '').map((line) => line.split('\t'));
  }

  // All nodes must have ended well; that of a killed one does not count.
  async stop() {
    this.child.stdin.end();
    const { code, signal } = await within(STOP_DEADLINE, 'the cluster ends', this.exit).catch((error) => {
      this.child.kill('SIGTERM');
      throw error;
    });
    if (code !== 0) throw new Error(`the cluster ended with ${signal ?? code}\n${this.errors}`);
  }
}

async function readEvents(body, seen) {
  const events = new EventReader();
  for await (const chunk of body.pipeThrough(new TextDecoderStream())) {
    for (const { event, data } of events.push(chunk)) {
      if (event === 'gap') seen.gaps++;
      else if (data) seen.got.push(JSON.parse(data));
    }
  }
}

// A cluster that ends with the test. `proxied`: names of nodes that reach Redis through a proxy, which is `cluster.proxies[name]`.
export async function startCluster(t, { proxied = [], ...options } = {}) {
  const dir = path.join(tempDir(t), 'c');
  mkdirSync(dir);
  chmodSync(path.dirname(dir), 0o711); // PostgreSQL runs as another user
  const cluster = new Cluster(dir);
  const set = { ...options.set };
  cluster.proxies = {};
  for (const name of proxied) {
    const proxy = await Proxy.start(t, () => Number(readFileSync(path.join(dir, 'redis', 'port'), 'utf8')));
    cluster.proxies[name] = proxy;
    set[`${name}:redis.url`] = `redis://127.0.0.1:${proxy.port}`;
  }
  defer(t, () => cluster.child && cluster.stop());
  return cluster.start({ ...options, set });
}

// One for a whole file; `holder.cluster` is set in before().
export function shareCluster({ before, after }, options) {
  const holder = {};
  let finish;
  const scope = { after: (fn) => (finish = fn) };
  before(async () => {
    holder.cluster = await startCluster(scope, options);
  }, { timeout: START_DEADLINE + 10_000 });
  after(() => finish?.(), { timeout: STOP_DEADLINE + 10_000 });
  return holder;
}
