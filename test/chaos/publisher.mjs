// Publishes through the HTTP API until the run has enough, and writes down what was acknowledged. A process of its own, started by run.mjs.
//
// Every channel has one message out at a time: the next one goes when this one is acknowledged, so a channel's numbers rise in its log. What is not
// acknowledged, for whatever reason, is sent again with its key, to another node.
// In: {budget: N} how many messages may be begun by now, {finish: true, windows} begin no more. Out: {acked: N} from time to time, {done: COUNTS} and {failed: TEXT}.
// With `measure`, messages say when they were begun, and COUNTS has the times of tries in each of the windows, by answer: ok, retry, unknown, broken.
import http from 'node:http';
import { createHash } from 'node:crypto';
import { createWriteStream } from 'node:fs';
import { setTimeout as delay } from 'node:timers/promises';

import { post } from './post.mjs';
import { Samples } from './samples.mjs';

const GIVE_UP = 8 * 60_000; // less than the window of keys
const TICK = 20;

const { nodes, apiKey, channels, publishes, rate, size, file, measure } = JSON.parse(process.argv[2]);
const out = createWriteStream(file);
const agents = nodes.map(() => new http.Agent({ keepAlive: true, maxSockets: Infinity }));
const counts = { acked: 0, duplicate: 0, retry: 0, unknown: 0, broken: 0, open: 0 };
const samples = new Samples();
let budget = 0, begun = 0, tokens = 0, finishing = false, waiting = [], windows;

function release() {
  tokens = rate ? Math.min(tokens + (rate * TICK) / 1000, Math.max(1, rate / 5)) : Infinity;
  while (!finishing && waiting.length > 0 && tokens >= 1 && begun < budget) {
    tokens--;
    begun++;
    waiting.shift()(true);
  }
  if (finishing || begun >= publishes) for (const resolve of waiting.splice(0)) resolve(false);
}

const slot = () => new Promise((resolve) => waiting.push(resolve));

const ANSWERS = { 200: 'ok', 503: 'retry', 504: 'unknown' };

// One try: the result, or undefined when it has to be sent again.
async function attempt(node, body) {
  const began = Date.now();
  const answer = await post(nodes[node], body, { apiKey, agent: agents[node] }).catch(() => undefined);
  const kind = answer ? ANSWERS[answer.status] : 'broken';
  if (!kind) throw new Error(`publish: ${answer.status} ${answer.text}`);
  if (measure) samples.add(began, Date.now() - began, kind);
  if (kind === 'ok') return JSON.parse(answer.text).result;
  counts[kind]++;
  return undefined;
}

async function publish(channel, number, state) {
  const key = `${channel.slice(channel.indexOf(':') + 1)}-${number}`;
  const data = JSON.stringify({ k: key, pad: 'x'.repeat(size), ...(measure && { at: Date.now() }) });
  const hash = createHash('md5').update(data).digest('hex');
  const body = `{"channel":"${channel}","idempotency_key":"${key}","data":${data}}`;
  const deadline = Date.now() + GIVE_UP;
  for (let pause = 20; Date.now() < deadline; pause = Math.min(pause * 2, 1000)) {
    const result = await attempt(state.node, body);
    if (result) {
      counts.acked++;
      if (result.duplicate) counts.duplicate++;
      out.write(`${channel}\t${result.epoch ?? ''}\t${result.offset ?? 0}\t${result.duplicate ? 'dup' : 'new'}\t${key}\t${hash}\n`);
      return;
    }
    state.node = (state.node + 1) % nodes.length;
    await delay(pause);
  }
  counts.open++;
  out.write(`${channel}\t-\t0\topen\t${key}\t${hash}\n`);
  throw new Error(`${key} was not acknowledged within ${GIVE_UP / 60_000} minutes`);
}

async function own(channel, index) {
  const state = { node: index % nodes.length };
  for (let number = 1; await slot(); number++) await publish(channel, number, state);
}

process.on('message', (message) => {
  if (message.budget !== undefined) budget = message.budget;
  if (message.finish) finishing = true;
  windows ??= message.windows;
  release();
});
process.on('disconnect', () => process.exit(1));
const timer = setInterval(() => {
  release();
  process.send({ acked: counts.acked });
}, TICK);

let failed;
try {
  await Promise.all(channels.map(own));
} catch (error) {
  failed = error.message;
}
clearInterval(timer);
await new Promise((resolve) => out.end(resolve));
process.send(failed ? { failed } : { done: { ...counts, ...(windows && { windows: samples.report(windows) }) } }, () => process.exit(0));
